"""Every setting explains itself, because the documentation is generated from the settings."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from podium_service.judges.settings import ChecksJudge, JuryJudge, LLMJudge

GROUPS = ["quality", "cost", "robustness", "network"]


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that a type mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def settings_classes() -> list[type[BaseModel]]:
    """Return the three kinds of judges and every class that their fields hold."""
    classes: list[type[BaseModel]] = [LLMJudge, JuryJudge, ChecksJudge]
    for each in classes:
        for field in each.model_fields.values():
            classes += [model for model in models_in(field.annotation) if model not in classes]
    return classes


FIELDS = [(each, name) for each in settings_classes() for name in each.model_fields]


def test_nested_settings_and_criteria_are_covered() -> None:
    names = {each.__name__ for each in settings_classes()}
    assert {"Price", "Passes", "Bounds", "BudgetLimits", "SpendLimit"} <= names
    assert {"MatchesReference", "Regex", "NotEmpty", "NotOpenerOnly", "NotTruncated"} <= names


@pytest.mark.parametrize(("owner", "name"), FIELDS)
def test_every_setting_has_a_description_and_a_group(owner: type[BaseModel], name: str) -> None:
    field = owner.model_fields[name]
    assert field.description
    assert isinstance(field.json_schema_extra, dict)
    assert field.json_schema_extra["group"] in GROUPS


@pytest.mark.parametrize("owner", settings_classes())
def test_every_class_of_settings_has_its_own_docstring(owner: type[BaseModel]) -> None:
    assert owner.__dict__["__doc__"]
