"""What was asked and what was said are told apart, whatever both look like."""

from typing import Any

import pytest

from podium.formats import read_rows

ASKED = {"role": "user", "content": "6 x 7?"}
TURNS = [ASKED, {"role": "assistant", "content": "Which base?"}]
PROMPT = [*TURNS, {"role": "user", "content": "Ten."}]


def said(text: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def attempts(*rows: Any) -> list[list[list[dict[str, Any]]]]:
    """Return the messages of each attempt, by group."""
    return [[each["messages"] for each in x["trajectories"]] for x in read_rows(rows).groups]


SYSTEM = {"role": "system", "content": "Be brief."}
TEXTS = "\n\nHuman: 6 x 7?\n\nAssistant: Which base?\n\nHuman: Ten.\n\nAssistant: "


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": PROMPT, "chosen": [*PROMPT, said("42")], "rejected": [*PROMPT, said("41")]},
        {"prompt": "Ten.", "chosen": [*PROMPT, said("42")], "rejected": [*PROMPT, said("41")]},
        {"prompt": PROMPT, "completions": [[said("42")], [said("41")]]},
        {"chosen": f"{TEXTS}42", "rejected": f"{TEXTS}41"},
        {"history": [["6 x 7?", "Which base?"]], "prompt": "Ten.", "response": ["42", "41"]},
        {"chat_history": TURNS, "question": "Ten.", "response_a": "42", "response_b": "41"},
    ],
)
def test_a_prompt_of_several_turns_stands_there_once(row: dict[str, Any]) -> None:
    assert attempts(row) == [[[*PROMPT, said("42")], [*PROMPT, said("41")]]]


def test_a_system_prompt_stands_there_once() -> None:
    row = {"prompt": [SYSTEM, ASKED], "completion": [ASKED, said("42")]}
    assert attempts(row) == [[[SYSTEM, ASKED, said("42")]]]
    answer = {"object": "response", "instructions": "Be brief.", "input": "6 x 7?"}
    assert attempts(answer | {"output": [said("42")]}) == [[[SYSTEM, ASKED, said("42")]]]


@pytest.mark.parametrize(
    "row",
    [
        lambda asked, text: {"prompt": asked, "completion": [said(text)]},
        lambda asked, text: {"messages": asked, "response": text},
        lambda asked, text: {"history": asked[:2], "input": asked[2]["content"], "output": text},
        lambda asked, text: {"example_id": 0, "prompt": asked, "completion": [said(text)]},
    ],
)
def test_prompts_that_differ_in_their_last_turn_are_two(row: Any) -> None:
    other = [*TURNS, {"role": "user", "content": "Eight."}]
    read = attempts(*(row(asked, text) for asked in (PROMPT, other) for text in "ab"))
    assert read == [[[*asked, said(text)] for text in "ab"] for asked in (PROMPT, other)]


@pytest.mark.parametrize("text", ['{"answer": 42, "why": "6 x 7"}', '[{"a": 1}]', "{}"])
def test_a_model_may_be_asked_and_may_answer_in_json(text: str) -> None:
    [[messages, other]] = attempts({"prompt": text, "completions": [text, "b"]})
    assert messages == [{"role": "user", "content": text}, said(text)]
    [[first, _]] = attempts({"prompt": "?", "chosen": text, "rejected": "b"})
    assert (first[-1], other[-1]) == (said(text), said("b"))


@pytest.mark.parametrize(
    "fields",
    [
        {"response": ["a", "b"]},
        {"output": [{"text": "a", "meta_info": {}}, {"text": "b", "meta_info": {}}]},
        {"model_response": {"text": ["a", "b"]}},
        {"messages": [[ASKED, said("a")], [ASKED, said("b")]], "scores": [1, 0]},
    ],
)
def test_a_list_under_the_name_of_one_answer_is_several(fields: dict[str, Any]) -> None:
    assert attempts({"prompt": "6 x 7?"} | fields) == [[[ASKED, said("a")], [ASKED, said("b")]]]


@pytest.mark.parametrize("name", ["generation", "prediction", "model_answer", "output"])
def test_the_truth_beside_an_answer_is_no_attempt(name: str) -> None:
    [group] = read_rows([{"question": "6 x 7?", "answer": "42", name: x} for x in "ab"]).groups
    assert group["reference"] == "42"
    assert [each["messages"][-1]["content"] for each in group["trajectories"]] == ["a", "b"]
    [[messages]] = attempts({"prompt": "6 x 7?", "output": "a", "prediction": 0.5})
    assert messages == [ASKED, said("a")]


def test_questions_about_two_documents_are_two_prompts() -> None:
    read = attempts(*({"question": "Why?", "context": x, "answer": "a"} for x in "xy"))
    assert [group[0][0]["content"] for group in read] == ["Why?\n\nx", "Why?\n\ny"]


def test_an_answer_that_a_filter_stopped_is_an_empty_attempt() -> None:
    part = {"content": {"role": "model", "parts": [{"text": "a"}]}, "finishReason": "STOP"}
    request = {"contents": [{"role": "user", "parts": [{"text": "6 x 7?"}]}]}
    row = request | {"candidates": [{"finishReason": "SAFETY"}, part]}
    [[stopped, whole]] = attempts(row)
    assert (len(stopped), len(whole)) == (1, 2)


def test_a_chat_that_waits_for_an_answer_is_the_prompt() -> None:
    said_by_model = {"role": "model", "parts": [{"text": "a"}]}
    row = {"contents": [{"role": "user", "parts": [{"text": "6 x 7?"}]}],
           "completions": [{"score": 1, "completion": said_by_model}] * 2}  # fmt: skip
    assert [len(messages) for messages in attempts(row)[0]] == [2, 2]
    assert attempts({"dialogue": [ASKED], "responses": ["a", "b"]}) == [
        [[ASKED, said("a")], [ASKED, said("b")]]
    ]
