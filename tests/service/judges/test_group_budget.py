"""A group's budget in calls and in tokens is never exceeded, whatever the judge replies."""

import asyncio
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from podium_service.errors import BudgetExhausted, JudgeUnavailable, PodiumError
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.group_budget import Budget, Reservation
from podium_service.judges.limits import BudgetLimits
from podium_service.prompts.templates import Prompt, build_prompt
from podium_service.prompts.transcript import transcribe
from tests.fakes import (
    Answer,
    Asked,
    ScriptedJudge,
    Step,
    at_random,
    counted,
    drops,
    fails,
    hangs,
    later,
    says,
    whatever_is_asked,
)
from tests.service.helpers import endpoint_judge, llm, request, service

pytestmark = pytest.mark.anyio

PROMPT = Prompt("rating", [("system", ["a" * 299]), ("user", ["b" * 299])], ["BCDFG"], [0])
WORST = 2 * 100 + 50  # a third of a token per byte and one per part, and the reply's cap
METHODS = ("listwise", "subsets", "pairwise", "pointwise", "best_of", "yes_no")


def test_a_call_reserves_its_worst_and_is_settled_by_its_tokens() -> None:
    budget = Budget(BudgetLimits(calls=3, tokens=2 * WORST + 10))
    with budget.reserve(PROMPT, 50) as reservation:
        assert budget.calls_left(WORST) == 1  # 260 are left meanwhile
        reservation.settle(120)
    assert budget.calls_left(WORST) == 1  # 390
    assert budget.calls_left(195) == 2
    with budget.reserve(PROMPT, 50), pytest.raises(BudgetExhausted), budget.reserve(PROMPT, 50):
        pass


def test_a_second_call_for_the_same_answer_counts_at_its_worst() -> None:
    budget = Budget(BudgetLimits(calls=3, tokens=2 * WORST + 10))
    with budget.reserve(PROMPT, 50) as reservation:
        send(reservation, asyncio.CancelledError())
        reservation.reserve_again()
        with pytest.raises(BudgetExhausted):
            reservation.reserve_again()
        send(reservation, None)
        reservation.settle(120)
    assert budget.calls_left(1) == 1
    assert budget.calls_left(140) == 1  # 140 are left


def send(reservation: Reservation, error: BaseException | None) -> None:
    with suppress(BaseException), reservation.track_call():
        if error:
            raise error


TRANSCRIPT = transcribe(request("5", "five"), [0, 1])


@pytest.mark.parametrize(
    ("sent", "num_paid"),
    [
        ([], 0),
        ([JudgeUnavailable("500")], 0),
        ([JudgeUnavailable("no answer", unanswered=True)], 1),
        ([asyncio.CancelledError()], 1),
        ([JudgeUnavailable("no answer", unanswered=True), JudgeUnavailable("500")], 1),
        ([asyncio.CancelledError(), asyncio.CancelledError()], 2),
    ],
)
def test_a_sent_call_without_an_answer_counts_at_its_worst_cost(
    sent: list[BaseException], num_paid: int
) -> None:
    budget = Budget(BudgetLimits(tokens=4 * WORST))
    with budget.reserve(PROMPT, 50) as reservation:
        for number, error in enumerate(sent):
            if number:
                reservation.reserve_again()
            send(reservation, error)
    assert budget.calls_left(WORST) == 4 - num_paid


def test_a_limit_on_calls_holds_without_a_limit_on_tokens() -> None:
    budget = Budget(BudgetLimits(calls=2), calls=1)
    with budget.reserve(PROMPT, 50) as reservation:
        reservation.settle(10**9)
    with pytest.raises(BudgetExhausted, match="a budget of 2 calls"), budget.reserve(PROMPT, 50):
        pass


def test_a_failed_call_takes_no_tokens_but_counts_as_a_call() -> None:
    budget = Budget(BudgetLimits(calls=2, tokens=WORST))
    with pytest.raises(ConnectionError), budget.reserve(PROMPT, 50):
        raise ConnectionError
    assert budget.calls_left(WORST) == 1


