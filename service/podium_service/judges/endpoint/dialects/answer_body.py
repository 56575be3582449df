"""Read the body of a chat completion as servers send it, which is not always plain JSON.

{"choices": [...]}                      JSON
NaN, half a character, a byte order mark, bytes that are no UTF-8
                                        JSON to Python's lenient parser
data: {"choices": [{"delta": ...}]}     a stream of events, from servers that only stream
{"code": 0, "data": {"choices": [...]}} a gateway's own object around it
"""

import json
import re
from typing import Any

import orjson

from podium_service.prompts.reply import list_tokens

_EVENT = re.compile(r"^data: ?(\{.*\})\s*$", re.MULTILINE)
_LAST_EVENT = re.compile(rb"^data: ?\[DONE\]", re.MULTILINE)
_COMMENT = re.compile(r"^:.*$", re.MULTILINE)  # keeps a connection open


def read_body(content: bytes) -> Any:
    """Return the JSON of a body, or the completion that its events add up to.

    Raises:
        ValueError: If it is neither.
    """
    body, events = read_events(content)
    if events:
        return _join_events(events, is_whole=bool(_LAST_EVENT.search(content)))
    return _unwrap(body)


def read_events(content: bytes) -> tuple[Any, list[dict[str, Any]]]:
    """Return the JSON of a body, or else the events of a stream; raises as `read_body` does."""
    try:
        return orjson.loads(content), []
    except orjson.JSONDecodeError:
        text = content.decode("utf-8-sig", errors="replace")
    try:
        events = [_load(event) for event in _EVENT.findall(text)]
        return (None if events else _load(_COMMENT.sub("", text))), events
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _unwrap(body: Any) -> Any:
    """Return the one completion among the members of a gateway's own object, else the body."""
    if not isinstance(body, dict) or "choices" in body:
        return body
    inner = [each for each in body.values() if isinstance(each, dict) and each.get("choices")]
    return inner[0] if len(inner) == 1 else body


def _load(text: str) -> Any:
    """Parse JSON leniently; halves of characters are replaced, because they cannot be stored."""
    whole = json.dumps(json.loads(text), ensure_ascii=False).encode(errors="replace")
    return json.loads(whole)


def _join_events(events: list[dict[str, Any]], *, is_whole: bool) -> dict[str, Any]:
    """Return one completion, or the event that tells of an error.

    A stream that neither says why it ended nor that it did (`is_whole`) broke off.
    """
    joined: dict[str, Any] = {}
    parts: dict[str, list[Any]] = {}
    logprobs: list[Any] = []
    choice: dict[str, Any] = {}
    for event in events:
        if event.get("error"):
            return event
        joined |= {name: event[name] for name in ("model", "usage") if event.get(name)}
        for each in event.get("choices") or ():
            for name, piece in (each.get("delta") or each.get("message") or {}).items():
                parts.setdefault(name, []).extend(piece if isinstance(piece, list) else [piece])
            logprobs += list_tokens(each.get("logprobs")) or ()
            choice["finish_reason"] = each.get("finish_reason") or choice.get("finish_reason")
    if choice and not is_whole and not choice["finish_reason"]:
        choice["finish_reason"] = "interrupted"
    message = {name: pieces for name, values in parts.items() if (pieces := _join(values))}
    if choice:
        joined["choices"] = [{**choice, "message": message, "logprobs": {"content": logprobs}}]
    return joined


def _join(pieces: list[Any]) -> Any:
    """Return one text where all pieces are texts; else those that say something, as parts."""
    said = [piece for piece in pieces if piece]
    return "".join(said) if all(isinstance(piece, str) for piece in said) else said
