"""The base class of everything in the judges file, and the groups its settings are listed under.

To add a setting: write it as a field with its default, put one of the groups into its `Annotated`,
and a docstring below it that gives its meaning and unit. The documentation is generated from these.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

QUALITY = Field(json_schema_extra={"group": "quality"})
COST = Field(json_schema_extra={"group": "cost"})
ROBUSTNESS = Field(json_schema_extra={"group": "robustness"})
NETWORK = Field(json_schema_extra={"group": "network"})

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[FiniteFloat, Field(gt=0)]


class Settings(BaseModel):
    """A mapping in the judges file. Errors never quote its values, because one may be a key."""

    model_config = ConfigDict(
        extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )
