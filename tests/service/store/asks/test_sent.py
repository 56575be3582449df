"""Groups as they were sent: what is read back is shown to a judge the same way."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium_service.prompts.transcript import transcribe
from podium_service.schemas import RankRequest
from podium_service.store.asks.sent import prompt_of, read_transcript, transcript_of
from tests.service.helpers import group, request

TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"a": 1.5, "b": None}}}]
CALLS = [
    {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
    {"id": "c2", "type": "function", "function": {"name": "a&d\n", "arguments": "no json\n{"}},
]
TEXTS = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from('<>/\n"()=&\r')), max_size=12
) | st.sampled_from(["</message>", '<trajectory-a id="B">', "<finish_reason>x", "<trimmed ", "{}"])


def agent(text: str, result: str) -> list[dict[str, Any]]:
    """Return a conversation with two tool calls in one turn."""
    return [
        {"role": "system", "content": "Be <task>brief</task>."},
        {"role": "assistant", "content": text or None, "tool_calls": CALLS},
        {"role": "tool", "tool_call_id": "c2", "content": result},
        {"role": "tool", "tool_call_id": "c1", "content": ""},
        {"role": "assistant", "content": "done"},
    ]


def read_back(sent: RankRequest) -> RankRequest:
    """Return a group as it comes back from the store, with its ids."""
    fields = read_transcript(transcript_of(sent))
    for trajectory, own in zip(fields["trajectories"], sent.trajectories, strict=True):
        trajectory["id"] = own.id
    return RankRequest.model_validate(fields)


def shown(sent: RankRequest) -> Any:
    every = range(len(sent.trajectories))
    transcript = transcribe(sent, every, show_reasoning=True)
    return transcript.context, transcript.bodies, transcript.digests, transcript.members


@settings(max_examples=60)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4), TEXTS, TEXTS)
def test_a_group_is_shown_the_same_way_again(
    pairs: list[tuple[str, str]], task: str, finish: str
) -> None:
    trajectories = [
        {"id": str(i), "messages": agent(*pair), "tools": TOOLS if i % 2 else None}
        | ({"finish_reason": finish, "verified_reward": 0.5} if i == 0 else {})
        for i, pair in enumerate(pairs)
    ]
    sent = RankRequest.model_validate(
        {"task": task, "tools": TOOLS, "reference": task, "trajectories": trajectories}
    )
    again = read_back(sent)
    assert shown(again) == shown(sent)
    assert again.tools == sent.tools
    assert again.trajectories[0].verified_reward == 0.5
    assert transcript_of(again) == transcript_of(sent)


def test_odd_messages_are_read_back_as_they_were_sent() -> None:
    """Orphaned results, thoughts, calls without a name, lists of arguments, a legacy call."""
    odd = [
        {"role": "user", "content": "q"},
        {"role": "tool", "content": "old"},
        {"role": "tool", "content": "older", "name": "a&d"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, "So."],
         "tool_calls": [{"name": None, "arguments": [1.5, "x", None]}, {"name": "now"}]},
        {"role": "tool", "content": "12:00", "name": "now"},
        {"role": "assistant", "function_call": {"name": None, "arguments": "{}"}},
        {"role": "assistant", "content": None, "reasoning_content": "alone"},
        {"role": "assistant", "refusal": "no"},
    ]  # fmt: skip
    trajectories = [
        {"id": "a", "messages": odd}, {"id": "b", "messages": odd[:5]}, {"id": "c", "messages": []},
    ]  # fmt: skip
    sent = RankRequest.model_validate({"trajectories": trajectories})
    assert shown(read_back(sent)) == shown(sent)


def test_ids_and_metadata_do_not_name_a_group() -> None:
    first = request("5", "6", group_id="a", metadata={"step": 1}, judge="x", deadline_s=5)
    second = group("5", "6")
    second["trajectories"][0]["id"] = "another"
    assert transcript_of(first) == transcript_of(RankRequest.model_validate(second))
    assert transcript_of(first) != transcript_of(request("5", "6", task="t"))


@pytest.mark.parametrize(
    ("fields", "words"), [({}, "What is 2 + 3?"), ({"task": "Add up."}, "Add up.")]
)
def test_a_prompt_is_named_by_what_is_asked_alone(fields: dict[str, Any], words: str) -> None:
    asked, name = prompt_of(request("5", "6", **fields))
    assert asked == words
    assert prompt_of(request("7", "8", "9", **fields)) == (asked, name)
    assert prompt_of(request("5", "6", task="another"))[1] != name
