"""What hosted tools, MCP servers and failed tools leave in a conversation is read as a result."""

from typing import Any

import pytest

from tests.service.test_other_forms import read

ASKS = {"role": "user", "content": "6 x 7?"}
SAYS = {"role": "assistant", "content": "42"}
PNG = "data:image/png;base64,iVBORw0KGgo="


def hosted(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "id": "c", "call_id": "c", "status": "completed", **fields}


def tool(content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": "tool", "content": content, **fields}


RESULTS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "a call of MCP": ([hosted("mcp_call", name="mul", arguments="{}", output="42")], "42"),
    "a failed call of MCP": ([hosted("mcp_call", name="mul", output=None, error="no")], "no"),
    "the code interpreter": (
        [hosted("code_interpreter_call", code="6*7", outputs=[{"type": "logs", "logs": "42"}])],
        "42",
    ),
    "data": ([hosted("file_search_call", results=[{"type": "hit", "score": 1}])],
             '[{"type": "hit", "score": 1}]'),
    "the shell": ([hosted("shell_call", action={"commands": ["ls"]}),
                   hosted("shell_call_output", output=[{"stdout": "a"}])], '[{"stdout": "a"}]'),
    "a patch": ([hosted("apply_patch_call", operation={"path": "a"}),
                 hosted("apply_patch_call_output", output="done")], "done"),
    "a link of MCP": (
        [tool([{"type": "resource_link", "uri": "file:///a", "name": "b"}])], "b file:///a\n"
    ),
    "a hit of Anthropic's": (
        [tool([{"type": "search_result", "source": "https://a.test", "title": "b",
                "content": [{"type": "text", "text": "42"}]}])], "b https://a.test\n42\n",
    ),
    "a list of numbers": ([tool([6, 7])], "[6, 7]"),
    "an error of Inspect's": ([tool("", error={"type": "timeout", "message": "late"})],
                              "Error: late"),
    "an error beside a content": ([tool("42", error={"message": "late"})], "42"),
    "no error": ([tool("42", error=None)], "42"),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_read_wherever_it_stands(name: str) -> None:
    items, said = RESULTS[name]
    messages = read([ASKS, *items, SAYS])
    assert [message.text for message in messages if message.role == "tool"] == [said]
    assert messages[-1].text == "42"
    assert not any("outputs" in str(message.calls) for message in messages)


@pytest.mark.parametrize(
    "item",
    [
        hosted("image_generation_call", result=PNG.partition(",")[2]),
        hosted("computer_call_output", output={"type": "computer_screenshot", "image_url": PNG}),
    ],
)
def test_a_picture_of_a_hosted_tool_is_an_image(item: dict[str, Any]) -> None:
    messages = read([ASKS, item, SAYS])
    assert sum(len(message.images) for message in messages) == 1
    assert not any("iVBOR" in message.text + str(message.calls) for message in messages)


@pytest.mark.parametrize(
    "kind", ["mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "compaction"]
)
def test_items_that_say_nothing_are_left_out(kind: str) -> None:
    assert len(read([ASKS, {"type": kind, "id": "x"}, SAYS])) == 2


def test_parts_for_the_page_alone_are_left_out() -> None:
    parts = [{"type": "source-url", "url": "u"}, {"type": "data-x", "data": {}},
             {"type": "text", "text": "42"}]  # fmt: skip
    assert read([ASKS, {"role": "assistant", "parts": parts}])[-1].text == "42"
