"""The judges file as this service has loaded it, without secrets, and why a newer one is not."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from podium_service.judges.judges_file import Config
from podium_service.judges.registry import Refusal
from podium_service.judges.settings.secrets import dump_without_secrets
from podium_service.pages.frame import Frame, render

EXAMPLE = """\
default_judge: main
judges:
  main:
    model: gpt-5-mini
    base_urls: [https://api.openai.com/v1]
    api_key_env: OPENAI_API_KEY
"""


def render_config(
    frame: Frame, config: Config, *, path: Path | None, loaded_at: float, refusal: Refusal | None
) -> str:
    """Return the page of the judges file.

    Args:
        config: what is in use.
        path: of the file; None for the embedded default.
        loaded_at: when it was read, in seconds since the epoch.
        refusal: why a newer state of the file is not in use; None if the newest is.
    """
    return render(
        "config",
        frame,
        path=str(path.absolute()) if path else "",
        loaded_at=loaded_at,
        refusal=refusal,
        judges=list(config.judges),
        default_judge=config.default_judge,
        as_set=to_yaml(config, with_defaults=False),
        in_full=to_yaml(config, with_defaults=True),
        example=EXAMPLE,
    )


def to_yaml(config: Config, *, with_defaults: bool) -> str:
    """Return a config as a judges file, without secrets; comments and order are not kept."""
    judges = {
        name: dump_without_secrets(judge) if with_defaults else _as_set(judge)
        for name, judge in config.judges.items()
    }
    values = {"default_judge": config.default_judge, "judges": judges}
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are, and not in quotes."""


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _write_text)


def _as_set(judge: BaseModel) -> dict[str, Any]:
    """Return the settings of a judge that its file names."""
    fields = type(judge).model_fields
    named = {fields[name].alias or name for name in judge.model_fields_set}
    return {name: value for name, value in dump_without_secrets(judge).items() if name in named}
