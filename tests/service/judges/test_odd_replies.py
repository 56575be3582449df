"""Replies that are easily read as the wrong rewards, from a judge over TCP to POST /rank."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes import Answer, Asked, ScriptedJudge, Step
from tests.service.helpers import client, llm, service

pytestmark = pytest.mark.anyio

TEXTS = {"a": "Rayleigh scattering. quality=0.9", "b": "The sea. quality=0.4", "c": "? quality=0.1"}
CAP = 600


def completion(
    content: Any,
    finish_reason: str = "stop",
    tokens: int = 10,
    logprobs: Any = None,
    **message: Any,
) -> Answer:
    """Return a chat completion whose endpoint does not count the prompt."""
    choice = {
        "finish_reason": finish_reason,
        "message": {"role": "assistant", "content": content, **message},
        "logprobs": logprobs,
    }
    return Answer({"choices": [choice], "usage": {"completion_tokens": tokens}})


def qualities(asked: Asked) -> dict[str, float]:
    """Return the quality of each trajectory shown, by its id."""
    found = {shown: re.findall(r"quality=([0-9.]+)", text) for shown, text in asked.shown.items()}
    return {shown: float(numbers[-1]) for shown, numbers in found.items()}


def verdict(asked: Asked, write: Callable[[float], Any] = lambda quality: quality) -> str:
    """Return a verdict with what `write` makes of each quality as the score."""
    scores = {shown: write(quality) for shown, quality in qualities(asked).items()}
    return json.dumps(
        {shown: {"explanation": "x", "score": each} for shown, each in scores.items()}
    )


def draft(asked: Asked) -> str:
    """Return a verdict in the wrong order."""
    return verdict(asked, lambda quality: 1 - quality)


def best_and_worst(asked: Asked) -> tuple[str, str]:
    quality = qualities(asked)
    return max(quality, key=quality.__getitem__), min(quality, key=quality.__getitem__)


async def rank(
    tmp_path: Path, step: Step, texts: Mapping[str, str] = TEXTS, **settings: Any
) -> tuple[httpx.Response, ScriptedJudge]:
    """Rank the group of three by a judge that always takes this step."""
    trajectories = [
        {"id": name, "messages": [{"role": "assistant", "content": text}]}
        for name, text in texts.items()
    ]
    async with (
        ScriptedJudge(always=step).serving() as judge,
        service(tmp_path, main=llm(judge.url, **settings)) as opened,
        client(opened) as http,
    ):
        return await http.post("/rank", json={"trajectories": trajectories}), judge


async def order_of(tmp_path: Path, step: Step, **settings: Any) -> tuple[str, int]:
    """Return the ids from best to worst, and the number of calls."""
    answer, judge = await rank(tmp_path, step, **settings)
    assert answer.status_code == 200, answer.text
    results = sorted(answer.json()["results"], key=lambda result: -float(result["reward"]))
    assert results[0]["reward"] > results[-1]["reward"]
    return "".join(result["id"] for result in results), judge.calls


@pytest.mark.parametrize(
    ("content", "thoughts"),
    [
        (None, "First idea: DRAFT but wait, the first one"),
        (None, "DRAFT"),
        ("First idea: DRAFT but wait, the first one", ""),
        ("First idea: DRAFT", ""),
        ("<think>First idea: DRAFT", ""),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "DRAFT"}]}], ""),
    ],
)
async def test_a_draft_in_thoughts_that_were_cut_off_is_no_verdict(
    tmp_path: Path, content: Any, thoughts: str
) -> None:
    def cut_off_once(asked: Asked) -> Answer:
        if asked.body["max_completion_tokens"] > CAP:
            return completion(verdict(asked))
        written = json.dumps([content, thoughts]).replace("DRAFT", json.dumps(draft(asked))[1:-1])
        text, reasoning = json.loads(written)
        return completion(text, "length", CAP, reasoning_content=reasoning)

    order = await order_of(tmp_path, cut_off_once, passes=2, noise_sd=0.05, max_tokens=CAP)
    assert order == ("abc", 4)  # each of two passes is asked again with twice the tokens


@pytest.mark.parametrize("fence", ["", "```json\n"])
async def test_only_the_text_parts_of_a_message_are_read(tmp_path: Path, fence: str) -> None:
    def in_parts(asked: Asked) -> Answer:
        thoughts = {"type": "thinking", "thinking": [{"type": "text", "text": draft(asked)}]}
        return completion([thoughts, {"type": "text", "text": fence + verdict(asked)}])

    assert await order_of(tmp_path, in_parts, passes=2, noise_sd=0.05) == ("abc", 2)


async def test_a_verdict_in_the_field_of_thoughts_is_read(tmp_path: Path) -> None:
    def all_in_thoughts(asked: Asked) -> Answer:
        return completion(None, reasoning=f"I compare {draft(asked)} first.\n{verdict(asked)}")

    assert await order_of(tmp_path, all_in_thoughts, passes=2, noise_sd=0.05) == ("abc", 2)


async def test_thoughts_without_an_answer_are_corrected(tmp_path: Path) -> None:
    def thinks_first(asked: Asked) -> Answer:
        best, worst = best_and_worst(asked)
        if len(asked.body["messages"]) == 2:
            return completion(None, reasoning=f"{best} explains the scattering, {worst} does not.")
        assert all(message["content"] for message in asked.body["messages"])
        return completion(best)

    assert await order_of(tmp_path, thinks_first, method="pairwise") == ("abc", 12)


@pytest.mark.parametrize("with_logprobs", [False, True])
@pytest.mark.parametrize(
    ("words", "calls"),
    [
        ("Answer: {best}\n\n{worst} skipped the explanation.", 6),
        ("The better one is {best}, not {worst}", 6),
        ("{worst} is worse than {best}", 6),
        ("{best} explains the scattering, {worst} does not", 12),
    ],
)
async def test_a_choice_is_read_from_prose_or_corrected(
    tmp_path: Path, words: str, calls: int, with_logprobs: bool
) -> None:
    def explains(asked: Asked) -> Answer:
        best, worst = best_and_worst(asked)
        is_first = len(asked.body["messages"]) == 2
        return spoken(words.format(best=best, worst=worst) if is_first else best, with_logprobs)

    assert await order_of(tmp_path, explains, method="pairwise") == ("abc", calls)


@pytest.mark.parametrize("with_logprobs", [False, True])
@pytest.mark.parametrize(
    ("words", "calls"),
    [
        ("Rating: {digit}\nThe agent took 4 steps.", 6),
        ("{digit} (0 is worst, 9 is best)", 6),
        ("{digit}/10", 12),
        ("Its 4 steps make it worth {digit}", 12),
    ],
)
async def test_a_rating_is_read_from_prose_or_corrected(
    tmp_path: Path, words: str, calls: int, with_logprobs: bool
) -> None:
    def explains(asked: Asked) -> Answer:
        [quality] = qualities(asked).values()
        digit = str(round(9 * quality))
        is_first = len(asked.body["messages"]) == 2
        return spoken(words.format(digit=digit) if is_first else digit, with_logprobs)

    assert await order_of(tmp_path, explains, method="pointwise") == ("abc", calls)


def spoken(text: str, with_logprobs: bool) -> Answer:
    """Say something, with each word, mark and blank a token of its own that is sure."""
    words = re.findall(r"\w+|\W", text)
    tokens = [{"token": each, "logprob": 0.0, "top_logprobs": []} for each in words]
    return completion(text, logprobs={"content": tokens} if with_logprobs else None)


@pytest.mark.parametrize(
    ("write", "calls"),
    [(lambda quality: f" {quality}", 2), (lambda quality: f"{100 * quality:.0f}%", 4)],
)
async def test_numbers_in_strings_are_read_and_percentages_corrected(
    tmp_path: Path, write: Callable[[float], str], calls: int
) -> None:
    def quotes(asked: Asked) -> Answer:
        is_first = len(asked.body["messages"]) == 2
        return completion(verdict(asked, write) if is_first else verdict(asked))

    assert await order_of(tmp_path, quotes, passes=2, noise_sd=0.05) == ("abc", calls)


@pytest.mark.parametrize(
    ("usage", "status"),
    [
        ({"prompt_tokens": 2050}, 422),
        ({"prompt_tokens": 2050, "prompt_tokens_details": {"cached_tokens": 9000}}, 200),
        ({"prompt_tokens": 2050, "cache_read_input_tokens": 9000}, 200),
        ({"prompt_tokens": 12_000}, 200),
        ({"prompt_tokens": 0}, 200),
        (None, 200),
    ],
)
async def test_a_verdict_on_a_part_of_the_prompt_is_not_taken(
    tmp_path: Path, usage: dict[str, Any] | None, status: int
) -> None:
    """The prompt has 49 kB, of which some servers read the last 2,050 tokens."""

    def makes_up(asked: Asked) -> Answer:
        answer = completion(verdict(asked))
        assert isinstance(answer.body, dict)
        return Answer({**answer.body, "usage": usage})

    long_texts = {name: "filler words here " * 900 + text for name, text in TEXTS.items()}
    answer, _ = await rank(tmp_path, makes_up, texts=long_texts, passes=2, noise_sd=0.05)
    assert answer.status_code == status, answer.text
    if status == 422:
        assert answer.json()["code"] == "context_exceeded"
        assert "only 2050 tokens were read" in answer.json()["detail"]


@pytest.mark.parametrize("as_list", [False, True])
async def test_bare_scores_and_lists_are_read(tmp_path: Path, as_list: bool) -> None:
    def writes(asked: Asked) -> Answer:
        scores = qualities(asked)
        entries = [{"id": shown, "score": score} for shown, score in scores.items()]
        return completion(json.dumps({"scores": entries} if as_list else scores))

    assert await order_of(tmp_path, writes, passes=2, noise_sd=0.05) == ("abc", 2)
