"""Faults of judges, mixed: three calls in ten are faulty, in every way we know of.

Most groups are ranked, by their own judge or by the healthy one behind it; the rest are typed
failures. No number is invented, no limit or deadline is exceeded, and the metrics add up.
"""

import asyncio
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from podium_service.errors import InternalError, PodiumError, leaves
from podium_service.http.service import Service
from podium_service.schemas import RankRequest
from podium_service.store.quotas.quota_service import AccountSpending
from podium_service.store.quotas.spend import SpendAccount
from tests.fakes import Asked, ScriptedJudge, until
from tests.service.faults import (
    SPARE,
    answers,
    assert_true,
    failures,
    judge,
    samples,
    spare,
    worth,
)
from tests.service.helpers import request as make_request
from tests.service.helpers import service
from tests.service.judges.dispatch.fault_mix import (
    CONCURRENT_GROUPS,
    GAUGES,
    GROUPS_PER_JUDGE,
    MAX_LATE_S,
    PATIENT_S,
    PRICE,
    WORST_USD,
    Monitor,
    Outcome,
    Script,
)

pytestmark = pytest.mark.anyio


# A good call may not time out, however busy the machine is, because it would be one more fault.
@pytest.mark.parametrize(
    ("num_groups", "timeout_s", "max_total_late_s"),
    [(100, 7.0, 5.0), pytest.param(2000, 10.0, 5.0, marks=pytest.mark.chaos)],
)
async def test_groups_are_ranked_or_fail_by_name_at_30_percent_faults(
    tmp_path: Path, num_groups: int, timeout_s: float, max_total_late_s: float
) -> None:
    script = Script(Random(7))
    names = [f"main-{index}" for index in range(-(-num_groups // GROUPS_PER_JUDGE))]
    accounts = [
        SpendAccount(f"judge:{name}", limit_usd(index), "total") for index, name in enumerate(names)
    ]
    async with ScriptedJudge(always=script).serving() as server:
        judges = {
            name: make_settings(server.url, index, timeout_s) for index, name in enumerate(names)
        }
        async with service(tmp_path, **judges, spare=spare(server.url)) as opened:
            monitor = Monitor(opened, accounts)
            monitoring = asyncio.create_task(monitor.run())
            await monitor.is_running.wait()
            outcomes = await rank_all(opened, names, num_groups)
            monitoring.cancel()
            summary = summarize(outcomes, script, monitor)
            assert_ranked_or_failed_by_name(outcomes)
            assert max(map(monitor.late_s, outcomes)) <= MAX_LATE_S, summary
            assert max(each.late_s for each in outcomes) <= max_total_late_s, summary
            assert_within_limits(monitor, script)
            await until(lambda: is_idle(opened, script))  # because a cancelled call may end last
            assert_metrics_add_up(opened, script, outcomes)
            calls = server.calls
            for each in outcomes:
                await assert_not_invented(opened, each)
            assert server.calls == calls
            spent = await opened.store.quotas.read_spending(accounts, at=time.time())
    for name, account in zip(names, accounts, strict=True):
        assert_settled(spent[account], name, script)


def limit_usd(index: int) -> float:
    """Return the spend limit of a judge; that of the fourth one is soon reached."""
    return 0.2 if index == 3 else 100.0


def num_passes(name: str) -> int:
    """Return the passes of a judge: every other one makes two."""
    return 1 if name == SPARE else 1 + int(name.removeprefix("main-")) % 2


def make_settings(url: str, index: int, timeout_s: float) -> dict[str, Any]:
    name = f"main-{index}"
    passes = num_passes(name)
    return judge(
        url, name, passes=passes, budget={"calls": passes + 1}, timeout_s=timeout_s,
        price=PRICE, spend={"usd": limit_usd(index), "per": "total"},
    )  # fmt: skip


async def rank_all(opened: Service, names: list[str], num_groups: int) -> list[Outcome]:
    random, places = Random(11), asyncio.Semaphore(CONCURRENT_GROUPS)

    async def rank(number: int) -> Outcome:
        request, worths = make_group(random, number, names)
        async with places:
            return await rank_one(opened, number, request, worths)

    return await asyncio.gather(*map(rank, range(num_groups)))


def make_group(random: Random, number: int, names: list[str]) -> tuple[RankRequest, list[float]]:
    """Return a group of 2 to 5 trajectories and their worths.

    Of the groups of judges with two passes, one in 14 has a short deadline.
    """
    worths = [value / 100 for value in random.sample(range(101), random.randint(2, 5))]
    index = number % len(names)
    is_hurried = index % 2 and random.random() < 0.07
    deadline_s = random.uniform(0.02, 0.2) if is_hurried else PATIENT_S
    request = make_request(*answers(number, worths), judge=names[index], deadline_s=deadline_s)
    return request, worths


async def rank_one(
    opened: Service, number: int, request: RankRequest, worths: list[float]
) -> Outcome:
    clock = asyncio.get_running_loop().time
    deadline = clock() + request.deadline_s
    try:
        ranking = await opened.ranker.rank(request)
    except PodiumError as error:
        return Outcome(number, request, worths, deadline, clock(), error=error)
    return Outcome(number, request, worths, deadline, clock(), ranking=ranking)


def assert_ranked_or_failed_by_name(outcomes: list[Outcome]) -> None:
    """Assert that few groups fail, and none of those with time enough."""
    errors = [each.error for each in outcomes if each.error]
    assert len(errors) <= 0.05 * len(outcomes)
    assert all(each.ranking for each in outcomes if each.request.deadline_s == PATIENT_S)
    assert {type(error) for error in errors} <= {*leaves()} - {InternalError}


def assert_within_limits(monitor: Monitor, script: Script) -> None:
    for account, most in monitor.most.items():
        assert 0 < most <= account.limit_usd
    for (name, number), calls in script.payable.items():
        assert calls <= 1 + num_passes(name), (name, number)


def assert_settled(spent: AccountSpending, name: str, script: Script) -> None:
    """Assert that answered calls are settled at their cost, others at their worst case at most."""
    assert spent.reserved == 0
    if num_passes(name) == 1:
        unanswered = script.played[name]["judge_unavailable"]
        assert 0 <= spent.settled - script.cost_usd(name) + 1e-9 <= WORST_USD * unanswered + 2e-9


def is_idle(opened: Service, script: Script) -> bool:
    """Return whether by the metrics of all judges no call waits, is made or reserves money."""
    values = [total(opened, series, name) for series in GAUGES for name in script.played]
    return max(map(abs, values)) < 1e-9  # because dollars are floats


def assert_metrics_add_up(opened: Service, script: Script, outcomes: list[Outcome]) -> None:
    """Assert that the metrics of each judge agree with what the script did."""
    for name, played in script.played.items():
        assert_calls_add_up(opened, script, name, played)
    sent = Counter(each.request.judge or "" for each in outcomes)
    sent[SPARE] = sum(failures(opened, name).total() for name in sent)  # they fell back to it
    for name, number in sent.items():
        assert total(opened, "podium_rankings_total", name) == number


def assert_calls_add_up(opened: Service, script: Script, name: str, played: Counter[str]) -> None:
    """Assert that calls agree, but for cancelled ones; judges of one pass cancel none."""
    calls = by_label(opened, "podium_judge_calls_total", name, "outcome")
    if name == SPARE or num_passes(name) == 2:
        missed = played - calls  # these were cancelled before their answer was read
        assert missed.total() <= calls["cancelled"]
        assert not calls - played - Counter(cancelled=calls["cancelled"])
        return
    assert calls == played
    assert total(opened, "podium_judge_faults_total", name) == script.malformed[name]
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
    """Assert that stored verdicts are true, and give the same rewards again without a call."""
    first = outcome.ranking
    if first is None:
        return
    stored = await opened.store.read_ranking(first.id)
    assert stored
    passes = set()
    for call in await opened.store.read_calls(stored["key"]):
        if call["verdict"]:
            shown = Asked({"messages": call["messages"]}, {}).shown
            assert call["verdict"]["scores"] == [worth(text) for text in shown.values()]
            passes.add(call["pass_index"])
    request = outcome.request.model_copy(update={"judge": first.judge, "deadline_s": PATIENT_S})
    again = await opened.ranker.rank(request)
    assert again.cached
    assert (again.id, again.results) == (first.id, first.results)
    assert passes
    if len(passes) == num_passes(first.judge):  # else the judge's known slot bias comes in
        assert_true(first, outcome.worths)


def summarize(outcomes: list[Outcome], script: Script, monitor: Monitor) -> str:
    """Return and print the figures, in one line."""
    errors = Counter(each.error.code for each in outcomes if each.error)
    by_spare = sum(each.ranking.judge == SPARE for each in outcomes if each.ranking)
    calls = sum(played.total() for name, played in script.played.items() if name != SPARE)
    summary = (
        f"{len(outcomes)} groups, {calls} calls, {script.num_faulty} faulty: "
        f"{len(outcomes) - errors.total()} ranked, {by_spare} of them by the spare judge, "
        f"failed {dict(errors)}; the latest ended "
        f"{max(each.late_s for each in outcomes):.3f} s after its deadline, "
        f"{max(map(monitor.late_s, outcomes)):.3f} s without stalls of the process"
    )
    print(summary)
    return summary
