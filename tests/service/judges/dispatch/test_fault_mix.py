"""Whatever goes wrong with judges, mixed: three calls in ten are faulty, in every way we know of.

Most groups are ranked, by their own judge or by the healthy one behind it; the rest are typed
failures. No number is invented, no limit and no deadline is passed, and the metrics add up.
"""

import asyncio
import re
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from podium_service.errors import InternalError, PodiumError, leaves
from podium_service.http.service import Service
from podium_service.schemas import Ranking, RankRequest
from podium_service.store.quotas.quota_service import AccountSpending
from podium_service.store.quotas.spend import SpendAccount
from tests.fakes import Answer, Asked, ScriptedJudge, Step, drops, fails, hangs, says, until
from tests.service.faults import (
    FILTERED,
    GOOD,
    NO_CREDIT,
    NO_SCHEMA,
    SPARE,
    TOO_LONG,
    answers,
    assert_true,
    at_the_cap,
    failures,
    html,
    judge,
    never_ends,
    reasoned,
    renamed,
    rewritten,
    samples,
    scored,
    spare,
    with_one_more,
    with_the_first_twice,
    without_the_last,
    worth,
)
from tests.service.helpers import request, service

pytestmark = pytest.mark.anyio

SHARE = 0.3  # of the calls that are faulty
LATE_S, PATIENT_S = 0.2, 60.0
GROUPS_PER_JUDGE, IN_FLIGHT = 40, 48
PRICE = {"prompt": 1.0, "completion": 10.0}
WORST_USD = 0.11  # of one call: twice the cap of 5 trajectories is 9,920 tokens
NOW = (
    "podium_judge_in_flight",
    "podium_judge_waiting",
    "podium_endpoint_in_flight",
    "podium_judge_reserved_usd",
)

# How the metrics count a call -> the faults that make it so; those answered in time with a chat
# completion are replies that are no verdict, and verdicts oddly wrapped.
SPOILT: list[Step] = [
    at_the_cap('{"'), at_the_cap(" \n" * 2000), rewritten(lambda text: text[:-9]),
    rewritten(without_the_last), rewritten(with_one_more), rewritten(renamed),
    rewritten(with_the_first_twice), scored("7"), scored("10"), scored("15"), scored('"0.8"'),
    scored("NaN"), says("The first one."), says(""), says(None, refusal="no"),
    says("", "content_filter"),
]  # fmt: skip
FAULTS: dict[str, list[Step]] = {
    "ok": [
        *SPOILT, reasoned, rewritten(lambda text: f"<think>hm</think>{text}"),
        rewritten(lambda text: f"```json\n{text}\n```"),
    ],
    "judge_rate_limited": [fails(429), fails(429, retry_after="0.05")],
    "judge_unavailable": [fails(500), fails(503), drops, hangs, html, never_ends],
    "judge_rejected": [fails(401), fails(404)],
    "parameter_rejected": [NO_SCHEMA, FILTERED],
    "context_overflow": [TOO_LONG],
}  # fmt: skip
# These put a judge out of service for longer than the test runs.
LAST_FAULTS: dict[str, list[Step]] = {
    "judge_rate_limited": [fails(429, retry_after="600")],
    "judge_quota_exhausted": [NO_CREDIT],
}
RARE = 0.01  # of the faults
UNANSWERED: list[Step] = [drops, hangs, html, never_ends]  # they may have been paid


