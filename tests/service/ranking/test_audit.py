"""Audits: which groups get a second pass, and what one pass knows after that."""

from pathlib import Path
from random import Random

import pytest

from podium_service.judges.limits import Passes
from podium_service.ranking.audit import plan_audit
from podium_service.ranking.content_keys import digest
from podium_service.scoring.noise import MIN_GROUPS, JudgeNoise
from tests.fakes import Answer, Asked, ScriptedJudge, rates, scores
from tests.service.helpers import llm, service
from tests.service.ranking.worth import noisy, numbered, worth

pytestmark = pytest.mark.anyio

ONE = Passes(min=1, max=1)
LEARNT = JudgeNoise(0.01, 50.0, groups=20)
KEYS = [digest(number) for number in range(2000)]


NOISE = Random(3)
ratings = rates(lambda text: 9 * min(1.0, max(0.0, worth(text) + NOISE.gauss(0, 0.1))))


def count_audits(noise: JudgeNoise | None, share: float, passes: Passes = ONE) -> int:
    return sum(plan_audit(passes, share, key, noise) != passes for key in KEYS)


def test_every_group_is_audited_until_the_noise_is_learnt() -> None:
    assert count_audits(None, 0.1) == len(KEYS)
    assert count_audits(JudgeNoise.from_sd(0.1), 0.1) == len(KEYS)  # configured, not learnt
    assert count_audits(None, 0.0) == 0


def test_then_a_share_of_the_groups_is_audited_by_content() -> None:
    audited = {key for key in KEYS if plan_audit(ONE, 0.1, key, LEARNT) != ONE}
    assert len(audited) == pytest.approx(200, abs=40)
    other = JudgeNoise(0.5, 9.0, groups=900)
    assert audited == {key for key in KEYS if plan_audit(ONE, 0.1, key, other) != ONE}
    assert count_audits(LEARNT, 1.0) == len(KEYS)
    assert count_audits(LEARNT, 0.0) == 0


def test_an_audit_is_a_second_pass_and_no_third() -> None:
    assert plan_audit(ONE, 1.0, KEYS[0], None) == Passes(min=2, max=2)
    adaptive = Passes(min=1, max=4, rollout_cost=3)
    assert plan_audit(adaptive, 1.0, KEYS[0], None) == Passes(min=2, max=4, rollout_cost=3)
    assert count_audits(None, 1.0, Passes(min=2, max=4)) == 0


async def test_one_pass_knows_its_judge_from_audited_groups(tmp_path: Path) -> None:
    """A judge that favours the first slots: its liking is taken out of one pass, too."""

    def first_slots(asked: Asked) -> Answer:
        places = {text: place for place, text in enumerate(asked.shown.values())}
        size = len(places)
        return scores(lambda text: worth(text) + 0.3 * (0.5 - places[text] / (size - 1)))(asked)

    async with (
        ScriptedJudge(always=first_slots).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=1, audit=0.1)) as opened,
    ):
        groups = [numbered(number, spread=0.4) for number in range(80)]
        rankings = [await opened.ranker.rank(group) for group in groups]
        calls, again = judge.calls, await opened.ranker.rank(groups[-1])
    early, late = rankings[:MIN_GROUPS], rankings[MIN_GROUPS:]
    assert [ranking.passes for ranking in early] == [2] * MIN_GROUPS
    orders = [list(asked.shown.values()) for asked in judge.asked[:2]]
    assert orders[0] == orders[1][::-1]
    single = [ranking for ranking in late if ranking.passes == 1]
    assert 0 < len(late) - len(single) < 15
    assert calls == judge.calls == sum(ranking.usage.calls for ranking in rankings)
    assert again.cached
    for ranking in single:
        assert ranking.noise
        assert ranking.noise.slots[0] - ranking.noise.slots[-1] == pytest.approx(0.3, abs=0.05)
        assert ranking.reliability is not None
        assert [result.rank for result in ranking.results] == [5, 4, 3, 2, 1]


async def test_an_audit_stays_within_the_budget(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=noisy(1)).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=1, audit=1, budget={"calls": 1})) as opened,
    ):
        ranking = await opened.ranker.rank(numbered(1))
    assert ranking.passes == ranking.usage.calls == judge.calls == 1
    assert ranking.results[0].stderr is None


async def test_without_audits_one_pass_stays_one_pass(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=noisy(1)).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=1, audit=0)) as opened,
    ):
        rankings = [await opened.ranker.rank(numbered(number)) for number in range(3)]
    assert judge.calls == 3
    assert all(ranking.noise is None and ranking.reliability is None for ranking in rankings)


async def test_pointwise_audits_are_second_ratings(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=ratings).serving() as judge,
        service(tmp_path, main=llm(judge.url, method="pointwise", passes=1, audit=0.1)) as opened,
    ):
        rankings = [await opened.ranker.rank(numbered(number)) for number in range(30)]
    assert rankings[0].usage.calls == 10
    single = next(ranking for ranking in rankings if ranking.passes == 1)
    assert single.usage.calls == 5
    assert single.results[0].stderr == pytest.approx(0.1, rel=0.3)
