"""Read flags of settings that hold names of the user's own, such as `task.options`.

Such a setting may be given whole, as YAML; name by name, as `--task.options.held_out 0.1` or
`--task.options held_out=0.1`; and more than once.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel

from podium_trainer.config import TrainConfig

ONE_OF_SEVERAL = re.compile(r",(?=[^,={}\[\]]+=)")  # a comma before the next `name=`

Setting = tuple[str, list[Any]]


class FlagError(ValueError):
    """A flag does not fit; one line with its name, the value and the rule."""


def take_own_names(flags: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the other flags, and the values of such settings as a part of a recipe.

    Raises:
        FlagError: If the value of one of them is missing, or is no mapping.
    """
    others: list[str] = []
    given: dict[str, Any] = {}
    rest = iter(flags)
    for flag in rest:
        name, equals, value = flag.partition("=")
        setting = next((s for s in OWN_NAMES if f"{name}.".startswith(f"--{s}.")), None)
        if setting is None:
            others.append(flag)
            continue
        text = value if equals else next(rest, None)
        if text is None or text.startswith("--"):
            raise FlagError(f"{name}: is without a value")
        is_whole = name == f"--{setting}"
        read = _read_mapping(setting, text) if is_whole else _load(name[2:], text)
        given = merge(given, _nest(name[2:], read))
    return others, given


def merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return both mappings as one, in which the new values stand before the old ones."""
    merged = dict(old)
    for name, value in new.items():
        before = merged.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            value = merge(before, value)
        merged[name] = value
    return merged


def _read_mapping(setting: str, text: str) -> dict[str, Any] | None:
    """Read the value of a whole setting: YAML, `name=value` or several of them, or null."""
    pairs = [part.partition("=") for part in ONE_OF_SEVERAL.split(text)]
    if text[:1] not in "{[" and all(name.strip() and equals for name, equals, _ in pairs):
        return {name.strip(): _load(f"{setting}.{name}", value) for name, _, value in pairs}
    value = _load(setting, text)
    if value is None or (isinstance(value, dict) and all(isinstance(key, str) for key in value)):
        return value
    raise FlagError(
        f"{setting}: {text!r}: is no mapping: write --{setting}.NAME VALUE,"
        f" or --{setting} '{{NAME: VALUE}}'"
    )


def _load(name: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FlagError(f"{name}: {text!r}: is not YAML: {' '.join(str(error).split())}") from error


def _nest(path: str, value: Any) -> dict[str, Any]:
    """Return the mapping in which `value` stands under the names of a dotted path."""
    for name in reversed(path.split(".")):
        value = {name: value}
    mapping: dict[str, Any] = value
    return mapping


def list_settings(model: type[BaseModel] = TrainConfig, prefix: str = "") -> Iterator[Setting]:
    """Yield every setting and section with its dotted name, and the types that it may have."""
    for name, field in model.model_fields.items():
        kinds: list[Any] = [field.annotation, *get_args(field.annotation)]
        yield prefix + name, kinds
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from list_settings(kind, f"{prefix}{name}.")


def _is_mapping(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is dict


OWN_NAMES = tuple(name for name, kinds in list_settings() if any(map(_is_mapping, kinds)))