class Script:
    """Plays health and faults at random, and counts what it did, by judge."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.played: dict[str, Counter[str]] = defaultdict(Counter)  # by outcome
        self.billed: dict[str, Counter[str]] = defaultdict(Counter)  # tokens, by kind
        self.spoilt: Counter[str] = Counter()
        self.payable: Counter[tuple[str, int]] = Counter()  # by group
        self.faulty = 0

    def __call__(self, asked: Asked) -> Answer:
        name = asked.body["model"]
        outcome, step = "ok", GOOD
        if name != SPARE and self.random.random() < SHARE:
            outcome, step = self._fault()
        self.played[name][outcome] += 1
        self.spoilt[name] += step in SPOILT
        answer = step(asked)
        if outcome == "ok":
            self._bill(name, answer)
        if outcome == "ok" or step in UNANSWERED:
            number = re.search(r"answer (\d+)\.", asked.text)
            assert number
            self.payable[name, int(number[1])] += 1
        return replace(answer, delay_s=answer.delay_s or self.random.uniform(0, 0.02))

    def cost_usd(self, name: str) -> float:
        prompt, completion = self.billed[name]["prompt"], self.billed[name]["completion"]
        return (PRICE["prompt"] * prompt + PRICE["completion"] * completion) / 1e6

    def _fault(self) -> tuple[str, Step]:
        self.faulty += 1
        faults = LAST_FAULTS if self.random.random() < RARE else FAULTS
        return self.random.choice(
            [(outcome, step) for outcome in faults for step in faults[outcome]]
        )

    def _bill(self, name: str, answer: Answer) -> None:
        assert isinstance(answer.body, dict)
        usage = answer.body["usage"]
        self.billed[name] += Counter(
            prompt=usage["prompt_tokens"], completion=usage["completion_tokens"]
        )


@dataclass(frozen=True)
class Outcome:
    """What became of one group, and when it ended, on the event loop's clock."""

    number: int
    asked: RankRequest
    worths: list[float]
    deadline: float
    ended: float
    ranking: Ranking | None = None
    error: PodiumError | None = None

    @property
    def late_s(self) -> float:
        """How long after its deadline it ended; below zero: before."""
        return self.ended - self.deadline


