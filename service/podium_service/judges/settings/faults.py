"""Find every fault of a judges file at once, and say of each what to write instead.

pydantic stops at a mapping with a fault: rules that compare its settings are not checked. So faults
are repaired or taken out in a copy, and the copy is checked again.

To hint at one more setting that people write: add it to `HINTS`.
"""

import difflib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

Loc = tuple[int | str, ...]

# What people write for a setting of another name: that name, if the value can stay, and words.
HINTS: dict[str, tuple[str | None, str]] = {
    "base_url": ("base_urls", "write base_urls, a URL or a list of URLs"),
    "api_base": ("base_urls", "write base_urls, a URL or a list of URLs"),
    "url": ("base_urls", "write base_urls, a URL or a list of URLs"),
    "endpoint": ("base_urls", "write base_urls, a URL or a list of URLs"),
    "host": ("base_urls", "write base_urls, a URL or a list of URLs"),
    "provider": (None, "base_urls says where the judge is, and api which API it speaks"),
    "deployment": ("model", "write model, which is the deployment for Azure"),
    "api_version": ("azure", "write azure, the version of Azure OpenAI's API"),
    "samples": ("passes", "write passes, how often each trajectory is shown"),
    "n": ("passes", "write passes, how often each trajectory is shown"),
    "input": ("prompt", "write prompt"),
    "output": ("completion", "write completion"),
    "api_key": (
        None,
        "keys stay out of this file: put the key into an environment variable and write "
        "api_key_env: NAME_OF_THE_VARIABLE",
    ),
    "api_key_var": ("api_key_env", "write api_key_env, the name of an environment variable"),
    "model_name": ("model", "write model"),
    "system_prompt": ("rubric", "write rubric, the criteria that the judge applies"),
    "name": (None, "a judge's name is the key above its settings"),
}
# What stands for a setting that has to be there, while others are checked.
_STAND_INS: dict[int | str, Any] = {
    "model": "model",
    "base_urls": ["http://judge/v1"],
    "criteria": [{"check": "not_empty"}],
}
# What pydantic says of values in a form of Python, and what they are in the file.
_NO_SETTINGS = ("model_type", "model_attributes_type", "dict_type", "dataclass_type")
_JUDGES: Loc = ("judges",)
_DEFAULT: Loc = ("default_judge",)
_NO_JUDGES = "write the name of each judge here, as a key, and below it the settings of the judge"
_MISSING: dict[Loc, str] = {
    _JUDGES: "Field required: write judges, and below it a name and the settings of each judge",
    _DEFAULT: "Field required where there are several judges: name the one to ask",
}
_MOST_ROUNDS = 4
_MOST_NAMED = 12


@dataclass(frozen=True, slots=True)
class SettingFault:
    """One fault: where it is, with the members of unions that pydantic tried, and the rule."""

    loc: Loc
    rule: str


def find_faults(model: type[BaseModel], data: Any, error: ValidationError) -> list[SettingFault]:
    """Return all faults that can be found in data which `model` has refused with `error`."""
    unknown: list[SettingFault] = []
    written: dict[Loc, Loc] = {}  # where a renamed setting stands in the document
    data = deepcopy(data)
    for _ in range(_MOST_ROUNDS):
        strange = [each["loc"] for each in error.errors() if each["type"] == "extra_forbidden"]
        if not strange:
            break
        for loc in strange:
            name, rule = _explain(str(loc[-1]), _settings_at(model, loc[:-1]))
            unknown.append(SettingFault(loc, rule))
            if name is not None:
                written[*loc[:-1], name] = loc
            _rename(data, loc, name)
        try:
            model.model_validate(data)
        except ValidationError as next_error:
            error = next_error
        else:
            return unknown
    others = [*_read(error), *_faults_beside(model, data, error)]
    return unknown + [replace(each, loc=_as_written(each.loc, written)) for each in others]


def _faults_beside(model: type[BaseModel], data: Any, error: ValidationError) -> list[SettingFault]:
    """Return the faults that show once the settings that `error` names are out of the way."""
    told = {each.loc for each in _read(error)}
    faults: list[SettingFault] = []
    for _ in range(_MOST_ROUNDS):
        _name_a_default(data, error)
        for _, judge, *parts in (each["loc"] for each in error.errors() if len(each["loc"]) > 2):
            _take_out(data["judges"], judge, parts)
        try:
            model.model_validate(data)
        except ValidationError as next_error:
            error = next_error
            new = [each for each in _read(error) if each.loc not in told]
            told |= {each.loc for each in new}
            faults += new
            if not new:
                break
        else:
            break
    return faults


