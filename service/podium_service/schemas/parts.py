"""The parts of a message's content: text, images, refusals and reasoning.

To add a kind of part: put its type into `_TEXT_PARTS`, `_THOUGHT_PARTS` or `_REFUSAL_PARTS`. Its
text is taken from the member of the part that `_TEXT_MEMBERS` names first. The forms of images are
in `images`.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

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
_FILE_PARTS = {"file", "media"}  # of Vercel's AI SDK and LangChain; images by their media type
_TEXT_MEMBERS = (
    "text", "refusal", "thinking", "reasoning", "reasoning_content", "summary", "content",
)  # fmt: skip
_TYPE_NAME = re.compile(r"[a-z_-]{1,40}")  # a type of any other form is not repeated in an error
# Parts with one of these have no type.
_GEMINI_IMAGES = {"inline_data", "inlineData", "file_data", "fileData"}
_MAX_DEPTH = 4  # thoughts inside lists inside thoughts


class Part(BaseModel):
    """A part of a message's content: text, an image, a refusal, or the model's reasoning.

    An image may be in other forms than OpenAI's, which have other members.
    """

    model_config = ConfigDict(extra="allow")

    type: str = Field(default="text", description="text, image_url, refusal, thinking, reasoning")
    text: Text | None = Field(default=None, description="of a text part")
    refusal: Any = Field(default=None, description="of a refusal part; shown as text")
    thinking: Any = Field(default=None, description="of a thinking part")
    reasoning: Any = Field(default=None, description="of a reasoning part")
    reasoning_content: Any = Field(default=None, description="of a reasoning part")
    summary: Any = Field(default=None, description="of a reasoning part")
    content: Any = Field(default=None, description="of a reasoning part")
    image_url: Any = Field(default=None, description="of an image part: its URL, or {url}")

    @property
    def image(self) -> Image | None:
        """The image of the part, once it has been read; None if it is no image."""
        return self.image_url if isinstance(self.image_url, Image) else None

    @property
    def says(self) -> str:
        """The text of the part; empty if there is none."""
        if self.type in _TEXT_PARTS:
            return self.text or ""
        if self.image:
            return ""
        return flatten({name: getattr(self, name) for name in _TEXT_MEMBERS})

    def read(self) -> BrokenRule | None:
        """Read the image, if there is one, and drop extra members, which may be large.

        Returns:
            The member at fault and the rule that it breaks; None if the part can be read.
        """
        extra = self.__pydantic_extra__ or {}
        has_type = "type" in self.model_fields_set
        is_image = self.type in _IMAGE_PARTS or (self.type in _FILE_PARTS and _is_image_file(extra))
        if is_image or (extra and not has_type and extra.keys() & _GEMINI_IMAGES):
            try:
                image = read_image(extra | {"image_url": self.image_url})
            except ValueError as error:
                place, rule = error.args
                return tuple(filter(None, place.split("."))), rule
            self.type, self.image_url = "image_url", image
        extra.clear()
        if self.image:
            return None
        if self.type in _TEXT_PARTS:
            if self.text is None and "text" not in self.model_fields_set:
                return ("text",), "required in a part of type text"
            return None
        if self.type in _THOUGHT_PARTS or self.type in _REFUSAL_PARTS:
            return None
        named = f"{self.type!r} is" if _TYPE_NAME.fullmatch(self.type) else "this is"
        return ("type",), f"{named} no type that is read: send parts of type text or image_url"


def _is_image_file(part: dict[str, Any]) -> bool:
    names = ("mediaType", "mimeType", "mime_type", "media_type")
    return any(str(part.get(name)).startswith("image/") for name in names)


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
