"""The chat messages of a trajectory, in the shapes that clients send them.

OpenAI's chat messages are the common form. What other clients and models make of them is read as
well: tool calls without ids or in the flat form of chat templates, the legacy `function_call` and
`function`, content that is missing, null or a list of parts (see `parts`), and reasoning in any of
its places.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field

from podium_service.schemas.images import Image
from podium_service.schemas.parts import BrokenRule, Part, flatten, read_parts

MAX_CALL_ID_CHARS = 4096  # some endpoints write a signature of the model's thoughts into the id

CallId = Annotated[str, Field(max_length=MAX_CALL_ID_CHARS, coerce_numbers_to_str=True)]
Item = TypeVar("Item")
_NAME_RULE = "required, and may be null"
# A list names its first fault only, because 16 MiB hold half a million faults of 1 kB each.
FirstFault = Annotated[list[Item], Field(fail_fast=True)]


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
        if content and isinstance(content, str):
            return content  # most messages leave here
        if isinstance(content, list):
            content = "".join(text for text, is_thought in read_parts(content) if not is_thought)
        if not content and self.refusal and self.role == "assistant":
            return flatten(self.refusal)
        return content or ""

    @property
    def thoughts(self) -> str:
        """The model's thoughts before it spoke; empty if the message does not hold them."""
        if self.role != "assistant":
            return ""
        if not (self.reasoning_content or self.reasoning or isinstance(self.content, list)):
            return ""  # most messages leave here
        beside = flatten(self.reasoning_content) or flatten(self.reasoning)
        if beside or not isinstance(self.content, list):
            return beside
        return "\n".join(text for text, is_thought in read_parts(self.content) if is_thought)

    @property
    def pieces(self) -> list[str | Image]:
        """The text of the message and its images, in order; texts are not empty."""
        pieces: list[str | Image] = []
        for part in self.content if self.images and isinstance(self.content, list) else ():
            image = part.image if isinstance(part, Part) else None
            if image:
                pieces.append(image)
                continue
            [(text, is_thought)] = read_parts([part])
            if is_thought or not text:
                continue
            if pieces and isinstance(pieces[-1], str):
                pieces[-1] += text
            else:
                pieces.append(text)
        if any(isinstance(piece, str) for piece in pieces) or not (text := self.text):
            return pieces
        return [*pieces, text]  # a text, or a refusal beside the content

    @property
    def images(self) -> list[Image]:
        """The images of the message, in order."""
        if not isinstance(self.content, list):
            return []
        return [
            part.image_url
            for part in self.content
            if isinstance(part, Part) and isinstance(part.image_url, Image)
        ]

    @property
    def calls(self) -> Sequence[ToolCall]:
        """The tool calls of the message; empty if there are none."""
        return self.tool_calls or ()


def read_messages(messages: Sequence[Message]) -> BrokenRule | None:
    """Rewrite legacy forms in place; return the place and the rule of the first fault, if any.

    All messages are read in one call, because a validator per message would be slow.
    """
    for index, message in enumerate(messages):
        has_more = message.tool_calls or message.function_call or isinstance(message.content, list)
        if has_more and (fault := _find_fault(message)):
            place, rule = fault
            return (index, *place), rule
        if message.role == "function":
            message.role = "tool"
        if message.function_call is not None:
            message.tool_calls = message.tool_calls or [ToolCall(function=message.function_call)]
            message.function_call = None
    return None


def _find_fault(message: Message) -> BrokenRule | None:
    if message.role != "assistant" and (message.tool_calls or message.function_call):
        return (), "only an assistant message may carry tool_calls"
    for index, call in enumerate(message.calls):
        if _is_nameless(call.function or call):
            return ("tool_calls", index, "function", "name"), _NAME_RULE
    if message.function_call and _is_nameless(message.function_call):
        return ("function_call", "name"), _NAME_RULE
    for index, part in enumerate(message.content if isinstance(message.content, list) else ()):
        if isinstance(part, Part) and (fault := part.read()):
            return ("content", index, *fault[0]), fault[1]
    return None


def _is_nameless(function: FunctionCall) -> bool:
    return function.name is None and "name" not in function.model_fields_set
