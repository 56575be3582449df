"""Prompts and completions of trainers become messages."""

import json
from base64 import b64decode

import pytest
from PIL import Image

from podium.integrations.anchors import MAX_PROMPTS, FirstCompletions
from podium.integrations.chat import Message, Text, conversation

USER: Message = {"role": "user", "content": "2 + 2 ="}
ANSWER: Message = {"role": "assistant", "content": "4"}
CALL: Message = {"role": "assistant", "tool_calls": [{"function": {"name": "add"}}]}
RESULT: Message = {"role": "tool", "name": "add", "content": "4"}


@pytest.mark.parametrize(
    ("prompt", "completion", "messages"),
    [
        ("2 + 2 =", "4", [USER, ANSWER]),
        ([USER], [ANSWER], [USER, ANSWER]),
        ([USER], "4", [USER, ANSWER]),
        ("2 + 2 =", [CALL, RESULT, ANSWER], [USER, CALL, RESULT, ANSWER]),
        ([USER], [{}], [USER]),
        ([USER], [], [USER]),
        ("", "", [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]),
    ],
)
def test_texts_and_messages_become_messages(
    prompt: Text, completion: Text, messages: list[Message]
) -> None:
    assert conversation(prompt, completion) == messages


def test_an_image_becomes_a_data_url() -> None:
    image = Image.new("RGB", (2, 1))
    parts = [{"type": "image", "image": image}, {"type": "text", "text": "What is it?"}]
    [asked, _] = conversation([{"role": "user", "content": parts}], "a cat")
    shown, text = json.loads(json.dumps(asked))["content"]
    kind, data = shown["image_url"]["url"].split(",")
    assert (shown["type"], kind) == ("image_url", "data:image/png;base64")
    assert b64decode(data).startswith(b"\x89PNG")
    assert text == parts[1]


def test_the_first_completion_of_a_prompt_stays_its_anchor() -> None:
    first = FirstCompletions()
    assert first.anchor("a", "1") == "1"
    assert first.anchor([USER], [ANSWER]) == [ANSWER]
    assert first.anchor("a", "2") == "1"
    assert first.anchor([dict(USER)], "5") == [ANSWER]


def test_no_more_than_so_many_first_completions_are_kept() -> None:
    first = FirstCompletions()
    for number in range(MAX_PROMPTS):
        first.anchor(str(number), "1")
    assert first.anchor("one more", "1") is None
    assert first.anchor("0", "2") == "1"
