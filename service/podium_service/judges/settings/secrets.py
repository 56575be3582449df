"""Keep keys out of errors, logs and listings of the judges file."""

import os
import re
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel

# Words in capitals, with few digits: OPENAI_API_KEY, AZURE_GPT4O_KEY, but not AKIAIOSFODNN7EXAMPLE.
_NAME = re.compile(r"_*(?:[A-Z]{1,20}|[A-Z0-9]{1,8})(?:_+(?:[A-Z]{1,20}|[A-Z0-9]{1,8}))*")

_MAY_HOLD_KEYS = {"extra_body", "headers", "query"}
_KEY_NAME = re.compile(r"auth|key|token|secret|cookie|passw|credential|sig$", re.IGNORECASE)
_LONG_KEY_CHARS = 8
_VARIABLE = re.compile(r"\$\{?[A-Za-z_]")
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]{0,99})\}")


def read_key(variable: str | None) -> str | None:
    """Return the key in an environment variable, without the newline that ends a file's text."""
    return os.environ.get(variable, "").strip() or None if variable else None


def fill_in_variables(text: str) -> str:
    """Return a text with each `${NAME}` replaced by the environment variable.

    Raises:
        ValueError: If a variable is not set; see `require_key`.
    """

    def read(match: re.Match[str]) -> str:
        require_key(match[1])
        return read_key(match[1]) or ""

    return _REFERENCE.sub(read, text)


def refuse_variable(text: str) -> str | None:
    """Return why a setting cannot hold a text with a variable in it; None if it has none."""
    if _VARIABLE.search(text):
        return "variables are read in headers and query alone: write the value itself"
    return None


def find_secret(secret: str) -> re.Pattern[str]:
    """Return the pattern of a secret in a text.

    A key of a few characters, such as `k` or `EMPTY`, is looked for as a word of its own: else it
    would be taken out of the words that happen to hold it.
    """
    written = re.escape(secret)
    if len(secret) >= _LONG_KEY_CHARS:
        return re.compile(written)
    return re.compile(rf"(?<![A-Za-z0-9]){written}(?![A-Za-z0-9])")


def require_references(values: Mapping[str, str]) -> None:
    """Check values by their names: those that are keys come from the environment.

    Raises:
        ValueError: If one does not; its value is not quoted.
    """
    for name, value in values.items():
        if _KEY_NAME.search(name) and not _REFERENCE.search(value):
            raise ValueError(
                f"{name[:64]} holds a key, and keys stay out of this file: put it into an "
                "environment variable and write ${NAME_OF_THE_VARIABLE}"
            )


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

    Strings in `extra_body`, `headers` and `query` are hidden, because some endpoints take keys
    there, but not the names of variables that stand for them.
    """
    settings = judge.model_dump(mode="json", exclude=set(exclude), exclude_none=True, by_alias=True)
    for name in _MAY_HOLD_KEYS & settings.keys():
        settings[name] = _without_strings(settings[name])
    return settings


def _without_strings(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_strings(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_strings(each) for each in value]
    if not isinstance(value, str) or _REFERENCE.fullmatch(value):
        return value
    return "***"
