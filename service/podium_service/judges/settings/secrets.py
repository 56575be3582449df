"""Keep keys out of errors, logs and listings of the judges file."""

import os
import re
from collections.abc import Collection
from typing import Any

from pydantic import BaseModel

# Words in capitals, with few digits: OPENAI_API_KEY, AZURE_GPT4O_KEY, but not AKIAIOSFODNN7EXAMPLE.
_NAME = re.compile(r"_*(?:[A-Z]{1,20}|[A-Z0-9]{1,8})(?:_+(?:[A-Z]{1,20}|[A-Z0-9]{1,8}))*")


def read_key(variable: str | None) -> str | None:
    """Return the key in an environment variable, without the newline that ends a file's text."""
    return os.environ.get(variable, "").strip() or None if variable else None


def require_key(variable: str) -> None:
    """Check that the variable holds a key that can be sent.

    Raises:
        ValueError: If it does not. What looks like a key and not like a name is not quoted.
    """
    if key := read_key(variable):
        if key.isascii() and key.isprintable():
            return
        raise ValueError(f"the key in {variable} holds characters that a header cannot carry")
    if _NAME.fullmatch(variable):
        raise ValueError(f"the environment variable {variable} is not set")
    if _NAME.fullmatch(variable.strip("${}")):
        raise ValueError("this is a reference to a variable: write its name, without $ and braces")
    raise ValueError(
        "this looks like a key (not shown), not like the name of an environment variable that is "
        "set: put the key into a variable and give the variable's name, such as OPENAI_API_KEY"
    )


def dump_without_secrets(judge: BaseModel, exclude: Collection[str] = ()) -> dict[str, Any]:
    """Return a judge's settings as JSON values that may be shown; null ones are left out.

    Strings in `extra_body` are hidden, because some endpoints take keys there.
    """
    settings = judge.model_dump(mode="json", exclude=set(exclude), exclude_none=True, by_alias=True)
    if "extra_body" in settings:
        settings["extra_body"] = _without_strings(settings["extra_body"])
    return settings


def _without_strings(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_strings(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_strings(each) for each in value]
    return "***" if isinstance(value, str) else value
