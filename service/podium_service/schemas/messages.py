"""The chat messages of a trajectory, in the shapes that clients send them.

OpenAI's chat messages are the common form. What other clients and models make of them is read as
well: tool calls without ids or in the flat form of chat templates, the legacy `function_call` and
`function`, content that is missing, null or a list of parts, and reasoning in any of its places.

To add a kind of part: put its type into `_TEXT_PARTS`, `_THOUGHT_PARTS` or `_REFUSAL_PARTS`. Its
text is taken from the member of the part that `_TEXT_MEMBERS` names first.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field

MAX_CALL_ID_CHARS = 4096  # some endpoints write a signature of the model's thoughts into the id

Text = Annotated[str, Field(coerce_numbers_to_str=True)]
CallId = Annotated[str, Field(max_length=MAX_CALL_ID_CHARS, coerce_numbers_to_str=True)]

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
_TYPE_NAME = re.compile(r"[a-z_-]{1,40}")  # a type of any other form is not repeated in an error
_MAX_DEPTH = 4  # thoughts inside lists inside thoughts

Item = TypeVar("Item")
# A list names its first fault only, because 16 MiB hold half a million faults of 1 kB each.
FirstFault = Annotated[list[Item], Field(fail_fast=True)]
BrokenRule = tuple[tuple[str | int, ...], str]


class Part(BaseModel):
    """A part of a message's content: text, a refusal, or the model's reasoning."""

    type: str = Field(default="text", description="text, refusal, thinking or reasoning")
    text: Text | None = Field(default=None, description="of a text part")
    refusal: Any = Field(default=None, description="of a refusal part; shown as text")
    thinking: Any = Field(default=None, description="of a thinking part")
    reasoning: Any = Field(default=None, description="of a reasoning part")
    reasoning_content: Any = Field(default=None, description="of a reasoning part")
    summary: Any = Field(default=None, description="of a reasoning part")
    content: Any = Field(default=None, description="of a reasoning part")

    @property
    def says(self) -> str:
        """The text of the part; empty if there is none."""
        if self.type in _TEXT_PARTS:
            return self.text or ""
        return _flatten({name: getattr(self, name) for name in _TEXT_MEMBERS})

    @property
    def broken_rule(self) -> BrokenRule | None:
        """The member at fault and the rule that it breaks; None if the part can be read."""
        if self.type in _TEXT_PARTS:
            if self.text is None and "text" not in self.model_fields_set:
                return ("text",), "required in a part of type text"
            return None
        if self.type in _THOUGHT_PARTS or self.type in _REFUSAL_PARTS:
            return None
        if self.type in _IMAGE_PARTS:
            return ("type",), "images are not shown to judges: send text parts only"
        named = f"{self.type!r} is" if _TYPE_NAME.fullmatch(self.type) else "this is"
        return ("type",), f"{named} no type that is read: send 'text' parts"


class FunctionCall(BaseModel):
    """The function and the arguments of a tool call."""

    name: str | None = None
    arguments: str | dict[str, Any] | list[Any] | None = Field(
        default=None, description="JSON; a text may be invalid"
    )


class ToolCall(FunctionCall):
    """A tool call of an assistant message; name and arguments may also stand beside the id."""

    id: CallId | None = Field(default=None, description="matches a result with its call")
    type: Literal["function"] | None = None
    function: FunctionCall | None = None

    @property
    def called(self) -> FunctionCall:
        """The function that is called, wherever it stands."""
        return self.function or self


class Message(BaseModel):
    """An OpenAI chat message. Extra keys are allowed, neither shown to a judge nor hashed."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"] = Field(
        description="function is the legacy name of tool"
    )
    content: str | FirstFault[Part | str] | None = Field(
        default=None, description="null, missing or empty: an empty turn"
    )
    tool_calls: FirstFault[ToolCall] | None = Field(
        default=None, description="of assistant messages"
    )
    function_call: FunctionCall | None = Field(default=None, description="a legacy tool call")
    tool_call_id: CallId | None = Field(default=None, description="the call that a tool answers")
    name: Any = Field(default=None, description="the tool's name if no id tells its call")
    refusal: Any = Field(default=None, description="of assistant messages; shown as text")
    reasoning_content: Any = Field(default=None, description="what the model thought")
    reasoning: Any = Field(default=None, description="what the model thought")

    @property
    def text(self) -> str:
        """The text of the message, its parts joined; empty if there is none."""
        content = self.content
        if isinstance(content, list):
            content = "".join(text for text, is_thought in _read_parts(content) if not is_thought)
        if not content and self.refusal and self.role == "assistant":
            return _flatten(self.refusal)
        return content or ""

    @property
    def thoughts(self) -> str:
        """What the model thought before it spoke; empty if the message does not hold it."""
        if self.role != "assistant":
            return ""
        beside = _flatten(self.reasoning_content) or _flatten(self.reasoning)
        if beside or not isinstance(self.content, list):
            return beside
        return "\n".join(text for text, is_thought in _read_parts(self.content) if is_thought)

    @property
    def calls(self) -> Sequence[ToolCall]:
        """The tool calls of the message; empty if there are none."""
        return self.tool_calls or ()


def read_messages(messages: Sequence[Message]) -> BrokenRule | None:
    """Rewrite legacy forms in place; return the place and the rule of the first fault, if any.

    All messages are read in one call, because a validator per message would be slow.
    """
    for index, message in enumerate(messages):
        if message.tool_calls or message.function_call or isinstance(message.content, list):
            for place, rule in _find_faults(message):
                return (index, *place), rule
        if message.role == "function":
            message.role = "tool"
        if message.function_call is not None:
            message.tool_calls = message.tool_calls or [ToolCall(function=message.function_call)]
            message.function_call = None
    return None


def _find_faults(message: Message) -> Iterator[BrokenRule]:
    if message.role != "assistant" and (message.tool_calls or message.function_call):
        yield (), "only an assistant message may carry tool_calls"
    called: list[tuple[tuple[str | int, ...], FunctionCall]] = [
        (("tool_calls", index, "function"), call.called) for index, call in enumerate(message.calls)
    ]
    if message.function_call:
        called.append((("function_call",), message.function_call))
    for place, function in called:
        if function.name is None and "name" not in function.model_fields_set:
            yield (*place, "name"), "required, and may be null"
    for index, part in enumerate(message.content if isinstance(message.content, list) else ()):
        if isinstance(part, Part) and (fault := part.broken_rule):
            yield ("content", index, *fault[0]), fault[1]


def _read_parts(parts: Sequence[Part | str]) -> Iterator[tuple[str, bool]]:
    """Yield the text of each part, and whether it is a thought."""
    for part in parts:
        if isinstance(part, str):
            yield part, False
        else:
            yield part.says, part.type in _THOUGHT_PARTS


def _flatten(value: Any, depth: int = _MAX_DEPTH) -> str:
    """Return the text in a value that may be a text, an object that holds one, or a list of them.

    Signatures and encrypted thoughts are no text, and are left out.
    """
    if isinstance(value, str):
        return value
    if depth and isinstance(value, list):
        return "\n".join(text for each in value if (text := _flatten(each, depth - 1)))
    if depth and isinstance(value, dict):
        texts = (_flatten(value.get(name), depth - 1) for name in _TEXT_MEMBERS)
        return next(filter(None, texts), "")
    return ""