class Watch:
    """Looks on: what is reserved and spent, and when the event loop itself was late."""

    def __init__(self, opened: Service, holds: list[SpendAccount]) -> None:
        self.most = dict.fromkeys(holds, 0.0)
        self._opened = opened
        self.looking = asyncio.Event()
        self._held_up: list[tuple[float, float]] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look_at_the_clock())
            tasks.create_task(self._look_at_the_money())

    def late_s(self, outcome: Outcome) -> float:
        """How long after its deadline a group ended, without what held up everything: ourselves,
        or other processes."""
        end = outcome.ended
        held_up = sum(
            max(0.0, min(till, end) - max(since, outcome.deadline)) for since, till in self._held_up
        )
        return outcome.late_s - held_up

    async def _look_at_the_clock(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + 0.02
            await asyncio.sleep(0.02)
            self.looking.set()
            if clock() - due > 0.02:
                self._held_up.append((due, clock()))

    async def _look_at_the_money(self) -> None:
        while True:
            found = await self._opened.store.quotas.read_spending(self.most, at=time.time())
            for hold, spent in found.items():
                self.most[hold] = max(self.most[hold], spent.reserved + spent.settled)
            await asyncio.sleep(0.02)


# No healthy call may time out, however busy the machine is: that would be one more fault.
@pytest.mark.parametrize(
    ("num_groups", "timeout_s", "all_in_all_late_s"),
    [(300, 7.0, 5.0), pytest.param(2000, 10.0, 5.0, marks=pytest.mark.chaos)],
)
async def test_with_three_calls_in_ten_faulty_groups_are_ranked_truly_or_fail_by_name(
    tmp_path: Path, num_groups: int, timeout_s: float, all_in_all_late_s: float
) -> None:
    script = Script(Random(7))
    names = [f"main-{index}" for index in range(-(-num_groups // GROUPS_PER_JUDGE))]
    holds = [SpendAccount(f"judge:{name}", usd(index), "total") for index, name in enumerate(names)]
    async with ScriptedJudge(always=script).serving() as server:
        judges = {name: settings(server.url, index, timeout_s) for index, name in enumerate(names)}
        async with service(tmp_path, **judges, spare=spare(server.url)) as opened:
            watch = Watch(opened, holds)
            watching = asyncio.create_task(watch.run())
            await watch.looking.wait()
            outcomes = await all_ranked(opened, names, num_groups)
            watching.cancel()
            told = tell(outcomes, script, watch)
            assert_ranked_or_failed_by_name(outcomes)
            assert max(map(watch.late_s, outcomes)) <= LATE_S, told
            assert max(each.late_s for each in outcomes) <= all_in_all_late_s, told
            assert_within_limits(watch, script)
            await until(lambda: at_rest(opened, script))  # a call that was given up may end last
            assert_metrics_add_up(opened, script, outcomes)
            calls = server.calls
            for each in outcomes:
                await assert_not_invented(opened, each)
            assert server.calls == calls
            spent = await opened.store.quotas.read_spending(holds, at=time.time())
    for name, hold in zip(names, holds, strict=True):
        assert_settled(spent[hold], name, script)


def usd(index: int) -> float:
    """The spend limit of a judge; the one of the fourth is soon reached."""
    return 0.2 if index == 3 else 100.0


def passes_of(name: str) -> int:
    """Every other judge ranks in two."""
    return 1 if name == SPARE else 1 + int(name.removeprefix("main-")) % 2


def settings(url: str, index: int, timeout_s: float) -> dict[str, Any]:
    name = f"main-{index}"
    passes = passes_of(name)
    return judge(
        url, name, passes=passes, budget={"calls": passes + 1}, timeout_s=timeout_s,
        price=PRICE, spend={"usd": usd(index), "per": "total"},
    )  # fmt: skip


async def all_ranked(opened: Service, names: list[str], num_groups: int) -> list[Outcome]:
    random, places = Random(11), asyncio.Semaphore(IN_FLIGHT)

    async def rank(number: int) -> Outcome:
        asked, worths = a_group(random, number, names)
        async with places:
            return await outcome_of(opened, number, asked, worths)

    return await asyncio.gather(*map(rank, range(num_groups)))


def a_group(random: Random, number: int, names: list[str]) -> tuple[RankRequest, list[float]]:
    """Of 2 to 5 trajectories; of the judges with two passes one group in 14 is in a hurry."""
    worths = [value / 100 for value in random.sample(range(101), random.randint(2, 5))]
    index = number % len(names)
    hurried = index % 2 and random.random() < 0.07
    deadline_s = random.uniform(0.02, 0.2) if hurried else PATIENT_S
    asked = request(*answers(number, worths), judge=names[index], deadline_s=deadline_s)
    return asked, worths


async def outcome_of(
    opened: Service, number: int, asked: RankRequest, worths: list[float]
) -> Outcome:
    clock = asyncio.get_running_loop().time
    deadline = clock() + asked.deadline_s
    try:
        ranking = await opened.ranker.rank(asked)
    except PodiumError as error:
        return Outcome(number, asked, worths, deadline, clock(), error=error)
    return Outcome(number, asked, worths, deadline, clock(), ranking=ranking)


def assert_ranked_or_failed_by_name(outcomes: list[Outcome]) -> None:
    """Those with time enough are all ranked."""
    errors = [each.error for each in outcomes if each.error]
    assert len(errors) <= 0.05 * len(outcomes)
    assert all(each.ranking for each in outcomes if each.asked.deadline_s == PATIENT_S)
    assert {type(error) for error in errors} <= {*leaves()} - {InternalError}


def assert_within_limits(watch: Watch, script: Script) -> None:
    for hold, most in watch.most.items():
        assert 0 < most <= hold.limit_usd
    for (name, number), calls in script.payable.items():
        assert calls <= 1 + passes_of(name), (name, number)


def assert_settled(spent: AccountSpending, name: str, script: Script) -> None:
    """What was answered, by its bill; what may have been paid, by its worst case."""
    assert spent.reserved == 0
    if passes_of(name) == 1:
        unanswered = script.played[name]["judge_unavailable"]
        assert 0 <= spent.settled - script.cost_usd(name) + 1e-9 <= WORST_USD * unanswered + 2e-9


def at_rest(opened: Service, script: Script) -> bool:
    """Whether nothing waits, is asked or held back, by any judge's metrics."""
    values = [total(opened, series, name) for series in NOW for name in script.played]
    return max(map(abs, values)) < 1e-9  # dollars, too


def assert_metrics_add_up(opened: Service, script: Script, outcomes: list[Outcome]) -> None:
    """With what the script did, judge by judge."""
    for name, played in script.played.items():
        assert_calls_add_up(opened, script, name, played)
    sent = Counter(each.asked.judge or "" for each in outcomes)
    sent[SPARE] = sum(failures(opened, name).total() for name in sent)  # handed on
    for name, number in sent.items():
        assert total(opened, "podium_rankings_total", name) == number


def assert_calls_add_up(opened: Service, script: Script, name: str, played: Counter[str]) -> None:
    """The script may not have seen a call that was cancelled; judges of one pass had none."""
    calls = by_label(opened, "podium_judge_calls_total", name, "outcome")
    if name == SPARE or passes_of(name) == 2:
        unseen = played - calls  # they were cancelled before the answer was read
        assert unseen.total() <= calls["cancelled"]
        assert not calls - played - Counter(cancelled=calls["cancelled"])
        return
    assert calls == played
    assert total(opened, "podium_judge_faults_total", name) == script.spoilt[name]
    tokens, billed = (
        by_label(opened, "podium_judge_tokens_total", name, "kind"),
        script.billed[name],
    )
    assert (tokens["prompt"], tokens["completion"]) == (billed["prompt"], billed["completion"])
    cost_usd = total(opened, "podium_judge_cost_usd_total", name)
    assert cost_usd == pytest.approx(script.cost_usd(name))


def by_label(opened: Service, series: str, name: str, label: str) -> Counter[str]:
    return Counter(
        {labels[label]: int(value) for labels, value in samples(opened, series, name) if value}
    )


def total(opened: Service, series: str, name: str) -> float:
    return sum(value for _, value in samples(opened, series, name))


async def assert_not_invented(opened: Service, outcome: Outcome) -> None:
    """The stored verdicts are the truth, and give the same rewards again, for nothing."""
    first = outcome.ranking
    if first is None:
        return
    found = await opened.store.read_ranking(first.id)
    assert found
    passes = set()
    for call in await opened.store.read_calls(found["key"]):
        if call["verdict"]:
            shown = Asked({"messages": call["messages"]}, {}).shown
            assert call["verdict"]["scores"] == [worth(text) for text in shown.values()]
            passes.add(call["pass_index"])
    asked = outcome.asked.model_copy(update={"judge": first.judge, "deadline_s": PATIENT_S})
    again = await opened.ranker.rank(asked)
    assert again.cached
    assert (again.id, again.results) == (first.id, first.results)
    assert passes
    if len(passes) == passes_of(first.judge):  # else what is known of its slots comes in
        assert_true(first, outcome.worths)


def tell(outcomes: list[Outcome], script: Script, watch: Watch) -> str:
    """The figures, in one line."""
    errors = Counter(each.error.code for each in outcomes if each.error)
    by_spare = sum(each.ranking.judge == SPARE for each in outcomes if each.ranking)
    calls = sum(played.total() for name, played in script.played.items() if name != SPARE)
    told = (
        f"{len(outcomes)} groups, {calls} calls, {script.faulty} faulty: "
        f"{len(outcomes) - errors.total()} ranked, {by_spare} of them by the spare judge, "
        f"failed {dict(errors)}; the latest ended "
        f"{max(each.late_s for each in outcomes):.3f} s after its deadline, "
        f"{max(map(watch.late_s, outcomes)):.3f} s without what held up everything"
    )
    print(told)
    return told