def test_a_call_without_a_token_count_settles_at_its_worst() -> None:
    budget = Budget(BudgetLimits(tokens=2 * WORST))
    with budget.reserve(PROMPT, 50) as reservation:
        reservation.settle(0)
    assert budget.calls_left(WORST) == 1


def test_a_budget_without_limits_is_never_exhausted() -> None:
    budget = Budget(None)
    with budget.reserve(PROMPT, 50) as reservation:
        reservation.settle(10**9)
    assert budget.calls_left(1) == float("inf")


def worth(text: str) -> float:
    return len(text) / 1000


faithful = whatever_is_asked(worth)


def cut_off(asked: Asked) -> Answer:
    cap = asked.body["max_completion_tokens"]
    return says("{", finish_reason="length", tokens=cap)(asked)


STEPS: list[Step] = [*[counted(faithful, completion=20)] * 8, counted(faithful)]
MALFORMED: list[Step] = [counted(says("no idea " * 200)), counted(cut_off)]


async def outcome(
    path: Path, step: Step, num_items: int, **main: Any
) -> tuple[str | None, int, int]:
    """Return the code of the error, if any, and the calls and tokens that the judge counted."""
    billed = [0]

    def billing(asked: Asked) -> Answer:
        answer = step(asked)
        assert isinstance(answer.body, dict)
        usage = answer.body["usage"]
        billed[0] += usage["prompt_tokens"] + usage["completion_tokens"]
        return answer

    code = None
    async with (
        ScriptedJudge(always=billing).serving() as judge,
        service(path, main=llm(judge.url, **main)) as opened,
    ):
        try:
            ranking = await opened.ranker.rank(request(*("x" * (9 * i) for i in range(num_items))))
        except PodiumError as error:
            code = error.code
        else:
            assert ranking.usage.calls == judge.calls
            assert len(ranking.results) == num_items
    return code, judge.calls, billed[0]


@pytest.mark.parametrize("method", [*METHODS, "auto"])
@given(
    st.integers(3, 12),
    st.integers(1, 40),
    st.integers(0, 2**32),
    st.sampled_from([[], MALFORMED]),
    st.booleans(),
)
@settings(max_examples=8, deadline=None)
async def test_no_ranking_method_exceeds_its_budget(
    tmp_path_factory: pytest.TempPathFactory,
    method: str,
    num_items: int,
    size: int,
    seed: int,
    malformed: list[Step],
    by_tokens: bool,
) -> None:
    budget = {"tokens": 1500 * size} if by_tokens else {"calls": size}
    code, calls, tokens = await outcome(
        tmp_path_factory.mktemp("store"),
        at_random(STEPS + malformed, seed),
        num_items,
        method=method,
        budget=budget,
        canary=bool(seed % 2),
        passes={"min": 2, "max": 6},
        gates=[],
    )
    assert calls <= budget.get("calls", calls)
    assert tokens <= budget.get("tokens", tokens)
    wrong = {"verdict_invalid", "verdict_truncated", "context_exceeded"} if malformed else set()
    void = {"verdict_void"} if seed % 2 else set()
    assert code in {None, "budget_exhausted", *wrong, *void}


@pytest.mark.parametrize(
    ("method", "least"),
    [
        ("listwise", 1),
        ("subsets", 2),
        ("pairwise", 14),
        ("pointwise", 8),
        ("best_of", 1),
        ("yes_no", 8),
    ],
)
async def test_a_budget_too_small_to_link_all_items_is_a_typed_failure(
    tmp_path: Path, method: str, least: int
) -> None:
    few = await outcome(tmp_path, faithful, 8, method=method, budget={"calls": least}, gates=[])
    assert few[:2] == (None, least)
    if least > 1:
        none = await outcome(
            tmp_path, faithful, 8, method=method, budget={"calls": least - 1}, gates=[]
        )
        assert none[:2] == (
            "budget_exhausted",
            0,
        )  # and none is wasted


