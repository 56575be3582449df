"""Rewrites the generated parts of every page: `python -m docs.generate`."""

import re
from collections.abc import Callable
from pathlib import Path

from docs.generate.additions import how_to_add
from docs.generate.commands import podium_commands
from docs.generate.errors import error_codes
from docs.generate.files import file_formats, file_shapes
from docs.generate.messages import message_shapes
from docs.generate.metrics import step_metrics, step_timings
from docs.generate.modules import layers, module_map
from docs.generate.rewards import worked_example
from docs.generate.rollouts import rollout_fields, show_options
from docs.generate.settings import check_settings, judge_settings, jury_settings, llm_settings
from docs.generate.training import train_settings

DOCS = Path(__file__).parents[1]
PAGES = [*sorted(DOCS.rglob("*.md")), DOCS.parent / "CONTRIBUTING.md"]
PARTS: dict[str, Callable[[], str]] = {
    "commands": podium_commands,
    "errors": error_codes,
    "file formats": file_formats,
    "file shapes": file_shapes,
    "how to add": how_to_add,
    "layers": layers,
    "message shapes": message_shapes,
    "metrics of a step": step_metrics,
    "modules": module_map,
    "options of show": show_options,
    "rollout fields": rollout_fields,
    "settings of every judge": judge_settings,
    "settings of an LLM judge": llm_settings,
    "settings of a checks judge": check_settings,
    "settings of a jury": jury_settings,
    "settings of a run": train_settings,
    "timings of a step": step_timings,
    "worked example": worked_example,
}
_PART = re.compile(r"(<!-- generated: ([\w ]+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)


def pages() -> dict[Path, str]:
    """Return the text that each page should have.

    Raises:
        KeyError: If a page has a mark that is not in `PARTS`.
    """
    made: dict[str, str] = {}

    def write(part: re.Match[str]) -> str:
        name = part[2]
        made[name] = made.get(name) or PARTS[name]().strip()
        return f"{part[1]}\n{made[name]}\n\n{part[3]}"

    return {page: _PART.sub(write, page.read_text(encoding="utf-8")) for page in PAGES}


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text, encoding="utf-8")
