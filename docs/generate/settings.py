"""The settings of judges, from the descriptions in `podium_service.judges`."""

from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from docs.generate.tables import setting_row, table
from podium_service.judges.checks.criteria import AnyCriterion
from podium_service.judges.limits import BudgetLimits, Passes, Price
from podium_service.judges.settings import ChecksJudge, JuryJudge, LLMJudge
from podium_service.store.quotas.spend import SpendLimit

GROUPS = ("quality", "cost", "robustness", "network")
HEADS = ("setting", "default", "meaning")
_SHARED = [
    name
    for name in LLMJudge.model_fields
    if name in ChecksJudge.model_fields and name in JuryJudge.model_fields and name != "kind"
]
_OF_EVERY_CRITERION = ("check", "weight", "gate")
_PARTS: dict[str, type[BaseModel]] = {
    "passes": Passes,
    "budget": BudgetLimits,
    "price": Price,
    "spend": SpendLimit,
}


def judge_settings() -> str:
    """Return the settings that every kind of judge has."""
    return table(HEADS, (setting_row(name, LLMJudge.model_fields[name]) for name in _SHARED))


def llm_settings() -> str:
    """Return the settings of an LLM judge, group by group, and of their parts."""
    text = ""
    for group in GROUPS:
        own = {
            name: field
            for name, field in LLMJudge.model_fields.items()
            if group_of(field) == group and name not in _SHARED
        }
        text += f"\n### {group.capitalize()}\n\n{table(HEADS, map(setting_row, own, own.values()))}"
        for name in (each for each in own if each in _PARTS):
            fields = _PARTS[name].model_fields
            text += f"\nThe parts of `{name}`:\n\n"
            text += table(HEADS, map(setting_row, fields, fields.values()))
    return text


def check_settings() -> str:
    """Return the settings of a checks judge, and every criterion with its own settings."""
    fields = {n: f for n, f in ChecksJudge.model_fields.items() if n not in _SHARED}
    text = table(HEADS, map(setting_row, fields, fields.values()))
    text += "\nA criterion has these settings, and its own from the second table:\n\n"
    criteria = get_args(get_args(AnyCriterion)[0])
    common = {n: f for n, f in criteria[0].model_fields.items() if n in _OF_EVERY_CRITERION}
    text += table(HEADS, map(setting_row, common, common.values())) + "\n"
    heads = ("`check`", "a trajectory meets it if", "own settings")
    return text + table(heads, map(_criterion, criteria))


def jury_settings() -> str:
    """Return the settings of a jury."""
    fields = {n: f for n, f in JuryJudge.model_fields.items() if n not in _SHARED}
    return table(HEADS, map(setting_row, fields, fields.values()))


def group_of(field: FieldInfo) -> str:
    """Return the group that a setting is listed under."""
    extra = field.json_schema_extra
    return str(extra["group"]) if isinstance(extra, dict) else ""


def _criterion(criterion: type[BaseModel]) -> tuple[str, str, str]:
    name = get_args(_bare(criterion.model_fields["check"].annotation))[0]
    own = {n: f for n, f in criterion.model_fields.items() if n not in _OF_EVERY_CRITERION}
    settings = [
        f"{setting}{'' if default == 'required' else f' (default {default})'}: {meaning}"
        for setting, default, meaning in map(setting_row, own, own.values())
    ]
    about = (criterion.__doc__ or "").split("\n\n")[0]
    return f"`{name}`", " ".join(about.split()), " ".join(settings) or "–"


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
