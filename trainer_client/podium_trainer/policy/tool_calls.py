"""Read and write tool calls in the formats that models use.

To add a format:

1. Write the four functions of `ToolFormat`.
2. Put them into FORMATS under a name, and add the name to `ModelConfig.tool_format`.
3. If the chat template tells the format apart, teach `chat.guess_tool_format` to see it.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_LEVELS = 100  # pickle, which carries calls to tool processes, fails at some hundreds


class BadToolCall(ValueError):
    """A text begins a tool call that cannot be read; the message is shown to the model."""


@dataclass(frozen=True)
class ToolCall:
    """One call that the model wrote."""

    name: str
    arguments: dict[str, Any]

    def arguments_json(self) -> str:
        """Return the arguments as OpenAI messages carry them."""
        return json.dumps(self.arguments, ensure_ascii=False)

    @classmethod
    def from_json(cls, name: str, arguments: str) -> "ToolCall":
        """Undo `arguments_json`."""
        return cls(name, json.loads(arguments))


@dataclass(frozen=True)
class ToolFormat:
    """The way in which one family of models writes tool calls.

    Attributes:
        parse: returns the calls in a completion's text, in order; raises `BadToolCall`.
        remove_calls: returns a completion's text without its calls.
        write: writes calls as the model does, for chat templates that leave calls out.
        describe_tools: describes tool definitions in words, for the system message of such
            templates.
    """

    parse: Callable[[str], list[ToolCall]]
    remove_calls: Callable[[str], str]
    write: Callable[[Sequence[ToolCall]], str]
    describe_tools: Callable[[Sequence[Mapping[str, Any]]], str]


def parse_call(text: str, arguments_key: str) -> ToolCall:
    """Parse the JSON object of one call.

    Raises:
        BadToolCall: If the text is not an object with a name and an object of arguments.
    """
    try:
        call = json.loads(text)
        levels = nesting_depth(call)
        json.dumps(call, ensure_ascii=False).encode()  # a lone surrogate could not be sent on
    except (ValueError, RecursionError) as error:
        raise BadToolCall(f"the tool call is not JSON: {error}") from error
    if levels > MAX_LEVELS:
        raise BadToolCall(
            f"the tool call is nested too deep: {levels} levels, at most {MAX_LEVELS}"
        )
    if not (isinstance(call, dict) and isinstance(call.get("name"), str)):
        raise BadToolCall('a tool call is a JSON object with a "name"')
    arguments = call.get(arguments_key, {})
    if not isinstance(arguments, dict):
        raise BadToolCall(f'"{arguments_key}" must be a JSON object')
    return ToolCall(call["name"], arguments)


def nesting_depth(value: Any) -> int:
    """Count the levels of objects and lists within each other; 0 for a plain value."""
    if not isinstance(value, dict | list):
        return 0
    members = value.values() if isinstance(value, dict) else value
    return 1 + max(map(nesting_depth, members), default=0)


HERMES_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|$)", re.DOTALL)
HERMES_INSTRUCTIONS = """\
You may call one or more functions. Here are their signatures:
<tools>
{tools}
</tools>
To call one, answer with its name and arguments as JSON within tags:
<tool_call>
{{"name": <name>, "arguments": <arguments>}}
</tool_call>"""


def parse_hermes(text: str) -> list[ToolCall]:
    """Parse `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`: Hermes, Qwen, SmolLM."""
    return [parse_call(match, "arguments") for match in HERMES_CALL.findall(text)]


def write_hermes(calls: Sequence[ToolCall]) -> str:
    """Write calls within tags, one a line."""
    objects = [json.dumps({"name": c.name, "arguments": c.arguments}) for c in calls]
    return "\n".join(f"<tool_call>{call}</tool_call>" for call in objects)


def describe_tools_for_hermes(tools: Sequence[Mapping[str, Any]]) -> str:
    """Describe tools as Hermes' prompts do."""
    return HERMES_INSTRUCTIONS.format(tools="\n".join(json.dumps(tool) for tool in tools))


LLAMA_INSTRUCTIONS = """\
You have access to these functions. To call one, answer only with JSON of the form
{{"name": function name, "parameters": dictionary of argument name and its value}}.

{tools}"""


def parse_llama3_json(text: str) -> list[ToolCall]:
    """Parse `{"name": ..., "parameters": {...}}` as a whole completion: Llama 3.1 and later."""
    text = text.strip().removeprefix("<|python_tag|>").strip()
    return [parse_call(text, "parameters")] if text.startswith("{") else []


def write_llama3_json(calls: Sequence[ToolCall]) -> str:
    """Write calls as JSON objects, one a line."""
    return "\n".join(json.dumps({"name": c.name, "parameters": c.arguments}) for c in calls)


def describe_tools_for_llama3(tools: Sequence[Mapping[str, Any]]) -> str:
    """Describe tools as Llama 3's prompts do."""
    return LLAMA_INSTRUCTIONS.format(tools="\n\n".join(json.dumps(t, indent=2) for t in tools))


FORMATS = {
    "hermes": ToolFormat(
        parse_hermes,
        lambda text: HERMES_CALL.sub("", text).strip(),
        write_hermes,
        describe_tools_for_hermes,
    ),
    "llama3_json": ToolFormat(
        parse_llama3_json, lambda text: "", write_llama3_json, describe_tools_for_llama3
    ),
}
