"""The base class of everything in the judges file, and the groups its settings are listed under.

To add a setting: write it as a field with its default, put one of the groups into its `Annotated`,
and a docstring below it that gives its meaning and unit. The documentation is generated from these.
"""

from typing import Annotated, Any, get_origin

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

QUALITY = Field(json_schema_extra={"group": "quality"})
COST = Field(json_schema_extra={"group": "cost"})
ROBUSTNESS = Field(json_schema_extra={"group": "robustness"})
NETWORK = Field(json_schema_extra={"group": "network"})

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[FiniteFloat, Field(gt=0)]


class Settings(BaseModel):
    """A mapping in the judges file. Errors never quote its values, because one may be a key.

    A text where a list is expected is taken for a list of one.
    """

    model_config = ConfigDict(
        extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _one_text_is_a_list(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        lists = {n for n, field in cls.model_fields.items() if get_origin(field.annotation) is list}
        return {n: [v] if n in lists and isinstance(v, str) else v for n, v in values.items()}
