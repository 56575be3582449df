"""Put numbered labels in the place of images, and show each image of a call once.

    in a text          [image 2]                  where a judge sees images
                       [image 2: not shown]       where it does not
    before the texts   [image 2]:  the image      each one that the texts of this call refer to

Images are numbered over the whole group: those that all trajectories share come first. An image
that occurs twice has one number, so a judge without vision can still tell which ones differ. While
digests are computed, `[image DIGEST]` stands in the place of a number. Texts cannot hold a label,
because `escape_labels` takes their brackets away.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from podium_service.prompts.defences.escape import escape_labels
from podium_service.schemas import Image, Message

LABEL = re.compile(r"\[image (\d+)\]")
_BEGINNING = 60
_LAST_LABEL = re.compile(r"\[image (\d+)\]:\n\Z")
_BY_DIGEST = re.compile(r"\[image ([0-9a-f]{64})\]")

Cleaner = Callable[[str], str]
Content = str | list[dict[str, Any]]  # of a chat message in OpenAI's form


@dataclass(frozen=True, slots=True)
class ShownImage:
    """An image in a message to a judge.

    Attributes:
        url: https, or data: in base64.
        tokens: what it counts for in a context or a budget.
    """

    url: str
    tokens: int


Part = str | ShownImage


def collect_images(messages: Iterable[Message]) -> dict[str, Image]:
    """Return the images of messages by digest."""
    return {
        image.digest: image
        for message in messages
        if isinstance(message.content, list)
        for image in message.images
    }


def guard_labels(cleaner: Cleaner) -> Cleaner:
    """Return a cleaner for the texts of a group with images: none of them can hold a label."""
    return lambda text: escape_labels(cleaner(text))


def render_content(message: Message, cleaner: Cleaner) -> str:
    """Render the text of a message, with `[image DIGEST]` on a line where an image stands."""
    if not isinstance(message.content, list) or not message.images:
        return cleaner(message.text)
    pieces = (
        f"[image {piece.digest}]" if isinstance(piece, Image) else cleaner(piece)
        for piece in message.pieces
    )
    return "\n".join(filter(None, pieces))


def parse_content(text: str, urls: Mapping[int, str]) -> str | list[Any]:
    """Return the content that `render_content` renders as this text, given each image by number."""
    parts: list[Any] = []
    for line in text.split("\n"):
        label = LABEL.fullmatch(line)
        url = urls.get(int(label[1])) if label else None
        if url is not None:
            parts.append({"type": "image_url", "image_url": {"url": url}})
        elif parts and isinstance(parts[-1], str):
            parts[-1] += f"\n{line}"
        else:
            parts.append(line)
    return text if len(parts) == 1 and parts[0] == text else parts


def number_images(texts: Sequence[str], is_shown: bool) -> tuple[list[str], list[str]]:
    """Replace digests by numbers in the order in which they occur.

    Args:
        texts: what all trajectories share, and then each of the others.
        is_shown: whether the judge sees the images.

    Returns:
        The texts, and the digest of each number, from 1.
    """
    numbers: dict[str, int] = {}
    note = "" if is_shown else ": not shown"

    def label(match: re.Match[str]) -> str:
        return f"[image {numbers.setdefault(match[1], len(numbers) + 1)}{note}]"

    numbered = [_BY_DIGEST.sub(label, text) for text in texts]
    return numbered, list(numbers)


def list_labels(text: str, num_images: int) -> list[int]:
    """Return the numbers of the images that a text refers to, each once, in order.

    A number beyond `num_images` can only come from a caller's own tools, and is no label.
    """
    numbers = (int(number) for number in LABEL.findall(text)) if num_images else ()
    return list(dict.fromkeys(number for number in numbers if 0 < number <= num_images))


def show_images(numbers: Iterable[int], urls: Sequence[str], tokens: int) -> list[Part]:
    """Return the parts of a message that show images under their labels."""
    parts: list[Part] = []
    for number in numbers:
        parts += [f"[image {number}]:\n", ShownImage(urls[number - 1], tokens), "\n"]
    return parts


def to_content(parts: Sequence[Part]) -> Content:
    """Return parts as the content of a chat message: a text, or a list if there are images."""
    content: list[dict[str, Any]] = []
    for is_text, group in groupby(parts, lambda part: isinstance(part, str)):
        if is_text:
            content.append({"type": "text", "text": "".join(map(str, group))})
        else:
            urls = [part.url for part in group if isinstance(part, ShownImage)]
            content += ({"type": "image_url", "image_url": {"url": url}} for url in urls)
    has_images = any(part["type"] != "text" for part in content)
    return content if has_images else "".join(part["text"] for part in content)


def to_parts(content: Content, tokens: int) -> list[Part]:
    """Return the parts of a content that `to_content` returned; each image counts for `tokens`."""
    if isinstance(content, str):
        return [content]
    return [
        part["text"] if part["type"] == "text" else ShownImage(part["image_url"]["url"], tokens)
        for part in content
    ]


def read_content(content: Content) -> tuple[str, dict[int, str]]:
    """Return the text of a message to a judge, and the URLs of its images by number.

    The text has no labels above images, so it is as it would be without images.
    """
    if isinstance(content, str):
        return content, {}
    text, urls = "", dict[int, str]()
    for part in content:
        if part["type"] == "text":
            text += part["text"].removeprefix("\n") if urls else part["text"]
        elif label := _LAST_LABEL.search(text):
            text = text[: label.start()]
            urls[int(label[1])] = part["image_url"]["url"]
    return text, urls


def describe_content(content: Content) -> str:
    """Return the content of a message for people: each image as the beginning of its URL."""
    if isinstance(content, str):
        return content
    return "".join(
        part["text"] if part["type"] == "text" else f"({part['image_url']['url'][:_BEGINNING]}...)"
        for part in content
    )
