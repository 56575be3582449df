"""Juries over the wire: who fails is named, who is fooled is overruled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from podium_service.errors import DeadlineExceeded, JudgeUnavailable, PodiumError, QuorumMissed
from podium_service.judges.llm_judge import EndpointJudge
from podium_service.ranking.kinds import jury_ranking
from podium_service.ranking.pipeline import Ranker
from podium_service.schemas import Ranking
from tests.fakes import ScriptedJudge, Step, fails, hangs, says, scores
from tests.service.helpers import client, group, llm, request, service

pytestmark = pytest.mark.anyio

WORDS = tuple(f"worth 0.{digit}" for digit in range(1, 9))


def worth(text: str) -> float:
    return float(text.split("worth ")[1][:3])


def honest(seed: int, sd: float = 0.05, stretch: float = 1.0) -> Step:
    random = Random(seed)
    return scores(lambda text: min(1.0, max(0.0, stretch * worth(text) + random.gauss(0, sd))))


def fooled(seed: int) -> Step:
    random = Random(seed)

    def score(text: str) -> float:
        return 1.0 if "0.1" in text else min(1.0, max(0.0, worth(text) + random.gauss(0, 0.05)))

    return scores(score)


@asynccontextmanager
async def jury(
    tmp_path: Path, *steps: Step, **settings: Any
) -> AsyncIterator[tuple[Ranker, list[ScriptedJudge]]]:
    """A jury of as many jurors, called a, b, c, ..."""
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
    async with jury(tmp_path, honest(1), honest(2, stretch=0.5), honest(3)) as (ranker, judges):
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
    async with jury(tmp_path, honest(1), failure, honest(3)) as (ranker, _):
        ranking = await ranker.rank(request(*WORDS))
    assert statuses(ranking) == {"a": "counted", "b": "failed", "c": "counted"}
    failed = next(juror for juror in ranking.jurors if juror.judge == "b")
    assert (failed.code, failed.weight) == (code, 0)
    assert [result.rank for result in ranking.results] == [8, 7, 6, 5, 4, 3, 2, 1]


async def test_a_juror_that_hangs_drops_out_within_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jury_ranking, "_JURORS_SHARE", 0.2)
    async with jury(tmp_path, honest(1), honest(2), hangs) as (ranker, _):
        clock = asyncio.get_running_loop().time
        started = clock()
        ranking = await ranker.rank(request(*WORDS, deadline_s=30))
        assert clock() - started < 30
    assert statuses(ranking)["c"] == "failed"
    assert ranking.jurors[-1].code == "deadline_exceeded"


async def test_a_juror_whose_line_is_full_drops_out(tmp_path: Path) -> None:
    async with jury(tmp_path, honest(1), honest(2), hangs) as (ranker, judges):
        third = ranker.judges.roster.llms["c"]
        assert isinstance(third, EndpointJudge)
        third._calls._admission._max_waiting = 0
        ranking = await ranker.rank(request(*WORDS))
    assert statuses(ranking) == {"a": "counted", "b": "counted", "c": "failed"}
    assert (ranking.jurors[-1].code, judges[2].calls) == ("overloaded", 0)


async def test_a_missed_quorum_is_a_typed_failure(tmp_path: Path) -> None:
    async with jury(tmp_path, honest(1), fails(401), fails(404)) as (ranker, _):
        with pytest.raises(QuorumMissed, match=r"1 of 3 jurors.*2 are needed: b: .*401.*c: .*404"):
            await ranker.rank(request(*WORDS))


@pytest.mark.parametrize(
    ("failure", "kind"), [(fails(500), JudgeUnavailable), (hangs, DeadlineExceeded)]
)
async def test_a_missed_quorum_is_worth_a_retry_if_one_failure_is(
    tmp_path: Path, failure: Step, kind: type[PodiumError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jury_ranking, "_JURORS_SHARE", 0.2)
    async with jury(tmp_path, honest(1), fails(401), failure) as (ranker, _):
        with pytest.raises(kind, match="1 of 3 jurors ranked the group") as caught:
            await ranker.rank(request(*WORDS, deadline_s=30.0))
    assert caught.value.retryable


async def test_the_quorum_is_what_the_config_says(tmp_path: Path) -> None:
    async with jury(tmp_path, honest(1), fails(401), fails(401), quorum=1) as (ranker, _):
        ranking = await ranker.rank(request(*WORDS))
    assert statuses(ranking) == {"a": "counted", "b": "failed", "c": "failed"}
    async with jury(tmp_path, honest(1), honest(2), fails(401), quorum=3) as (ranker, _):
        with pytest.raises(QuorumMissed, match="3 are needed"):
            await ranker.rank(request("worth 0.1", "worth 0.9"))


async def test_when_all_jurors_fail_there_is_no_number(tmp_path: Path) -> None:
    async with jury(tmp_path, fails(401), says("?"), fails(403)) as (ranker, _):
        with pytest.raises(QuorumMissed, match="0 of 3"):
            await ranker.rank(request(*WORDS))


async def test_a_jury_that_fails_goes_to_its_fallback(tmp_path: Path) -> None:
    """The last judge of three stands beside the jury of the first two."""
    judges = [ScriptedJudge(always=step) for step in (fails(401), fails(401), honest(1))]
    async with judges[0].serving(), judges[1].serving(), judges[2].serving():
        urls = zip("abc", judges, strict=True)
        jurors = {name: llm(judge.url, model=name) for name, judge in urls}
        main = {"kind": "jury", "members": ["a", "b"], "fallback": ["c"]}
        async with service(tmp_path, main=main, **jurors) as opened:
            ranking = await opened.ranker.rank(request(*WORDS))
    assert (ranking.judge, ranking.fallback_from, ranking.jurors) == ("c", "main", [])


async def test_a_fooled_juror_is_overruled_and_named(tmp_path: Path) -> None:
    async with jury(tmp_path, honest(1), fooled(2), honest(3)) as (ranker, _):
        ranking = await ranker.rank(request(*WORDS))
    attacker = ranking.results[0]
    assert attacker.rank == 8
    assert attacker.reward < 0.1
    by_name = {juror.judge: juror for juror in ranking.jurors}
    assert by_name["b"].overruled == ["t0"] or by_name["b"].status == "rejected"
    assert by_name["a"].overruled == by_name["c"].overruled == []


async def test_identical_trajectories_ask_no_juror(tmp_path: Path) -> None:
    async with jury(tmp_path, honest(1), honest(2), honest(3)) as (ranker, judges):
        ranking = await ranker.rank(request("worth 0.5", "worth 0.5"))
    assert [judge.calls for judge in judges] == [0, 0, 0]
    assert [(r.reward, r.rank, r.score) for r in ranking.results] == [(0.5, 1.5, None)] * 2
    assert ranking.reliability == 0


async def test_a_jurys_answer_comes_from_the_store_the_second_time(tmp_path: Path) -> None:
    async with jury(tmp_path, honest(1), honest(2), honest(3)) as (ranker, judges):
        first = await ranker.rank(request(*WORDS))
        again = await ranker.rank(request(*WORDS))
    assert sum(judge.calls for judge in judges) == 12
    assert (again.cached, again.usage.calls, again.id) == (True, 0, first.id)
    assert again.results == first.results


async def test_jurors_that_answer_are_paid_once_though_the_quorum_was_missed(
    tmp_path: Path,
) -> None:
    healed: list[bool] = []

    def flaky(asked: Any) -> Any:
        return (honest(2) if healed else fails(401))(asked)

    async with jury(tmp_path, honest(1), flaky, fails(401)) as (ranker, judges):
        with pytest.raises(QuorumMissed):
            await ranker.rank(request(*WORDS))
        healed.append(True)
        await ranker.rank(request(*WORDS))
    assert judges[0].calls == 4


async def test_jurors_on_the_wire(tmp_path: Path) -> None:
    judges = [
        ScriptedJudge(always=step) for step in (honest(1), honest(2), scores(lambda text: 0.5))
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
