"""Tool calls as models write them: text → calls, by format.

To add a format: write the four functions of `ToolFormat` and put them in FORMATS.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_LEVELS = 100  # pickle, which carries calls to tool processes, ends at some hundreds


class BadToolCall(ValueError):
    """The text begins a tool call that cannot be read; the message is for the model."""


@dataclass(frozen=True)
class ToolCall:
    """One call that the model wrote."""

    name: str
    arguments: dict[str, Any]

    def arguments_json(self) -> str:
        """As OpenAI messages carry them."""
        return json.dumps(self.arguments, ensure_ascii=False)

    @classmethod
    def from_json(cls, name: str, arguments: str) -> "ToolCall":
        """Undo `arguments_json`."""
        return cls(name, json.loads(arguments))


@dataclass(frozen=True)
class ToolFormat:
    """How one family of models writes tool calls.

    Attributes:
        parse: the calls in a completion's text, in order; an empty list if there are none. Raises
            `BadToolCall`.
        rest: a completion's text without its calls.
        write: calls as the model writes them, for templates that do not show them.
        tell: tool definitions as words for the system message, for such templates, too.
    """

    parse: Callable[[str], list[ToolCall]]
    rest: Callable[[str], str]
    write: Callable[[Sequence[ToolCall]], str]
    tell: Callable[[Sequence[Mapping[str, Any]]], str]


def read_call(text: str, arguments_key: str) -> ToolCall:
    """One call from its JSON object.

    Raises:
        BadToolCall: If it is not an object with a name and an object of arguments.
    """
    try:
        call = json.loads(text)
        levels = depth(call)
        json.dumps(call, ensure_ascii=False).encode()  # half a character could not be sent on
    except (ValueError, RecursionError) as error:
        raise BadToolCall(f"the tool call is not JSON: {error}") from error
    if levels > MAX_LEVELS:
        raise BadToolCall(f"the tool call is nested too deep: {levels} levels, {MAX_LEVELS} go")
    if not (isinstance(call, dict) and isinstance(call.get("name"), str)):
        raise BadToolCall('a tool call is a JSON object with a "name"')
    arguments = call.get(arguments_key, {})
    if not isinstance(arguments, dict):
        raise BadToolCall(f'"{arguments_key}" must be a JSON object')
    return ToolCall(call["name"], arguments)


def depth(value: Any) -> int:
    """How many objects and lists are within each other."""
    if not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, inner), default=0)


HERMES_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|$)", re.DOTALL)
HERMES_WORDS = """\
You may call one or more functions. Here are their signatures:
<tools>
{tools}
</tools>
To call one, answer with its name and arguments as JSON within tags:
<tool_call>
{{"name": <name>, "arguments": <arguments>}}
</tool_call>"""


def parse_hermes(text: str) -> list[ToolCall]:
    """`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`: Hermes, Qwen, SmolLM."""
    return [read_call(match, "arguments") for match in HERMES_CALL.findall(text)]


def write_hermes(calls: Sequence[ToolCall]) -> str:
    written = [json.dumps({"name": c.name, "arguments": c.arguments}) for c in calls]
    return "\n".join(f"<tool_call>{call}</tool_call>" for call in written)


def tell_hermes(tools: Sequence[Mapping[str, Any]]) -> str:
    return HERMES_WORDS.format(tools="\n".join(json.dumps(tool) for tool in tools))


LLAMA_WORDS = """\
You have access to these functions. To call one, answer only with JSON of the form
{{"name": function name, "parameters": dictionary of argument name and its value}}.

{tools}"""


def parse_llama3_json(text: str) -> list[ToolCall]:
    """`{"name": ..., "parameters": {...}}` as the whole completion: Llama 3.1 and later."""
    text = text.strip().removeprefix("<|python_tag|>").strip()
    return [read_call(text, "parameters")] if text.startswith("{") else []


def write_llama3_json(calls: Sequence[ToolCall]) -> str:
    return "\n".join(json.dumps({"name": c.name, "parameters": c.arguments}) for c in calls)


def tell_llama3_json(tools: Sequence[Mapping[str, Any]]) -> str:
    return LLAMA_WORDS.format(tools="\n\n".join(json.dumps(tool, indent=2) for tool in tools))


FORMATS = {
    "hermes": ToolFormat(
        parse_hermes, lambda text: HERMES_CALL.sub("", text).strip(), write_hermes, tell_hermes
    ),
    "llama3_json": ToolFormat(
        parse_llama3_json, lambda text: "", write_llama3_json, tell_llama3_json
    ),
}
