"""The parts of a message's content: text, images, refusals and reasoning.

To add a kind of part: put its type into `_TEXT_PARTS`, `_THOUGHT_PARTS` or `_REFUSAL_PARTS`. Its
text is taken from the member of the part that `_TEXT_MEMBERS` names first. The forms of images are
in `images`.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, Field, PrivateAttr

from podium_service.schemas.images import Image, read_image

Text = Annotated[str, Field(coerce_numbers_to_str=True)]
BrokenRule = tuple[tuple[str | int, ...], str]

_TEXT_PARTS = {"text", "input_text", "output_text"}
_REFUSAL_PARTS = {"refusal"}
_THOUGHT_PARTS = {
    "thinking", "redacted_thinking", "reasoning", "reasoning_content", "reasoning_text", "thought",
    "summary_text",
}  # fmt: skip
_IMAGE_PARTS = {"image_url", "image", "input_image", "image_file"}
_TEXT_MEMBERS = (
    "text", "refusal", "thinking", "reasoning", "reasoning_content", "summary", "content",
)  # fmt: skip
_IMAGE_MEMBERS = (
    "source", "inline_data", "file_data", "image", "url", "data", "base64", "mime_type",
)  # fmt: skip
_TYPE_NAME = re.compile(r"[a-z_-]{1,40}")  # a type of any other form is not repeated in an error
_GEMINI_IMAGES = ("inline_data", "file_data")  # parts with one of these have no type
_MAX_DEPTH = 4  # thoughts inside lists inside thoughts


class Part(BaseModel):
    """A part of a message's content: text, an image, a refusal, or the model's reasoning."""

    type: str = Field(default="text", description="text, image_url, refusal, thinking, reasoning")
    text: Text | None = Field(default=None, description="of a text part")
    refusal: Any = Field(default=None, description="of a refusal part; shown as text")
    thinking: Any = Field(default=None, description="of a thinking part")
    reasoning: Any = Field(default=None, description="of a reasoning part")
    reasoning_content: Any = Field(default=None, description="of a reasoning part")
    summary: Any = Field(default=None, description="of a reasoning part")
    content: Any = Field(default=None, description="of a reasoning part")
    image_url: Any = Field(default=None, description="of an image part: its URL, or {url}")
    source: Any = Field(default=None, description="of an image part, as Anthropic writes it")
    inline_data: Any = Field(
        default=None,
        validation_alias=AliasChoices("inline_data", "inlineData"),
        description="of an image part, as Gemini writes it",
    )
    file_data: Any = Field(
        default=None,
        validation_alias=AliasChoices("file_data", "fileData"),
        description="of an image part, as Gemini writes it",
    )
    image: Any = Field(default=None, description="of an image part: its URL or its base64")
    url: Any = Field(default=None, description="of an image part")
    data: Any = Field(default=None, description="of an image part: its base64")
    base64: Any = Field(default=None, description="of an image part")
    mime_type: Any = Field(
        default=None,
        validation_alias=AliasChoices("mime_type", "media_type", "mimeType", "mediaType"),
        description="of an image part with bare base64",
    )
    _shown_image: Image | None = PrivateAttr(default=None)

    @property
    def shown_image(self) -> Image | None:
        """The image of the part, once it has been read; None if it is no image."""
        return self._shown_image

    @property
    def says(self) -> str:
        """The text of the part; empty if there is none."""
        if self._shown_image:
            return ""
        if self.type in _TEXT_PARTS:
            return self.text or ""
        return flatten({name: getattr(self, name) for name in _TEXT_MEMBERS})

    def read(self) -> BrokenRule | None:
        """Rewrite an image in OpenAI's form; return the member at fault and its rule, if any."""
        if self._is_image:
            return self._read_image()
        if self.type in _TEXT_PARTS:
            if self.text is None and "text" not in self.model_fields_set:
                return ("text",), "required in a part of type text"
            return None
        if self.type in _THOUGHT_PARTS or self.type in _REFUSAL_PARTS:
            return None
        named = f"{self.type!r} is" if _TYPE_NAME.fullmatch(self.type) else "this is"
        return ("type",), f"{named} no type that is read: send parts of type text or image_url"

    @property
    def _is_image(self) -> bool:
        if self.type in _IMAGE_PARTS:
            return True
        is_typed = "type" in self.model_fields_set
        return not is_typed and any(getattr(self, each) is not None for each in _GEMINI_IMAGES)

    def _read_image(self) -> BrokenRule | None:
        try:
            image = read_image(self.__dict__)
        except ValueError as error:
            place, rule = error.args
            return tuple(filter(None, place.split("."))), rule
        for member in _IMAGE_MEMBERS:
            setattr(self, member, None)
        self.type, self.image_url, self._shown_image = "image_url", {"url": image.url}, image
        return None


def read_parts(parts: Sequence[Part | str]) -> Iterator[tuple[str, bool]]:
    """Yield the text of each part, and whether it is a thought."""
    for part in parts:
        if isinstance(part, str):
            yield part, False
        else:
            yield part.says, part.type in _THOUGHT_PARTS


def flatten(value: Any, depth: int = _MAX_DEPTH) -> str:
    """Return the text in a value that may be a text, an object that holds one, or a list of them.

    Signatures and encrypted thoughts are no text, and are left out.
    """
    if isinstance(value, str):
        return value
    if depth and isinstance(value, list):
        return "\n".join(text for each in value if (text := flatten(each, depth - 1)))
    if depth and isinstance(value, dict):
        texts = (flatten(value.get(name), depth - 1) for name in _TEXT_MEMBERS)
        return next(filter(None, texts), "")
    return ""
