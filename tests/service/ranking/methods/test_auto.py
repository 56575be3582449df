"""The method `auto` is chosen by group size, context and budget."""

from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium_service.judges.settings import LLMJudge
from podium_service.ranking.methods import METHODS, choose_method, prefer_methods
from tests.fakes import (
    Answer,
    Asked,
    ScriptedJudge,
    Step,
    chooses,
    names_best,
    rates,
    says_yes,
    scores,
)
from tests.service.helpers import client_of_judge, group, llm, request, service

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("bodies", "max_call_tokens", "max_calls", "method"),
    [
        ([100] * 8, 32_000, inf, "listwise"),
        ([100] * 9, 32_000, inf, "subsets"),
        ([100] * 64, 32_000, inf, "subsets"),
        ([100] * 64, 32_000, 31, "listwise"),  # too few calls for subsets to beat one list
        ([1000] * 8, 6_000, inf, "subsets"),  # eight do not fit, five do
        ([1000] * 8, 6_000, 3, "listwise"),  # trimmed
        ([1000] * 8, 3_000, inf, "pairwise"),
        ([1000] * 8, 3_000, 13, "pointwise"),  # too few for pairs that link all
        ([1000] * 8, 1_500, inf, "pointwise"),
        ([1000] * 8, 1_500, 7, "listwise"),
        ([5000] * 8, 1_500, inf, "listwise"),  # not even one fits
        ([5000, *[100] * 7], 6_000, inf, "listwise"),
        ([5000, *[600] * 7], 7_600, inf, "subsets"),  # the five longest fit
        ([100], 32_000, inf, "listwise"),
        ([], 32_000, inf, "listwise"),
    ],
)
def test_the_method_follows_from_size_context_and_budget(
    bodies: list[int], max_call_tokens: int, max_calls: float, method: str
) -> None:
    assert (
        choose_method(bodies, lambda *_: 100, max_call_tokens, block_size=5, max_calls=max_calls)
        == method
    )


@given(st.lists(st.integers(1, 9000), max_size=64), st.integers(0, 40_000), st.integers(1, 300))
def test_the_choice_does_not_depend_on_the_order_of_bodies(
    bodies: list[int], max_call_tokens: int, max_calls: int
) -> None:
    chosen = choose_method(
        bodies, lambda *_: 50, max_call_tokens, block_size=5, max_calls=max_calls
    )
    assert chosen in METHODS
    assert chosen == choose_method(
        sorted(bodies), lambda *_: 50, max_call_tokens, block_size=5, max_calls=max_calls
    )


@given(
    st.lists(st.integers(1, 900), min_size=1, max_size=20),
    st.integers(0, 9000),
    st.integers(1, 30),
    st.sampled_from(["", "best_of", "yes_no"]),
)
def test_what_is_best_and_fits_by_bounds_is_chosen_exactly(
    bodies: list[int], max_call_tokens: int, max_calls: int, by_words: str
) -> None:
    def choose(sizes: list[int], otherwise: str) -> str:
        return choose_method(
            sizes, lambda *_: 50, max_call_tokens, block_size=5, max_calls=max_calls,
            by_words=by_words, otherwise=otherwise,
        )  # fmt: skip

    best = prefer_methods(len(bodies), by_words=by_words)[0]
    if choose([3 * size for size in bodies], "none") == best:
        assert choose(bodies, "listwise") == best


def any_form(asked: Asked) -> Answer:
    """Answer any form of question: longer is better."""
    form = {1: rates(lambda text: min(9.0, len(text) / 400))}
    form[2] = chooses(lambda one, two: 0.9 if len(one) > len(two) else 0.1)
    letters = all(len(shown) == 1 for shown in asked.shown)
    step: Step = form.get(len(asked.shown), scores(lambda text: len(text) / 1e5))
    if len(asked.shown) == 2 and not letters:
        step = scores(lambda text: len(text) / 1e5)
    return step(asked)


@pytest.mark.parametrize(
    ("num_items", "words", "context", "method"),
    [
        (4, 10, 32_768, "listwise"),
        (12, 10, 32_768, "subsets"),
        (6, 400, 5_000, "pairwise"),
        (6, 400, 2_800, "pointwise"),
    ],
)
async def test_auto_ranks_and_names_the_method_it_chose(
    tmp_path: Path, num_items: int, words: int, context: int, method: str
) -> None:
    answers = [" ".join(["word"] * (words + 20 * i)) for i in range(num_items)]
    async with (
        ScriptedJudge(always=any_form).serving() as judge,
        service(tmp_path, main=llm(judge.url, method="auto", context_tokens=context)) as opened,
    ):
        ranking = await opened.ranker.rank(request(*answers))
        again = await opened.ranker.rank(request(*answers))
    assert ranking.method == again.method == method
    assert [result.rank for result in ranking.results] == list(range(num_items, 0, -1))
    assert again.cached
    assert all("<trimmed" not in text for text in judge.asked[0].shown.values())


@pytest.mark.parametrize(
    ("model", "is_small"),
    [
        ("Qwen2.5-Coder-1.5B-Instruct", True),
        ("qwen3:8b", True),
        ("smollm2-135m-instruct", True),
        ("Llama-3.1-70B", False),
        ("Qwen3-30B-A3B", False),
        ("gpt-5-mini", False),
        ("command-a-03-2025", False),
    ],
)
def test_a_small_model_is_told_by_its_name(model: str, is_small: bool) -> None:
    judge = LLMJudge.model_validate({"model": model, "base_urls": ["http://127.0.0.1:1/v1"]})
    assert judge.is_small == is_small
    assert judge.style_for("listwise") == ("short" if is_small else "long")
    assert judge.style_for("best_of") == "short"


async def test_auto_asks_a_small_judge_for_letters(tmp_path: Path) -> None:
    """Until its endpoint turns out to give no probabilities."""
    settings = {"method": "auto", "model": "tiny-1b", "passes": 1}
    step = names_best(lambda text: float(len(text)))
    async with client_of_judge(tmp_path, step, **settings) as (http, _):
        first = (await http.post("/rank", json=group("5", "five"))).json()
    bare = names_best(lambda text: float(len(text)), logprobs=False)

    def step_by_form(asked: Asked) -> Answer:
        letters = "Reply with one letter" in asked.question
        return (bare if letters else scores(lambda text: len(text) / 99))(asked)

    (tmp_path / "other").mkdir()
    async with client_of_judge(tmp_path / "other", step_by_form, **settings) as (http, _):
        ranked = [
            (await http.post("/rank", json=group("5", text))).json() for text in ("55", "555")
        ]
    assert first.get("method") == "best_of", first
    assert [each["method"] for each in ranked] == ["best_of", "listwise"]


async def test_auto_asks_a_small_judge_for_a_yes_if_it_has_the_answer(tmp_path: Path) -> None:
    settings = {"method": "auto", "model": "tiny-1b", "passes": 1}
    step = says_yes(lambda text: 0.9 if text == "5" else 0.2)
    async with client_of_judge(tmp_path, step, **settings) as (http, _):
        ranked = (await http.post("/rank", json=group("5", "six", reference="5"))).json()
    assert ranked.get("method") == "yes_no", ranked
    assert [each["rank"] for each in ranked["results"]] == [1, 2]
