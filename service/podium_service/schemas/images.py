"""Read the image in a part of a message, in the forms in which clients send one.

    {"type": "image_url", "image_url": {"url": ...}}                            OpenAI, vLLM, TRL
    {"type": "input_image", "image_url": ...}                                   OpenAI Responses
    {"type": "image", "source": {"type": "base64", "media_type": ..., "data": ...}}     Anthropic
    {"type": "image", "source": {"type": "url", "url": ...}}                    Anthropic
    {"inline_data": {"mime_type": ..., "data": ...}}                            Gemini
    {"file_data": {"file_uri": ...}}                                            Gemini
    {"type": "image", "url": ...} and so on: `url`, `image`, `base64` or `data`, beside a
    `mime_type` or `media_type`                            transformers, LangChain, MCP

An image is data, or an https URL. URLs are never fetched here: they are sent to the judge as they
are. To read one more form, add the member that holds the image to `_HOLDERS`, or the name of its
text to `_URLS` or `_DATA`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from string import ascii_letters, digits
from typing import Any
from urllib.parse import urlsplit

MAX_URL_CHARS = 8192
MEDIA_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_HOLDERS = ("image_url", "source", "inline_data", "inlineData", "file_data", "fileData", "image")
_URLS = ("url", "image_url", "file_uri", "fileUri", "uri")
_DATA = ("data", "base64", "bytes")
_TYPES = ("media_type", "mime_type", "mimeType", "mediaType")
# How the base64 of each type begins. What the data are counts, not what they are said to be,
# because some endpoints refuse an image whose type is wrong.
_BEGINNINGS = dict(zip(("iVBORw", "/9j/", "R0lGOD", "UklGR"), MEDIA_TYPES, strict=True))
_SAID = {name: name for name in MEDIA_TYPES} | {"image/jpg": "image/jpeg"}
_URL_SAFE = str.maketrans("-_", "+/", " \t\r\n=")
_ALPHABET = (ascii_letters + digits + "+/").encode()
_HOW = "send https or data:image/...;base64,... with a png, jpeg, gif or webp"


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a message.

    Attributes:
        url: https, or data: in base64.
        digest: hex SHA-256 of the base64, or of an https URL; equal images have the same.
        num_bytes: the length of the data before base64; 0 for an https URL.
    """

    url: str
    digest: str
    num_bytes: int = 0


def read_image(part: Mapping[str, Any]) -> Image:
    """Return the image in a part of a message, given as its JSON value.

    Raises:
        ValueError: If there is none that can be shown; the first argument is the member at fault,
            the second one the rule that it breaks.
    """
    for member in _HOLDERS:
        if (held := part.get(member)) is not None:
            return _read_held(member, held, part)
    return _read_held("", part, part)


def _read_held(member: str, held: Any, part: Mapping[str, Any]) -> Image:
    """Read a member that holds an image: a URL, base64, or an object with one of them."""
    if isinstance(held, str):
        return _read_text(member, held, _media_type(part))
    if isinstance(held, Mapping):
        for name in (*_URLS, *_DATA):
            if isinstance(text := held.get(name), str):
                said = _media_type(held) or _media_type(part)
                return _read_text(f"{member}.{name}".lstrip("."), text, said)
    raise ValueError(member, f"an image needs its data or its URL: {_HOW}")


def _read_text(place: str, text: str, said: str | None) -> Image:
    if text[:5].lower() == "data:":
        head, comma, data = text[5:].partition(",")
        media_type, *parameters = head.lower().split(";")
        if not comma or parameters[-1:] != ["base64"]:
            raise ValueError(place, f"a data: URL of an image must be in base64: {_HOW}")
        return _read_data(place, data, media_type.strip() or said)
    if text[:8].lower() == "https://":
        return _read_https(place, text)
    if ":" in text[:16]:  # base64 has no colon
        raise ValueError(place, f"no other scheme of a URL is let through: {_HOW}")
    return _read_data(place, text, said)


def _read_https(place: str, url: str) -> Image:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if not host or len(url) > MAX_URL_CHARS or not url.isprintable() or " " in url:
        raise ValueError(
            place, f"an https URL needs a host, no spaces and at most {MAX_URL_CHARS} characters"
        )
    return Image(url, sha256(url.encode()).hexdigest())


def _read_data(place: str, data: str, said: str | None) -> Image:
    start = data[:16].translate(_URL_SAFE)
    known = next((type_ for each, type_ in _BEGINNINGS.items() if start.startswith(each)), None)
    media_type = known or _SAID.get((said or "").lower())
    if media_type is None:
        raise ValueError(place, f"this is no image of a type that judges take: {_HOW}")
    if not _is_base64(data):  # it may be in the URL-safe form, wrapped, or without padding
        data = data.translate(_URL_SAFE)
        data += "=" * (-len(data) % 4)
        if not _is_base64(data):
            raise ValueError(place, f"this is not base64: {_HOW}")
    if not data:
        raise ValueError(place, f"this image is empty: {_HOW}")
    num_bytes = len(data) // 4 * 3 - data[-2:].count("=")
    digest = sha256(data.encode()).hexdigest()
    return Image(f"data:{media_type};base64,{data}", digest, num_bytes)


def _is_base64(data: str) -> bool:
    """Tell whether a text is base64 with its padding; five times as fast as decoding it."""
    if len(data) % 4 or not data.isascii():
        return False
    others = data.encode().translate(None, _ALPHABET)
    return others in (b"", b"=", b"==") and data.endswith(others.decode())


def _media_type(value: Mapping[str, Any]) -> str | None:
    return next((said for name in _TYPES if isinstance(said := value.get(name), str)), None)