async def test_a_group_is_ranked_by_the_calls_left_after_bad_replies(
    tmp_path: Path,
) -> None:
    script = iter([says("?"), *[faithful] * 3])
    code, calls, _ = await outcome(
        tmp_path, lambda asked: next(script)(asked), 4, budget={"calls": 4}, gates=[]
    )
    assert (code, calls) == (None, 4)  # three passes of four


async def test_a_budget_spent_on_malformed_replies_is_a_typed_failure(tmp_path: Path) -> None:
    code, calls, _ = await outcome(
        tmp_path, says("?"), 4, method="pointwise", budget={"calls": 4}, gates=[]
    )
    assert (code, calls) == ("budget_exhausted", 4)


@pytest.mark.parametrize(
    ("calls", "script", "settings", "sent", "answered"),
    [
        (2, [drops, faithful], {}, 2, True),
        (1, [drops], {}, 1, False),  # the lost call may have been paid
        (1, [lambda asked: Answer({"choices": []})], {}, 1, False),  # and so may this one
        (1, [fails(504)], {}, 1, False),
        (
            1,
            [fails(500), fails(429), faithful],
            {},
            3,
            True,
        ),  # errors are answers, and free
        (2, [hangs, faithful], {"hedge_after_s": 0.05}, 2, True),
        (1, [later(faithful, 0.2)], {"hedge_after_s": 0.05}, 1, True),
        (2, [drops, later(faithful, 0.2)], {"hedge_after_s": 0.05}, 2, True),
    ],
)
async def test_unanswered_calls_that_may_be_paid_count_in_the_budget(
    calls: int, script: list[Step], settings: dict[str, Any], sent: int, answered: bool
) -> None:
    async with ScriptedJudge(script).serving() as server:
        judge = endpoint_judge(server.url, attempts=3, **settings)
        prompt = build_prompt("scores", "long", "Be fair.", TRANSCRIPT, [0, 1])
        asked = judge.ask(
            prompt, 50, lambda call: None, Budget(BudgetLimits(calls=calls)), RequestContext()
        )
        with nullcontext() if answered else pytest.raises(JudgeUnavailable):
            await asked
        await judge.aclose()
    assert server.calls == sent


async def test_a_refused_connection_does_not_count_as_a_call() -> None:
    async with ScriptedJudge(always=faithful).serving() as server:
        urls = ["http://127.0.0.1:1/v1", server.url]
        judge = endpoint_judge("", base_urls=urls, concurrency={"min": 16, "max": 16})
        judge.endpoints[1].num_active += 10  # so that the first attempt goes to the other
        prompt = build_prompt("scores", "long", "Be fair.", TRANSCRIPT, [0, 1])
        budget = Budget(BudgetLimits(calls=1))
        with capture_logs() as logged:
            await judge.ask(prompt, 50, lambda call: None, budget, RequestContext())
        assert [line["base_url"] for line in logged] == urls[:1]
        await judge.aclose()


async def test_a_group_with_an_exhausted_budget_goes_to_the_fallback(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=faithful).serving() as judge,
        service(
            tmp_path,
            main=llm(judge.url, budget={"tokens": 100}, fallback=["other"]),
            other=llm(judge.url, model="other"),
        ) as opened,
    ):
        ranking = await opened.ranker.rank(request("5", "five"))
    assert (ranking.judge, ranking.fallback_from) == ("other", "main")


async def test_a_group_with_no_budget_left_is_answered_from_the_store(tmp_path: Path) -> None:
    """Asking again does not make the call that the budget did not hold."""
    script = [says("?"), *[faithful] * 3]
    async with (
        ScriptedJudge(script).serving() as judge,
        service(tmp_path, main=llm(judge.url, budget={"calls": 4}, concurrency=1)) as opened,
    ):
        first = await opened.ranker.rank(request("5", "five"))
        again = await opened.ranker.rank(request("5", "five"))
    assert judge.calls == 4
    assert (again.cached, again.id, again.results) == (True, first.id, first.results)
