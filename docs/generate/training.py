"""The settings of a run of `podium-train`, from `podium_trainer.config`."""

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from docs.generate.tables import setting_row, table
from podium_trainer.config import TrainConfig

HEADS = ("setting", "default", "meaning")


def train_settings() -> str:
    """Return every setting of a run, section by section, under the names of flags and YAML."""
    sections: dict[str, type[BaseModel]] = {}
    own: dict[str, FieldInfo] = {}
    for name, field in TrainConfig.model_fields.items():
        section = _section(field)
        if section:
            sections[name] = section
        else:
            own[name] = field
    text = table(HEADS, map(setting_row, own, own.values()))
    for name, section in sections.items():
        about = " ".join((section.__doc__ or "").split())
        text += f"\n### `{name}`\n\n{about}\n\n{table(HEADS, _rows(section))}"
    return text


def _rows(section: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str]]:
    rows = []
    for name, field in section.model_fields.items():
        rows.append(setting_row(prefix + name, field))
        inner = _section(field)
        if inner:
            rows += _rows(inner, f"{prefix}{name}.")
    return rows


def _section(field: FieldInfo) -> type[BaseModel] | None:
    """Return the section that a field holds, if it holds one."""
    options = (field.annotation, *getattr(field.annotation, "__args__", ()))
    return next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
