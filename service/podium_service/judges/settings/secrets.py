"""Keep keys out of errors, logs and listings of the judges file."""

import os
import re
from typing import Any

# Words in capitals, with few digits: OPENAI_API_KEY, AZURE_GPT4O_KEY, but not AKIAIOSFODNN7EXAMPLE.
_NAME = re.compile(r"_*(?:[A-Z]{1,20}|[A-Z0-9]{1,8})(?:_+(?:[A-Z]{1,20}|[A-Z0-9]{1,8}))*")
HIDDEN = "***"


def read_key(variable: str | None) -> str | None:
    """Return the key in an environment variable, without the newline that ends a file's text."""
    return os.environ.get(variable, "").strip() or None if variable else None


def require_key(variable: str) -> None:
    """Check that the variable holds a key that can be sent.

    Raises:
        ValueError: If it does not. What looks like a key and not like a name is not quoted.
    """
    key = read_key(variable)
    if key and not (key.isascii() and key.isprintable()):
        raise ValueError(f"the key in {variable} holds characters that a header cannot carry")
    if key:
        return
    if _NAME.fullmatch(variable):
        raise ValueError(f"the environment variable {variable} is not set")
    raise ValueError(
        "this looks like a key (not shown), not like the name of an environment variable that is "
        "set: put the key into a variable and give the variable's name, such as OPENAI_API_KEY"
    )


def without_strings(value: Any) -> Any:
    """Return a JSON value with `***` in place of every string but the names of members."""
    if isinstance(value, dict):
        return {name: without_strings(each) for name, each in value.items()}
    if isinstance(value, list):
        return [without_strings(each) for each in value]
    return HIDDEN if isinstance(value, str) else value
