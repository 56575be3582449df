"""The door for bodies: bytes -> a validated model, or a RequestError that names field and rule.

Refused before they are read, as far as a header tells; never echoed.
"""

import asyncio
import re
from collections.abc import Iterable
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from podium_service.errors import (
    BodyTooLarge,
    BodyTooSlow,
    InvalidRequest,
    MalformedJSON,
    UnsupportedMediaType,
)

MAX_DEPTH = 64
MAX_ERRORS = 10
PATIENCE_S = 10.0  # for a body, and a second more for each of so many bytes:
MIN_BYTES_PER_S = 65_536
_BYTES_PER_VALUE = 32  # of the cap: 16 MiB may hold 524,288 values
_VALUE_BYTES = 64  # that a JSON value takes in memory beside its text; lists and objects at least
# A JSON string, or what begins as one: without a way to fail, and so in linear time.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
# What pydantic calls the members of our unions; no caller knows them by these names.
_UNION_MEMBERS = {"str", "list[TextPart]", "dict[str,any]"}

Model = TypeVar("Model", bound=BaseModel)


async def read_json(request: Request, max_bytes: int, patience_s: float = PATIENCE_S) -> Any:
    """The body as plain JSON values, at most `max_bytes` long and `MAX_DEPTH` deep.

    Raises:
        UnsupportedMediaType: If it is not declared as JSON. A web page of another origin cannot
            declare it so without asking first, and we allow none.
        BodyTooLarge: If it is over the cap, known from Content-Length before anything is read; or
            if it holds more values than a body of that size is good for.
        BodyTooSlow: If it comes slower than `MIN_BYTES_PER_S` after the first seconds.
        Overloaded: If all bodies in work take too much memory with this one.
        MalformedJSON: If it is not strict JSON (no NaN, no lone surrogates, UTF-8).
        InvalidRequest: If it is nested too deep.
    """
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType(
            f"content-type is {media_type[:64] or 'missing'!r}: send application/json"
        )
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType("content-encoding must be identity: send the body uncompressed")
    body = await _read(request, max_bytes, patience_s)
    _require_few_values(body, max_bytes // _BYTES_PER_VALUE)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise MalformedJSON(f"body: {error.msg.split(':')[0]} at {place}") from error
    request.state.place.take(_VALUE_BYTES * _num_values(value))
    return value


def validated(model: type[Model], value: Any) -> Model:
    """`value` as a `model`.

    Raises:
        InvalidRequest: With the first `MAX_ERRORS` fields at fault and the rules they break.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _invalid(error) from None  # the cause would carry the input into logs


def _invalid(error: ValidationError) -> InvalidRequest:
    found = error.errors(include_url=False, include_input=False)
    fields = [
        {"field": _path(_loc(entry)), "rule": entry["msg"].removeprefix("Value error, ")}
        for entry in found[:MAX_ERRORS]
    ]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return InvalidRequest(f"{fields[0]['field']}: {fields[0]['rule']}{more}", fields=fields)


def _loc(error: ErrorDetails) -> tuple[int | str, ...]:
    """Where an error is. A rule about a whole names the part at fault as `loc` in its context."""
    return (*error["loc"], *error.get("ctx", {}).get("loc", ()))


def _path(loc: Iterable[int | str]) -> str:
    return ".".join(str(part)[:64] for part in loc if part not in _UNION_MEMBERS) or "body"


async def _read(request: Request, max_bytes: int, patience_s: float) -> bytearray:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > max_bytes:
        raise BodyTooLarge(f"content-length is {declared[:20]}: at most {max_bytes} bytes are read")
    body = bytearray()
    patient_until = asyncio.get_running_loop().time() + patience_s
    try:
        async with asyncio.timeout_at(patient_until) as patience:
            async for chunk in request.stream():
                request.state.place.take(len(chunk))
                body += chunk
                if len(body) > max_bytes:
                    raise BodyTooLarge(f"the body goes on: at most {max_bytes} bytes are read")
                patience.reschedule(patient_until + len(body) / MIN_BYTES_PER_S)
    except TimeoutError as error:
        raise BodyTooSlow(
            f"{len(body)} bytes of the body came in {patience_s:g} s and a second for each "
            f"{MIN_BYTES_PER_S}: send it faster"
        ) from error
    return body


def _require_few_values(body: bytearray, most: int) -> None:
    """Refuse what would take many times its own size in memory, before it is parsed: 64 MiB of
    empty objects take 2 GB and three seconds.

    Raises:
        BodyTooLarge: If it holds more values than `most`, whatever they are.
    """
    if len(body) <= most:  # a value takes a byte or more
        return
    if _num_marks(body) > most and _num_marks(_STRING.sub(b"", body)) > most:
        raise BodyTooLarge(f"the body holds over {most} values: send fewer, or larger ones")


def _num_marks(text: bytes | bytearray) -> int:
    """As many as JSON has values, or a few more; many more if strings hold them, too."""
    return sum(text.count(mark) for mark in (b",", b"[", b"{"))


def _num_values(value: Any) -> int:
    """How many values there are in one, itself included.

    Raises:
        InvalidRequest: If it is nested too deep.
    """
    count, level = 1, [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if type(item) is dict:
                below += item.values()
            elif type(item) is list:
                below += item
        if not below:
            return count
        count += len(below)
        level = below
    if any(type(item) in (dict, list) for item in level):
        raise InvalidRequest(
            f"body: nested deeper than {MAX_DEPTH} levels",
            fields=[{"field": "body", "rule": f"at most {MAX_DEPTH} levels deep"}],
        )
    return count
