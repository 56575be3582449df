"""The table of message shapes, and how a judge is shown each, rendered by the service's own code.

To add a shape, add a row to `SHAPES`.
"""

import json
from typing import Any

from docs.generate.tables import table
from podium_service.http.requests.body import validate
from podium_service.prompts.transcript import transcribe
from podium_service.schemas import RankRequest

_CALL = {"function": {"name": "add", "arguments": {"a": 6}}}
_CALLED = {"role": "assistant", "content": None, "tool_calls": [_CALL]}
# What is sent, in words, and messages that stand for it.
SHAPES: list[tuple[str, list[dict[str, Any]]]] = [
    (
        "a call and its result as OpenAI writes them",
        [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "add", "arguments": '{"a": 6}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
        ],
    ),
    (
        "a call without an id; arguments as an object; a result with a name (TRL)",
        [_CALLED, {"role": "tool", "name": "add", "content": "42"}],
    ),
    (
        "empty ids (Gemini)",
        [
            {"role": "assistant", "tool_calls": [{"id": "", **_CALL}]},
            {"role": "tool", "tool_call_id": "", "content": "42"},
        ],
    ),
    (
        "two parallel calls with one id",
        [
            {
                "role": "assistant",
                "tool_calls": [
                    {"id": "c", **_CALL},
                    {"id": "c", "function": {"name": "now", "arguments": None}},
                ],
            },
            {"role": "tool", "tool_call_id": "c", "content": "42"},
            {"role": "tool", "tool_call_id": "c", "content": "12:00"},
        ],
    ),
    (
        "a call in the flat form of chat templates",
        [{"role": "assistant", "tool_calls": [{"name": "add", "arguments": {"a": 6}}]}],
    ),
    (
        "a legacy call and its result",
        [
            {"role": "assistant", "function_call": {"name": "now", "arguments": "{}"}},
            {"role": "function", "name": "now", "content": "12:00"},
        ],
    ),
    ("a result without its call (verl; compacted history)", [{"role": "tool", "content": "42"}]),
    ("a result without content", [_CALLED, {"role": "tool", "content": None}]),
    ("an empty turn: content null, missing, or an empty list", [{"role": "assistant"}]),
    (
        "content in parts",
        [{"role": "assistant", "content": [{"type": "text", "text": "It is "}, "42."]}],
    ),
    (
        "an image (Anthropic; OpenAI's, Gemini's and other forms are the same)",
        [
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Here it is:"},
                    {"type": "image", "source": {"type": "url", "url": "https://a.test/cat.png"}},
                ],
            }
        ],
    ),
    (
        "reasoning in a part",
        [
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "6 times 7"},
                    {"type": "text", "text": "42"},
                ],
            }
        ],
    ),
    (
        "reasoning beside the content",
        [{"role": "assistant", "content": "42", "reasoning_content": "6 times 7"}],
    ),
    (
        "a refusal, as a part or beside the content",
        [{"role": "assistant", "content": [{"type": "refusal", "refusal": "I cannot."}]}],
    ),
]


def message_shapes() -> str:
    """Return the table: what is sent, an example, and what a judge sees of it."""
    rows = [(what, *map(_code, sent(messages))) for what, messages in SHAPES]
    return table(("what is sent", "for example", "what a judge sees"), rows)


def sent(messages: list[dict[str, Any]]) -> tuple[str, str]:
    """Return messages as JSON, and as a judge is shown them."""
    other = {"id": "b", "messages": [{"role": "assistant", "content": "no"}]}
    group = {"trajectories": [{"id": "a", "messages": messages}, other]}
    transcript = transcribe(validate(RankRequest, group), [0, 1], image_tokens=1)
    [shown] = [
        body for body, members in zip(transcript.bodies, transcript.members, strict=True)
        if members == [0]
    ]  # fmt: skip
    return json.dumps(messages)[1:-1], shown


def _code(text: str) -> str:
    return f"`{text}`"
