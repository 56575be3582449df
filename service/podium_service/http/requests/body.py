"""Read a request's body as JSON and validate it; every fault is a RequestError.

A body that is too large is refused before it is read wherever a header tells its size. An error
names the field and the rule, and never quotes the body.
"""

import asyncio
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from podium_service.errors import (
    BodyTooLarge,
    BodyTooSlow,
    InvalidRequest,
    MalformedJSON,
    UnsupportedMediaType,
)

if TYPE_CHECKING:  # commands that serve nothing validate groups, too
    from starlette.requests import Request

MAX_DEPTH = 64
MAX_ERRORS = 10
PATIENCE_S = 10.0  # for the whole body, plus a second per MIN_BYTES_PER_S that have arrived
MIN_BYTES_PER_S = 65_536
_BYTES_PER_VALUE = 32  # a body may hold max_bytes / 32 values: 524,288 in 16 MiB
_VALUE_BYTES = 64  # least memory of a parsed value without its text; more for lists and objects
# A JSON string, closed or not. The pattern cannot fail, so matching takes linear time.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
# Names that pydantic gives to the members of unions in the schema; callers do not know them.
_UNION_MEMBERS = {"str", "Part", "list[union[Part,str]]", "dict[str,any]", "list[any]"}

Model = TypeVar("Model", bound=BaseModel)


async def read_json(request: "Request", max_bytes: int, patience_s: float = PATIENCE_S) -> Any:
    """Return the body as plain JSON values.

    Args:
        max_bytes: the most that the body may be long.
        patience_s: seconds that the first bytes may take.

    Raises:
        UnsupportedMediaType: If it is not declared as uncompressed JSON. A web page of another
            origin may not declare a body as JSON without asking us first, and we never allow it.
        BodyTooLarge: If it is longer than `max_bytes`, or holds more values than that allows.
        BodyTooSlow: If it arrives at less than `MIN_BYTES_PER_S` after the first `patience_s`.
        Overloaded: If this body and those of other requests take too much memory together.
        MalformedJSON: If it is not strict JSON (no NaN, no lone surrogates, UTF-8).
        InvalidRequest: If it is nested deeper than `MAX_DEPTH`.
    """
    body = await read_bytes(request, max_bytes, patience_s)
    _require_few_values(body, max_bytes // _BYTES_PER_VALUE)
    try:
        value, num_values = parse_json(body)
    except orjson.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise MalformedJSON(f"body: {error.msg.split(':')[0]} at {place}") from error
    request.state.body_memory.take(_VALUE_BYTES * num_values)
    return value


async def read_bytes(
    request: "Request", max_bytes: int, patience_s: float = PATIENCE_S
) -> bytearray:
    """Return the body as it was sent, declared as JSON and not parsed.

    Raises:
        UnsupportedMediaType, BodyTooLarge, BodyTooSlow, Overloaded: As `read_json` does.
    """
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType(
            f"content-type is {media_type[:64] or 'missing'!r}: send application/json"
        )
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType("content-encoding must be identity: send the body uncompressed")
    return await _read(request, max_bytes, patience_s)


def parse_json(text: bytes | bytearray) -> tuple[Any, int]:
    """Return a JSON value, its integers exact, and the number of values in it.

    Raises:
        orjson.JSONDecodeError: If it is not strict JSON.
        InvalidRequest: If it is nested deeper than `MAX_DEPTH`.
    """
    value = orjson.loads(text)
    count, is_rounded = _count_values(value)
    # pydantic's parser is less strict, so it only reads again what orjson has read.
    return (from_json(text) if is_rounded else value), count


def validate(model: type[Model], value: Any) -> Model:
    """Return `value` as a `model`.

    Raises:
        InvalidRequest: With the first `MAX_ERRORS` fields at fault and the rules they break.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        fields = [
            {"field": _field_name(each), "rule": _rule(each)} for each in details[:MAX_ERRORS]
        ]
        more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
        detail = f"{fields[0]['field']}: {fields[0]['rule']}{more}"
        # Chaining would put the input into logs.
        raise InvalidRequest(detail, fields=fields) from None


def _rule(error: ErrorDetails) -> str:
    """Return the rule that is broken, in words of JSON and not of Python."""
    if error["type"] in ("dict_type", "model_type", "model_attributes_type"):
        return "Input should be an object"
    return error["msg"].removeprefix("Value error, ")


def _field_name(error: ErrorDetails) -> str:
    """Return the dotted path of the field at fault; "body" for the body as a whole."""
    # A validator of a whole model names the part at fault in its context.
    path: Iterable[int | str] = (*error["loc"], *error.get("ctx", {}).get("loc", ()))
    return ".".join(str(part)[:64] for part in path if part not in _UNION_MEMBERS) or "body"


async def _read(request: "Request", max_bytes: int, patience_s: float) -> bytearray:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > max_bytes:
        raise BodyTooLarge(f"content-length is {declared[:20]}: at most {max_bytes} bytes are read")
    body = bytearray()
    start = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(start + patience_s) as patience:
            async for chunk in request.stream():
                request.state.body_memory.take(len(chunk))
                body += chunk
                if len(body) > max_bytes:
                    raise BodyTooLarge(f"the body goes on: at most {max_bytes} bytes are read")
                patience.reschedule(start + patience_s + len(body) / MIN_BYTES_PER_S)
    except TimeoutError as error:
        raise BodyTooSlow(
            f"{len(body)} bytes of the body came in {patience_s:g} s and a second for each "
            f"{MIN_BYTES_PER_S}: send it faster"
        ) from error
    return body


def _require_few_values(body: bytearray, max_values: int) -> None:
    """Check the number of values before parsing: 64 MiB of empty objects take 2 GB and 3 s."""
    if len(body) <= max_values:  # because a value takes at least a byte
        return
    # Marks in strings count too, at first. Removing the strings is slow, so it is the second step.
    if _count_marks(body) > max_values and _count_marks(_STRING.sub(b"", body)) > max_values:
        raise BodyTooLarge(f"the body holds over {max_values} values: send fewer, or larger ones")


def _count_marks(text: bytes | bytearray) -> int:
    """Return an upper bound of the number of JSON values, close unless strings hold the marks."""
    return sum(text.count(mark) for mark in (b",", b"[", b"{"))


def _count_values(value: Any) -> tuple[int, bool]:
    """Return the number of JSON values in one value, itself included; check its depth.

    Returns:
        The number, and whether a float may be a rounded integer, because orjson rounds those that
        64 bits do not hold.
    """
    count, is_rounded, level = 1, False, [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is str:
                continue  # most values are texts
            if kind is dict:
                below += item.values()
            elif kind is list:
                below += item
            elif kind is float and not -(2.0**63) < item < 2.0**64:
                is_rounded = True
        if not below:
            return count, is_rounded
        count += len(below)
        level = below
    if any(type(item) in (dict, list) for item in level):
        raise InvalidRequest(
            f"body: nested deeper than {MAX_DEPTH} levels",
            fields=[{"field": "body", "rule": f"at most {MAX_DEPTH} levels deep"}],
        )
    return count, True