def _name_a_default(data: Any, error: ValidationError) -> None:
    """Make the first judge the default where `error` found none that can be read."""
    judges = data.get("judges") if isinstance(data, dict) else None
    if isinstance(judges, dict) and judges and (_DEFAULT in (e["loc"] for e in error.errors())):
        data["default_judge"] = next(iter(judges))


def _take_out(judges: Any, judge: int | str, parts: list[int | str]) -> None:
    """Take a setting out of a judge, or all that others do not refer to if none is at fault."""
    settings = judges.get(judge) if isinstance(judges, dict) else None
    if not isinstance(settings, dict):
        return
    name = next((part for part in parts if part in settings or part in _STAND_INS), None)
    if name is not None:
        settings.pop(name, None)
        if name in _STAND_INS:
            settings[name] = _STAND_INS[name]
        return
    kept = {each: settings[each] for each in ("kind", "fallback", "members") if each in settings}
    needed = {"checks": ["criteria"], "jury": []}.get(
        str(settings.get("kind")), ["model", "base_urls"]
    )
    judges[judge] = kept | {each: _STAND_INS[each] for each in needed}


def _as_written(loc: Loc, written: Mapping[Loc, Loc]) -> Loc:
    for end in range(len(loc), 0, -1):
        if loc[:end] in written:
            return (*written[loc[:end]], *loc[end:])
    return loc


def _read(error: ValidationError) -> list[SettingFault]:
    faults = []
    at_fault = {each["loc"] for each in error.errors()}
    for each in error.errors():
        loc, context = each["loc"], each.get("ctx", {})
        if each["type"] == "missing" and loc in _MISSING:
            if loc == _JUDGES or _JUDGES not in at_fault:  # no judges: none can be the default
                faults.append(SettingFault(loc, _MISSING[loc]))
            continue
        if loc == _JUDGES:
            faults.append(SettingFault(loc, _NO_JUDGES))
            continue
        if "faults" in context:  # a rule about the whole file can break in several places
            faults += [SettingFault((*loc, *below), rule) for below, rule in context["faults"]]
            continue
        if len(loc) == 3:
            loc = loc[:2]  # a rule about a whole judge, whose kind is not a part of the document
        rule = each["msg"].removeprefix("Value error, ")
        if each["type"] in _NO_SETTINGS:
            rule = "write settings here, each as name: value"
        faults.append(SettingFault((*loc, *context.get("loc", ())), rule))
    return faults


def _explain(name: str, known: list[str]) -> tuple[str | None, str]:
    """Return the setting that an unknown name may stand for, and what to do."""
    if name in HINTS:
        meant, rule = HINTS[name]
        if meant is None or meant in known:
            return meant, f"there is no such setting: {rule}"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return near[0], f"there is no such setting: the nearest one is {near[0]}"
    if len(known) > _MOST_NAMED:
        return None, "there is no such setting: docs/judges.md lists all there are"
    return None, f"there is no such setting: use one of {', '.join(known)}"


def _rename(data: Any, loc: Loc, name: str | None) -> None:
    """Give the value at `loc` another name in its mapping, or drop it if that one is taken."""
    for part in loc[:-1]:
        # A part that is not in the document names a member of a union.
        is_item = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if is_item or (isinstance(data, dict) and part in data):
            data = data[part]
    if isinstance(data, dict):
        value = data.pop(loc[-1], None)
        if name is not None:
            data.setdefault(name, value)


def _settings_at(model: type[BaseModel], loc: Loc) -> list[str]:
    """Return the settings that a mapping may have at a place of the model."""
    models = [model]
    for part in loc:
        fields = [each.model_fields[str(part)] for each in models if part in each.model_fields]
        if fields:
            models = [found for field in fields for found in _models_in(field.annotation)]
        else:  # an index, a name, or the tag of a member of a union
            models = [each for each in models if _has_tag(each, part)] or models
    return list(dict.fromkeys(name for each in models for name in each.model_fields))


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models_in(part)]


def _has_tag(model: type[BaseModel], part: int | str) -> bool:
    for name in ("kind", "check"):
        if name in model.model_fields:
            annotation = model.model_fields[name].annotation
            if get_origin(annotation) is Annotated:
                annotation = get_args(annotation)[0]
            return get_origin(annotation) is Literal and part in get_args(annotation)
    return False
