"""Juries: jurors that fail are named, and jurors that are fooled are overruled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from podium_service.errors import DeadlineExceeded, JudgeUnavailable, PodiumError, QuorumMissed
from podium_service.ranking.kinds import jury_ranking
from podium_service.ranking.pipeline import Ranker
from podium_service.schemas import Ranking
from tests.fakes import ScriptedJudge, Step, fails, hangs, says, scores
from tests.service.helpers import client, group, llm, request, service
from tests.service.ranking.worth import noisy, worth

pytestmark = pytest.mark.anyio

WORDS = tuple(f"worth 0.{digit}" for digit in range(1, 9))
SD = 0.05


def fooled(seed: int) -> Step:
    random = Random(seed)

    def score(text: str) -> float:
        return 1.0 if "0.1" in text else min(1.0, max(0.0, worth(text) + random.gauss(0, SD)))

    return scores(score)


@asynccontextmanager
async def jury(
    tmp_path: Path, *steps: Step, **settings: Any
) -> AsyncIterator[tuple[Ranker, list[ScriptedJudge]]]:
    """Serve a jury of these judges, called a, b and c."""
    names = "abcdef"[: len(steps)]
    judges = [ScriptedJudge(always=step) for step in steps]
    async with (
        judges[0].serving(),
        judges[1].serving(),
        judges[2].serving(),
    ):
        jurors = {
            name: llm(judge.url, model=f"model-{name}", attempts=1)
            for name, judge in zip(names, judges, strict=True)
        }
        main = {"kind": "jury", "members": list(names), **settings}
        async with service(tmp_path, main=main, **jurors) as opened:
            yield opened.ranker, judges


def statuses(ranking: Ranking) -> dict[str, str]:
    return {juror.judge: juror.status for juror in ranking.jurors}


async def test_jurors_are_combined_and_each_is_reported(tmp_path: Path) -> None:
    async with jury(tmp_path, noisy(1, SD), noisy(2, SD, stretch=0.5), noisy(3, SD)) as (
        ranker,
        judges,
    ):
        ranking = await ranker.rank(request(*WORDS))
    assert [judge.calls for judge in judges] == [4, 4, 4]
    assert (ranking.method, ranking.model, ranking.usage.calls) == ("jury", None, 12)
    assert [result.rank for result in ranking.results] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert statuses(ranking) == {"a": "counted", "b": "counted", "c": "counted"}
    assert sum(juror.weight for juror in ranking.jurors) == pytest.approx(1)
    assert all((juror.agreement or 0) > 0.8 for juror in ranking.jurors)
    assert [juror.model for juror in ranking.jurors] == ["model-a", "model-b", "model-c"]


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (fails(401), "judge_rejected"),
        (fails(500), "judge_unavailable"),
        (says("?"), "verdict_invalid"),
        (says(None, refusal="no"), "judge_refused"),
    ],
)
async def test_a_juror_that_fails_is_named_and_the_others_count(
    tmp_path: Path, failure: Step, code: str
) -> None:
    async with jury(tmp_path, noisy(1, SD), failure, noisy(3, SD)) as (ranker, _):
        ranking = await ranker.rank(request(*WORDS))
    assert statuses(ranking) == {"a": "counted", "b": "failed", "c": "counted"}
    failed = next(juror for juror in ranking.jurors if juror.judge == "b")
    assert (failed.code, failed.weight) == (code, 0)
    assert [result.rank for result in ranking.results] == [8, 7, 6, 5, 4, 3, 2, 1]


async def test_a_juror_that_hangs_drops_out_within_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jury_ranking, "_JURORS_SHARE", 0.2)
    async with jury(tmp_path, noisy(1, SD), noisy(2, SD), hangs) as (ranker, _):
        clock = asyncio.get_running_loop().time
        started = clock()
        ranking = await ranker.rank(request(*WORDS, deadline_s=30))
        assert clock() - started < 30
    assert statuses(ranking)["c"] == "failed"
    assert ranking.jurors[-1].code == "deadline_exceeded"


async def test_a_juror_with_a_full_queue_drops_out(tmp_path: Path) -> None:
    async with jury(tmp_path, noisy(1, SD), noisy(2, SD), hangs) as (ranker, judges):
        third = ranker.judges.roster.llms["c"]
        third.queues.admission._max_waiting = 0
        ranking = await ranker.rank(request(*WORDS))
    assert statuses(ranking) == {"a": "counted", "b": "counted", "c": "failed"}
    assert (ranking.jurors[-1].code, judges[2].calls) == ("overloaded", 0)


async def test_a_missed_quorum_is_a_typed_failure(tmp_path: Path) -> None:
    async with jury(tmp_path, noisy(1, SD), fails(401), fails(404)) as (ranker, _):
        with pytest.raises(QuorumMissed, match=r"1 of 3 jurors.*2 are needed: b: .*401.*c: .*404"):
            await ranker.rank(request(*WORDS))


@pytest.mark.parametrize(
    ("failure", "kind"), [(fails(500), JudgeUnavailable), (hangs, DeadlineExceeded)]
)
async def test_a_missed_quorum_is_retryable_if_one_failure_is(
    tmp_path: Path, failure: Step, kind: type[PodiumError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jury_ranking, "_JURORS_SHARE", 0.2)
    async with jury(tmp_path, noisy(1, SD), fails(401), failure) as (ranker, _):
        with pytest.raises(kind, match="1 of 3 jurors ranked the group") as caught:
            await ranker.rank(request(*WORDS, deadline_s=30.0))
    assert caught.value.retryable


async def test_the_settings_decide_the_quorum(tmp_path: Path) -> None:
    async with jury(tmp_path, noisy(1, SD), fails(401), fails(401), quorum=1) as (ranker, _):
        ranking = await ranker.rank(request(*WORDS))
    assert statuses(ranking) == {"a": "counted", "b": "failed", "c": "failed"}
    async with jury(tmp_path, noisy(1, SD), noisy(2, SD), fails(401), quorum=3) as (ranker, _):
        with pytest.raises(QuorumMissed, match="3 are needed"):
            await ranker.rank(request("worth 0.1", "worth 0.9"))


async def test_a_jury_whose_jurors_all_fail_gives_no_ranking(tmp_path: Path) -> None:
    async with jury(tmp_path, fails(401), says("?"), fails(403)) as (ranker, _):
        with pytest.raises(QuorumMissed, match="0 of 3"):
            await ranker.rank(request(*WORDS))


async def test_a_jury_that_fails_is_replaced_by_its_fallback(tmp_path: Path) -> None:
    """The third judge is the fallback of the jury of the first two."""
    judges = [ScriptedJudge(always=step) for step in (fails(401), fails(401), noisy(1, SD))]
    async with judges[0].serving(), judges[1].serving(), judges[2].serving():
        urls = zip("abc", judges, strict=True)
        jurors = {name: llm(judge.url, model=name) for name, judge in urls}
        main = {"kind": "jury", "members": ["a", "b"], "fallback": ["c"]}
        async with service(tmp_path, main=main, **jurors) as opened:
            ranking = await opened.ranker.rank(request(*WORDS))
    assert (ranking.judge, ranking.fallback_from, ranking.jurors) == ("c", "main", [])


async def test_a_fooled_juror_is_overruled_and_named(tmp_path: Path) -> None:
    async with jury(tmp_path, noisy(1, SD), fooled(2), noisy(3, SD)) as (ranker, _):
        ranking = await ranker.rank(request(*WORDS))
    attacker = ranking.results[0]
    assert attacker.rank == 8
    assert attacker.reward < 0.1
    by_name = {juror.judge: juror for juror in ranking.jurors}
    assert by_name["b"].overruled == ["t0"] or by_name["b"].status == "rejected"
    assert by_name["a"].overruled == by_name["c"].overruled == []


async def test_identical_trajectories_ask_no_juror(tmp_path: Path) -> None:
    async with jury(tmp_path, noisy(1, SD), noisy(2, SD), noisy(3, SD)) as (ranker, judges):
        ranking = await ranker.rank(request("worth 0.5", "worth 0.5"))
    assert [judge.calls for judge in judges] == [0, 0, 0]
    assert [(r.reward, r.rank, r.score) for r in ranking.results] == [(0.5, 1.5, None)] * 2
    assert ranking.reliability == 0


async def test_a_second_request_gets_the_jurys_stored_answer(tmp_path: Path) -> None:
    async with jury(tmp_path, noisy(1, SD), noisy(2, SD), noisy(3, SD)) as (ranker, judges):
        first = await ranker.rank(request(*WORDS))
        again = await ranker.rank(request(*WORDS))
    assert sum(judge.calls for judge in judges) == 12
    assert (again.cached, again.usage.calls, again.id) == (True, 0, first.id)
    assert again.results == first.results


async def test_a_retry_after_a_missed_quorum_reuses_verdicts(
    tmp_path: Path,
) -> None:
    healed: list[bool] = []

    def flaky(asked: Any) -> Any:
        return (noisy(2, SD) if healed else fails(401))(asked)

    async with jury(tmp_path, noisy(1, SD), flaky, fails(401)) as (ranker, judges):
        with pytest.raises(QuorumMissed):
            await ranker.rank(request(*WORDS))
        healed.append(True)
        await ranker.rank(request(*WORDS))
    assert judges[0].calls == 4


async def test_the_response_reports_each_juror(tmp_path: Path) -> None:
    judges = [
        ScriptedJudge(always=step)
        for step in (noisy(1, SD), noisy(2, SD), scores(lambda text: 0.5))
    ]
    async with judges[0].serving(), judges[1].serving(), judges[2].serving():
        jurors = {
            name: llm(judge.url, model=name) for name, judge in zip("abc", judges, strict=True)
        }
        main = {"kind": "jury", "members": ["a", "b", "c"]}
        async with service(tmp_path, main=main, **jurors) as opened, client(opened) as http:
            body = (await http.post("/rank", json=group(*WORDS))).json()
    assert [juror["judge"] for juror in body["jurors"]] == ["a", "b", "c"]
    tied = body["jurors"][2]
    assert (tied["weight"], tied["reliability"]) == (0, 0)
    assert body["results"][7]["rank"] == 1
