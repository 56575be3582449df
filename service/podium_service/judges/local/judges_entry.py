"""Write the judges-file entry of a judge that is served on this machine."""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from podium_service.errors import ConfigError
from podium_service.judges.judges_file import Config, parse


@dataclass(frozen=True, slots=True)
class JudgeEntry:
    """A judge on this machine; `api_key_env` names the variable of its key, if it has one."""

    name: str
    model_id: str
    base_url: str
    api_key_env: str | None = None

    def text(self, indent: str = "  ") -> str:
        """Return the entry, a line for each setting."""
        settings = [
            f"model: {_scalar(self.model_id)}",
            f"base_urls: [{_scalar(self.base_url)}]",
            "method: best_of",
        ]
        if self.api_key_env:
            settings.append(f"api_key_env: {_scalar(self.api_key_env)}")
        lines = [f"{indent}{self.name}:", *(f"{indent * 2}{setting}" for setting in settings)]
        return "\n".join(lines) + "\n"


def write_entry(path: Path, entry: JudgeEntry) -> None:
    """Add a judge to a judges file, unless it is there; make the file if need be.

    Raises:
        ConfigError: If the file cannot be read or written, is not usable, has another judge of this
            name, or lists its judges in braces.
    """
    alone = f"judges:\n{entry.text()}"
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if not text.strip():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(alone, encoding="utf-8")
            return
        config = parse(text, str(path))
        if entry.name not in config.judges:
            path.write_text(_insert(path, text, config, entry), encoding="utf-8")
        elif config.judges[entry.name] != parse(alone, entry.name).judges[entry.name]:
            raise ConfigError(
                f"{path} has another judge {entry.name}: rename or remove it, or write to another "
                "file"
            )
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _insert(path: Path, text: str, config: Config, entry: JudgeEntry) -> str:
    """Return the text of a judges file with one more judge, after the last one."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # because the file has been parsed
    judges = next(value for key, value in root.value if key.value == "judges")
    if judges.flow_style:
        raise ConfigError(f"{path}: its judges stand in braces: add {entry.name} by hand")
    # The end of a block is where the next one starts, after blank lines and comments.
    before = text[: judges.end_mark.index].splitlines(keepends=True)
    while not before[-1].strip() or before[-1].startswith("#"):
        before.pop()
    kept = "".join(before)
    line_end = "" if kept.endswith("\n") else "\n"
    added = entry.text(" " * judges.start_mark.column)
    changed = kept + line_end + added + text[len(kept) :]
    if not any(key.value == "default_judge" for key, _ in root.value):
        # It could be left out while there was one judge.
        changed = f"default_judge: {_scalar(config.default_judge)}\n{changed}"
    parse(changed, str(path))
    return changed


def _scalar(text: str) -> str:
    """Return a text as YAML, in quotes where it would be read as something else."""
    try:
        is_plain = yaml.safe_load(f"[{text}]") == [text]
    except yaml.YAMLError:
        is_plain = False
    return text if is_plain else json.dumps(text)
