"""Whatever goes wrong with judges, mixed: three calls in ten are faulty, in every way we know of.

Most groups are ranked, by their own judge or by the healthy one behind it; the rest are typed
failures. No number is invented, no limit and no deadline is passed, and the metrics add up.
"""

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from service.app import Service
from service.caller import Hold
from service.errors import InternalError, PodiumError, leaves
from service.ledger import Spent
from service.schemas import Ranking, RankRequest
from service.tables import CALLS
from tests.fakes import Answer, Asked, ScriptedJudge, Step, drops, fails, hangs, says
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
)
from tests.service.helpers import request, service

pytestmark = pytest.mark.anyio

SHARE = 0.3  # of the calls that are faulty
LATE_S = 0.2
GROUPS_PER_JUDGE, IN_FLIGHT = 40, 32
PRICE = {"prompt": 1.0, "completion": 10.0}

# How the metrics count a call -> the faults that make it so.
FAULTS: dict[str, list[Step]] = {
    "ok": [
        at_the_cap('{"'), at_the_cap(" \n" * 2000), rewritten(lambda text: text[:-9]),
        rewritten(lambda text: f"<think>hm</think>{text}"), reasoned,
        rewritten(lambda text: f"```json\n{text}\n```"),
        rewritten(without_the_last), rewritten(with_one_more), rewritten(renamed),
        rewritten(with_the_first_twice), scored("7"), scored("10"), scored("15"),
        scored('"0.8"'), scored("NaN"), says("The first one."), says(""),
        says(None, refusal="no"), says("", "content_filter"),
    ],
    "judge_rate_limited": [fails(429), fails(429, retry_after="0.05")],
    "judge_unavailable": [fails(500), fails(503), drops, hangs, html, never_ends],
    "judge_rejected": [fails(401), fails(404)],
    "failed": [NO_SCHEMA, TOO_LONG, FILTERED],
}  # fmt: skip
# These put a judge out of service for longer than the test runs.
LAST_FAULTS: dict[str, list[Step]] = {
    "judge_rate_limited": [fails(429, retry_after="600")],
    "judge_quota_exhausted": [NO_CREDIT],
}
RARE = 0.02  # of the faults


@dataclass
class Script:
    """Plays health and faults at random; counts what it did, by judge and by group."""

    random: Random
    played: Counter[tuple[str, str]] = field(default_factory=Counter)
    answered: Counter[tuple[str, int]] = field(default_factory=Counter)
    faulty: int = 0

    def __call__(self, asked: Asked) -> Answer:
        name = asked.body["model"]
        outcome, step = "ok", GOOD
        if name != SPARE and self.random.random() < SHARE:
            faults = LAST_FAULTS if self.random.random() < RARE else FAULTS
            every = [(outcome, step) for outcome, steps in faults.items() for step in steps]
            outcome, step = self.random.choice(every)
            self.faulty += 1
        self.played[name, outcome] += 1
        if outcome == "ok":
            number = re.search(r"answer (\d+)\.", asked.text)
            assert number
            self.answered[name, int(number[1])] += 1
        answer = step(asked)
        return replace(answer, delay_s=answer.delay_s or self.random.uniform(0, 0.02))


@dataclass
class Outcome:
    """What became of one group, and how long after its deadline (negative: before)."""

    worths: list[float]
    late_s: float
    ranking: Ranking | None = None
    error: PodiumError | None = None


@pytest.mark.parametrize(
    "num_groups", [300, pytest.param(2000, marks=pytest.mark.chaos)], ids=str
)
async def test_with_three_calls_in_ten_faulty_groups_are_ranked_truly_or_fail_by_name(
    tmp_path: Path, num_groups: int
) -> None:
    random = Random(7)
    script = Script(random)
    names = [f"main-{index}" for index in range(-(-num_groups // GROUPS_PER_JUDGE))]
    async with ScriptedJudge(always=script).serving() as server:
        judges = {name: settings(server.url, name, index) for index, name in enumerate(names)}
        async with service(tmp_path, **judges, spare=spare(server.url)) as opened:
            watching = asyncio.create_task(most_spent(opened, names))
            groups = [a_group(random, number, names) for number in range(num_groups)]
            places = asyncio.Semaphore(IN_FLIGHT)
            outcomes = await asyncio.gather(*(rank(opened, places, *each) for each in groups))
            watching.cancel()
            print(Counter(each.error.code if each.error else each.ranking.judge == SPARE for each in outcomes))
            print("late", sorted(each.late_s for each in outcomes)[-3:])
            assert_metrics_add_up(opened, script, names, num_groups)
            for o in outcomes:
                if o.ranking:
                    assert_true(o.ranking, o.worths)


def settings(url: str, name: str, index: int) -> dict[str, Any]:
    """Every other judge ranks in one pass."""
    passes = 1 + index % 2
    return judge(
        url, name, passes=passes, timeout_s=1.0, price=PRICE, budget={"calls": passes + 1},
        spend={"usd": 0.2 if index == 3 else 100, "per": "total"},
    )  # fmt: skip


def a_group(random: Random, number: int, names: list[str]) -> tuple[RankRequest, list[float]]:
    """Of 2 to 5 trajectories; one group in ten of the judges with two passes is in a hurry."""
    worths = [value / 100 for value in random.sample(range(101), random.randint(2, 5))]
    index = number % len(names)
    hurry = index % 2 and random.random() < 0.1
    deadline_s = random.uniform(0.02, 0.2) if hurry else 20.0
    asked = request(*answers(number, worths), judge=names[index], deadline_s=deadline_s)
    return asked, worths


async def rank(
    opened: Service, places: asyncio.Semaphore, asked: RankRequest, worths: list[float]
) -> Outcome:
    async with places:
        started = time.monotonic()
        ranking: Ranking | None = None
        failure: PodiumError | None = None
        try:
            ranking = await opened.ranker.rank(asked)
        except PodiumError as error:
            failure = error
        late_s = time.monotonic() - started - asked.deadline_s
        return Outcome(worths, late_s, ranking, failure)


async def most_spent(opened: Service, names: list[str]) -> None:
    most=0.0
    try:
        while True:
            a=time.monotonic()
            await asyncio.sleep(0.01)
            most=max(most,time.monotonic()-a-0.01)
    finally:
        print("LAG", most, "CPU", time.process_time())


def assert_metrics_add_up(
    opened: Service, script: Script, names: list[str], num_groups: int
) -> None:
    print(script.played)
    for name in [*names, SPARE]:
        print(name, {labels["outcome"]: v for labels, v in samples(opened, "podium_judge_calls_total", name)}, {k[1]: v for k, v in script.played.items() if k[0] == name})
        print([(l, v) for l, v in samples(opened, "podium_judge_in_flight", name)+ samples(opened, "podium_judge_waiting", name)+ samples(opened, "podium_endpoint_in_flight", name)], failures(opened, name))
