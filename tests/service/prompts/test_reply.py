"""The body of a chat completion is parsed into a reply, its answer apart from its thoughts."""

from typing import Any

import pytest

from podium_service.prompts.reply import Reply, Tokens, read_completion, skip_thoughts


def parse(
    content: Any = "K", finish_reason: Any = "stop", usage: Any = None, **message: Any
) -> Reply:
    choice = {"finish_reason": finish_reason, "message": {"content": content, **message}}
    return read_completion({"choices": [choice], "usage": usage})


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("K", "K"),
        (None, ""),
        ([], ""),
        (7, ""),
        ([text_part("K")], "K"),
        ([text_part("Answer: "), text_part("K")], "Answer: K"),
        ([{"type": "output_text", "text": "K"}], "K"),
        ([{"text": "K"}], "K"),
        (["K"], "K"),
        (text_part("K"), "K"),
        ([{"type": "thinking", "thinking": [text_part("B")]}, text_part("K")], "K"),
        ([{"type": "thinking", "thinking": "B"}], ""),
        ([{"type": "reasoning", "text": "B"}, text_part("K")], "K"),
        ([{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": None}], ""),
    ],
)
def test_only_the_text_of_a_message_is_its_text(content: Any, text: str) -> None:
    assert parse(content).text == text


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
@pytest.mark.parametrize("value", ["B", [text_part("B")], text_part("B")])
def test_the_field_of_thoughts_is_kept_apart(field: str, value: Any) -> None:
    reply = parse("K", **{field: value})
    assert (reply.text, reply.thoughts) == ("K", "B")
    assert reply.answer == ("K", "anywhere")


def test_thoughts_may_answer_only_in_place_of_a_message() -> None:
    assert parse(None, reasoning="B").answer == ("B", "end")
    assert parse(" ", reasoning="B").answer == ("B", "end")
    for finish_reason in ("length", "tool_calls", None):
        assert parse(None, finish_reason, reasoning="B").answer[0] == ""


@pytest.mark.parametrize(
    "finish_reason",
    ["length", "max_tokens", "MAX_TOKENS", "model_length", "FinishReason.MAX_TOKENS", "incomplete",
     {"type": "length", "length": 9}],
)  # fmt: skip
def test_a_reply_that_was_cut_off_must_be_all_answer(finish_reason: Any) -> None:
    reply = parse("K", finish_reason)
    assert reply.is_cut_off
    assert reply.answer == ("K", "alone")


@pytest.mark.parametrize(
    ("finish_reason", "name"),
    [
        ("SAFETY", "content_filter"),
        ("content_filter: SAFETY", "content_filter"),
        ("eos", "stop"),
        ("tool_calls", "tool_calls"),
        (None, None),
    ],
)
def test_reasons_have_their_names_in_openais_api(finish_reason: Any, name: Any) -> None:
    assert parse("K", finish_reason).finish_reason == name


@pytest.mark.parametrize("finish_reason", ["repetition", "pause_turn", "other", "some_budget"])
def test_a_reply_with_an_unknown_end_must_be_all_answer(finish_reason: str) -> None:
    reply = parse("K", finish_reason)
    assert not reply.is_cut_off
    assert reply.answer == ("K", "alone")


@pytest.mark.parametrize("finish_reason", ["STOP", "end_turn", "tool_calls", "", None])
def test_a_reply_that_ended_by_itself_may_have_words(finish_reason: Any) -> None:
    assert parse("K", finish_reason).answer == ("K", "anywhere")


@pytest.mark.parametrize(
    "finish_reason",
    ["error", "abort", "network_error", "insufficient_system_resource", "time_limit"],
)
def test_a_reply_that_its_provider_broke_off_is_none(finish_reason: str) -> None:
    with pytest.raises(ValueError, match=finish_reason):
        parse("K", finish_reason)


def test_a_reply_beside_an_error_is_none() -> None:
    body = {"choices": [{"finish_reason": "stop", "message": {"content": "K"}}]}
    assert read_completion({**body, "error": {"code": 0, "message": ""}}).text == "K"
    with pytest.raises(ValueError, match="broke off"):
        read_completion({**body, "error": {"code": 502, "message": "upstream died"}})


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("K", "K"),
        ("<think>B</think>K", "K"),
        ("B</think>K", "K"),
        ("<think>B", ""),
        ("<think>B</think>", ""),
        ("K<think>B", "K"),
        ("<think>a</think>B<think>b</think>K", "K"),
        ("<thinking>B</thinking>K", "K"),
        ("[THINK]B[/THINK]K", "K"),
        ("<Reasoning>B</reasoning>K", "K"),
        ('<think step="1">B', ""),
        ("< think >B</ think >K", "K"),
        ("<plan>B</plan>", ""),
        ("<draft>B</draft>K", "K"),
        ("<|begin_of_thought|>B<|end_of_thought|>K", "K"),
        ("<|START_THINKING|>B<|END_THINKING|>K", "K"),
        ("<|START_THINKING|>B", ""),
        ("<|channel|>analysis<|message|>B", ""),
        ("<|channel|>analysis<|message|>B<|end|><|channel|>final<|message|>K", "K"),
        ("<|channel|>final <|constrain|>json<|message|>K", "K"),
    ],
)
def test_the_answer_follows_the_thoughts(text: str, answer: str) -> None:
    begin, end = skip_thoughts(text)
    assert text[begin:end] == answer


@pytest.mark.parametrize(
    ("usage", "tokens", "at_most"),
    [
        (None, Tokens(), 0),
        ({"prompt_tokens": 0, "total_tokens": 90}, Tokens(), 0),
        ({"prompt_tokens": 100, "completion_tokens": 9}, Tokens(100, 0, 9), 100),
        (
            {"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": 40}},
            Tokens(100, 40),
            140,
        ),
        (
            {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 90}},
            Tokens(10, 10),
            100,
        ),
        ({"prompt_tokens": 10, "cache_read_input_tokens": 90}, Tokens(10), 100),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 205},
            Tokens(10, 0, 5),
            200,
        ),
    ],
)
def test_tokens_are_counted_with_and_without_a_cache(
    usage: Any, tokens: Tokens, at_most: int
) -> None:
    reply = parse(usage=usage)
    assert (reply.tokens, reply.prompt_tokens_at_most) == (tokens, at_most)


def test_tokens_may_be_listed_as_completions_list_them() -> None:
    listed = {"tokens": ["K", "."], "token_logprobs": [-0.1, None]}
    tops = {"top_logprobs": [{"K": -0.1, "B": -2.5}]}
    for logprobs, alternatives in ((listed, []), (listed | tops, [("K", -0.1), ("B", -2.5)])):
        choice = {"message": {"content": "K."}, "finish_reason": "stop", "logprobs": logprobs}
        first, last = read_completion({"choices": [choice]}).logprobs or []
        assert (first["token"], first["logprob"]) == ("K", -0.1)
        assert [(top["token"], top["logprob"]) for top in first["top_logprobs"]] == alternatives
        assert last == {"token": ".", "logprob": None, "top_logprobs": []}


@pytest.mark.parametrize(
    "logprobs",
    [None, -0.1, [], {}, {"tokens": ["K"]}, {"tokens": ["K"], "token_logprobs": []},
     {"tokens": "K", "token_logprobs": "0"}, {"content": None}],
)  # fmt: skip
def test_other_lists_of_tokens_are_none(logprobs: Any) -> None:
    choice = {"message": {"content": "K"}, "finish_reason": "stop", "logprobs": logprobs}
    assert read_completion({"choices": [choice]}).logprobs is None
