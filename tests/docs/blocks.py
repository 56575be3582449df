"""The fenced blocks of a Markdown page, and a way to run them as a reader would paste them.

Blocks marked `bash` and `python` are run. Blocks marked `text`, `yaml` and `json` are shown only.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    section: str
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in their order, each with its `##` heading."""
    found = []
    for section in re.split(r"^## ", "\n" + page.read_text(encoding="utf-8"), flags=re.MULTILINE):
        title = section.split("\n", 1)[0]
        found += [Block(title, *match.groups()) for match in _FENCE.finditer(section)]
    return found


def run_blocks(
    chosen: Sequence[Block],
    folder: Path,
    *,
    replaced: Mapping[str, str],
    environment: Mapping[str, str],
    timeout_s: float = 300.0,
) -> str:
    """Run blocks one after the other in one shell, in an empty folder, and return what they print.

    Processes that the blocks leave in the background are ended afterwards.

    Args:
        replaced: texts of the page that cannot be pasted as they are (an address, a port), and
            what stands in for each; one that does not occur fails the test.
        environment: added to the variables of this process, from which PODIUM_* are taken out.
    """
    script = ["set -euo pipefail"]
    for number, block in enumerate(chosen):
        text = block.text
        for written, instead in replaced.items():
            text = text.replace(written, instead)
        if block.language == "python":
            (folder / f"block_{number}.py").write_text(text, encoding="utf-8")
            text = f"python block_{number}.py"
        script.append(text)
    for written in replaced:
        assert any(written in block.text for block in chosen), f"no block holds {written!r}"
    return _shell("\n".join(script), folder, environment, timeout_s)


def _shell(script: str, folder: Path, environment: Mapping[str, str], timeout_s: float) -> str:
    inherited = {name: value for name, value in os.environ.items() if "PODIUM_" not in name}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    output = folder.parent / f"{folder.name}.output"
    with output.open("wb") as stream:
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env={**inherited, "PATH": path, "COLUMNS": "80", **environment},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = shell.wait(timeout_s)
        finally:
            with suppress(ProcessLookupError):  # nothing was left in the background
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    said = output.read_text(encoding="utf-8")
    assert code == 0, f"exit status {code}:\n{said}"
    return said
