"""The base class of everything in the judges file, and the groups its settings are listed under.

To add a setting: give it a `Field` with a `description` (unit and meaning of the default included)
and one of the groups as its `json_schema_extra`. The documentation lists settings by group.
"""

from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict

QUALITY: JsonDict = {"group": "quality"}
COST: JsonDict = {"group": "cost"}
ROBUSTNESS: JsonDict = {"group": "robustness"}
NETWORK: JsonDict = {"group": "network"}


class Settings(BaseModel):
    """A mapping in the judges file. Errors never quote its values, because one may be a key."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
