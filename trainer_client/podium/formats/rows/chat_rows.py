"""Rows that hold one whole conversation each, in any form that podium.formats.chats reads."""

from dataclasses import replace
from functools import partial

from podium.formats.attempts import ids_of, read_attempts
from podium.formats.chats import DIALECTS, dialect_of, read_chat
from podium.formats.errors import FormatError
from podium.formats.fields import (
    CHATS,
    COMPLETIONS,
    HISTORIES,
    PROMPTS,
    decoded,
    first_of,
    names_of,
)
from podium.formats.record import Format, Record, Row

_ABOUT = {
    "agents": "items of OpenAI's Agents SDK and Responses API",
    "langchain": "LangChain's messages, as dicts or serialised",
    "sharegpt": "ShareGPT's conversations, with from and value",
    "pydantic_ai": "messages of Pydantic AI",
    "sources": "messages that name their source (AutoGen, ATIF's steps)",
    "gemini": "Gemini's contents, with parts",
    "genai": "messages with typed parts (OpenTelemetry, Vercel's AI SDK)",
    "anthropic": "Anthropic's messages, with tool_use and tool_result blocks",
    "openai": "OpenAI's chat messages",
}


def _dialect(row: Row) -> tuple[str, str] | None:
    """Return the field that holds a row's conversation, and its form."""
    is_asked = first_of(row, PROMPTS) and first_of(row, COMPLETIONS)
    for name in CHATS:
        if is_asked and name in HISTORIES:
            continue  # of the turns before these two
        value = decoded(row.get(name))
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
            value = value[0]
        if dialect := dialect_of(value):
            return name, dialect
    return None


def _fits(name: str, row: Row) -> str | None:
    found = _dialect(row)
    if found is None or found[1] != name:
        return None
    return f"the field {found[0]} holds {_ABOUT[name]}"


def _read(row: Row) -> list[Record]:
    found = _dialect(row)
    if found is None:
        raise FormatError(f"no conversation in a row with {names_of(row)}")
    attempts = [replace(each, ids=ids_of(row)) for each in read_attempts(row)]
    messages = read_chat(row[found[0]]) or [{}]
    completion = first_of(row, COMPLETIONS) if messages[-1].get("role") != "assistant" else None
    fields = {name: value for name, value in row.items() if name != completion}
    return [Record(attempts, fields)]


FORMATS = [Format(name, _ABOUT[name], partial(_fits, name), _read) for name in DIALECTS]
