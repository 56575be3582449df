"""Read the words of an error, whatever form its body has.

    {"error": {"message", "code", "type", "param"}}    OpenAI and most others
    {"error": "text"}, {"errors": [...]}               TGI, Ollama, Cloudflare
    [{"error": {"message", "status", "details"}}]      Gemini
    {"type": "error", "error": {"type", "message"}}    Anthropic
    {"object": "error", "message": ..., "code"}        vLLM, Mistral
    {"detail": "text"}, {"detail": [{"loc", "msg"}]}   FastAPI
    {"error": [{"path", "message"}]}                   Zod
    {"errors": {"seed": ["text"]}}                     ASP.NET, Rails, Django
    {"title", "detail", "status"}                      RFC 9457
    JSON inside the text of any of them                proxies
    plain text, HTML                                   gateways

To read one more form: add the key of its words to `_WORD_KEYS`, or of its code to `_CODE_KEYS`.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

MAX_CHARS = 4_000  # of one error; its meaning stands at its beginning
_MAX_DEPTH = 8
_WORD_KEYS = (
    "error", "errors", "message", "Message", "msg", "detail", "details", "title", "error_message",
    "errorMessage", "error_msg", "error_description", "description", "reason", "fault",
    "faultstring", "metadata", "raw", "cause", "base_resp", "status_msg",
)  # fmt: skip
_CODE_KEYS = (
    "code", "type", "status", "reason", "error_code", "errorCode", "error_type", "error", "__type",
)  # fmt: skip
_HOLDERS = (*_WORD_KEYS, "innererror", "inner_error")
_WAIT_KEYS = ("retryDelay", "retry_after", "retryAfter", "retry_after_seconds", "estimated_time")
_CONTEXT_KEYS = ("n_ctx", "context_length", "max_context_length")
_COUNT_KEYS = ("n_prompt_tokens", "prompt_tokens", "input_tokens")
_UNSEEN = re.compile(r"<(script|style)\b.*?</\1\s*>|<!--.*?-->", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^<>]{1,1000}>")
_CODE = re.compile(r"(?:[\w.]{1,80}#)?([\w.:/-]{2,80})")
_PARAMETER = re.compile(r"(?!None|null)[a-z][\w.\[\]-]{1,79}")
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*s?")


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a body, taken apart.

    Attributes:
        text: on one line, with the parameter at fault and the code at its end where the text does
            not hold them.
        codes: the words for programs, in lower case, from everywhere in the body.
        wait_s: for how many seconds the body asks to wait, if in a field of its own.
        context_tokens, prompt_tokens: the server's context and its count of the prompt, likewise.
    """

    text: str
    codes: frozenset[str] = frozenset()
    wait_s: float | None = None
    context_tokens: int | None = None
    prompt_tokens: int | None = None


def read_words(content: bytes) -> Words:
    """Return the words of a body, whatever it is."""
    text = content.decode("utf-8-sig", errors="replace")
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        return Words(_flatten(text[: 4 * MAX_CHARS]))
    found = list(dict.fromkeys(filter(None, map(_flatten, _list_texts(body)))))
    # Proxies say the same twice, and name what the longer text names, too.
    texts = [each for each in found if not any(each in other != each for other in found)]
    objects = list(_list_objects(body))
    codes = [code for each in objects for code in _list_codes(each)]
    words = "; ".join(texts) or _flatten(text[: 4 * MAX_CHARS])
    named = ""
    for key, form in (("param", _PARAMETER), ("code", _CODE)):
        name = next((each[key] for each in objects if isinstance(each.get(key), str)), "")
        if form.fullmatch(name) and name not in words and not name.isdigit():
            named += f" ({name})"
    words = words[: MAX_CHARS - len(named)] + named
    return Words(
        words,
        frozenset(code.lower() for code in codes),
        _find_number(objects, _WAIT_KEYS),
        _as_int(_find_number(objects, _CONTEXT_KEYS)),
        _as_int(_find_number(objects, _COUNT_KEYS)),
    )


def _flatten(text: str) -> str:
    """Return a text on one line, without the tags of HTML."""
    if "<" in text and re.search(r"<(!doctype|html|head|body|h1|title|p|center)\b", text, re.I):
        text = html.unescape(_TAG.sub(" ", _UNSEEN.sub(" ", text)))
    return " ".join(text[:MAX_CHARS].split())


def _list_texts(value: Any, depth: int = 0) -> Iterator[str]:
    """List the texts for people, the most telling first."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, str):
        inner = _parse_inner(value)
        inner_texts = list(_list_texts(inner, depth + 1)) if inner is not None else []
        yield from inner_texts or [value]
    elif isinstance(value, list):
        for each in value[:10]:
            yield from _list_texts(each, depth + 1)
    elif isinstance(value, dict):
        for name, place in (("msg", "loc"), ("message", "path")):
            if isinstance(value.get(name), str) and isinstance(value.get(place), list):
                yield ": ".join(filter(None, (".".join(map(str, value[place])), value[name])))
                return
        for key in _WORD_KEYS:
            if key in value:
                yield from _list_texts(value[key], depth + 1)
                yield from _list_fields(value[key])


def _list_fields(value: Any) -> Iterator[str]:
    """List the faults of an object that has a list of them for each field."""
    fields = value.items() if isinstance(value, dict) else ()
    for field, faults in list(fields)[:10]:
        if isinstance(faults, list) and faults and isinstance(faults[0], str):
            yield f"{field}: {faults[0]}"


def _list_objects(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """List the objects that hold words, codes or numbers, the outer ones last."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, str):
        value = _parse_inner(value)
    if isinstance(value, list):
        for each in value[:10]:
            yield from _list_objects(each, depth + 1)
    elif isinstance(value, dict):
        for key in _HOLDERS:
            if isinstance(value.get(key), dict | list | str):
                yield from _list_objects(value[key], depth + 1)
        yield value


def _parse_inner(text: str) -> Any:
    """Return the JSON that a text is or ends with; None if there is none."""
    start = min((at for at in (text.find("{"), text.find("[{")) if at >= 0), default=-1)
    if start < 0 or text.rstrip()[-1:] not in ("}", "]"):
        return None
    try:
        parsed = orjson.loads(text[start:])
    except orjson.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict | list) else None


def _list_codes(value: dict[str, Any]) -> Iterator[str]:
    for key in _CODE_KEYS:
        code = value.get(key)
        if isinstance(code, int):
            yield str(code)
        elif isinstance(code, str) and (found := _CODE.fullmatch(code)):
            yield found[1]


def _find_number(objects: list[dict[str, Any]], keys: tuple[str, ...]) -> float | None:
    for each in objects:
        for key in keys:
            number = _SECONDS.fullmatch(str(each.get(key)))
            if number and float(number[1]) > 0:
                return float(number[1])
    return None


def _as_int(number: float | None) -> int | None:
    return None if number is None else int(number)
