"""Two judges on the same groups: how far their rewards agree."""

import json
from pathlib import Path
from typing import Any

import pytest

from podium_service.cli.commands.compare import compare_command
from podium_service.errors import PodiumError
from podium_service.evaluation.compare import count_sign_changes, top1_agreement
from podium_service.schemas import Ranking, RankRequest, TrajectoryResult, Usage
from podium_service.store.migrations.schema import open_database
from tests.fakes import ScriptedJudge, by_length, scores
from tests.service.evaluation.helpers import labelled, run_command, write_lines
from tests.service.helpers import group, judges_file, llm, service
from tests.service.store.asks.test_sent import agent

pytestmark = pytest.mark.anyio


def ranking(*rewards: float) -> Ranking:
    results = [
        TrajectoryResult(id=str(i), rank=1, reward=reward, score=None, stderr=None)
        for i, reward in enumerate(rewards)
    ]
    return Ranking(
        id="rk", group_id=None, judge="j", model=None, method="listwise", passes=1,
        results=results, reliability=None, cached=False, usage=Usage(),
    )  # fmt: skip


def test_opposite_and_one_sided_signs_are_counted_apart() -> None:
    first, second = ranking(1, 0.5, 0, 0.5), ranking(0, 0.75, 1, 0.25)
    assert count_sign_changes(first, second) == (2, 2, 4)
    assert count_sign_changes(first, first) == (0, 0, 4)
    assert count_sign_changes(ranking(0.5, 0.5), ranking(1, 0)) == (0, 2, 2)


def test_top1_agreement_shares_the_chance_among_ties() -> None:
    assert top1_agreement(ranking(1, 0, 0), ranking(0.4, 0.3, 0.3)) == 1
    assert top1_agreement(ranking(1, 0, 0), ranking(0, 1, 1)) == 0
    assert top1_agreement(ranking(1, 0, 0, 0), ranking(0.5, 0.5, 0.5, 0.5)) == (1 + 0.25) / 2


def by_brevity(text: str) -> float:
    return 1 - by_length(text)


async def compare(tmp_path: Path, config: Path, *arguments: str | Path) -> dict[str, Any]:
    store = ("--store", tmp_path / "podium.db", "--config", config)
    result = await run_command(
        compare_command, "--judges", "main,other", *store, *arguments, "--json"
    )
    if result.exception:
        raise result.exception
    return dict(json.loads(result.stdout))


async def test_stored_groups_are_shown_to_another_judge_unchanged(tmp_path: Path) -> None:
    groups = [
        group("6" * 40, "5" * 90, "7", task="Add.", group_id="sums", metadata={"step": 1}),
        {"trajectories": [
            {"id": "a", "messages": agent("I add", "5"), "finish_reason": "length"},
            {"id": "b", "messages": agent("", "no")},
        ]},
        group("same", "same"),
    ]  # fmt: skip
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as first,
        ScriptedJudge(always=scores(by_brevity)).serving() as second,
    ):
        judges = {"main": llm(first.url, passes=2), "other": llm(second.url, passes=2, model="n")}
        async with service(tmp_path, **judges) as opened:
            for each in groups:
                await opened.ranker.rank(RankRequest.model_validate(each))
        paid = first.calls
        config = judges_file(tmp_path / "judges.yaml", **judges)
        comparison = await compare(tmp_path, config)
        assert first.calls == paid == 4  # its own verdicts are found again
        texts = [sorted(asked.shown.values()) for asked in first.asked]
        assert sorted(map(str, texts)) == sorted(
            str(sorted(asked.shown.values())) for asked in second.asked
        )
        contexts = [{asked.text.split(" trajectories follow")[0] for asked in judge.asked}
                    for judge in (first, second)]  # fmt: skip
        assert contexts[0] == contexts[1]
        again = await compare(tmp_path, config, "--limit", "1")
    assert second.calls == 4
    assert comparison["groups"] == 2
    assert comparison["left_out"] == {"whose attempts are equal": 1}
    assert [(each["ranked"], each["stored"]) for each in comparison["judges"]] == [(2, 2), (2, 0)]
    [pair] = comparison["pairs"]
    assert pair["tau"]["value"] == -1
    assert pair["top1"]["value"] == 0
    assert pair["opposite"]["value"] + pair["one_sided"]["value"] >= 4 / 5
    assert again["groups"] == 1


async def test_groups_of_a_file_are_compared_and_printed_as_a_table(tmp_path: Path) -> None:
    data = write_lines(
        tmp_path / "groups.jsonl", labelled("66", "5", labels=[1, 0]), group("777", "7")
    )
    async with ScriptedJudge(always=scores(by_length)).serving() as judge:
        config = judges_file(
            tmp_path / "judges.yaml", main=llm(judge.url), other=llm(judge.url, model="[n]")
        )
        comparison = await compare(tmp_path, config, "--data", data)
        result = await run_command(
            compare_command, "--judges", "main,other", "--data", data, "--config", config,
            "--store", tmp_path / "podium.db",
        )  # fmt: skip
    [pair] = comparison["pairs"]
    assert pair["tau"]["value"] == 1
    assert pair["opposite"]["value"] == 0
    assert result.exit_code == 0
    rows = [line.split("│")[1:-1] for line in result.stdout.splitlines() if "│" in line]
    cells = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}
    assert cells["Ranked"] == ["2, 2 from the store", "2, 2 from the store"]
    assert cells["Kendall's tau of the rewards"] == ["1.000 [1.000, 1.000]"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--judges", "main"], "name two different judges"),
        (["--judges", "main,main"], "name two different judges"),
        (["--judges", "main,nobody"], "'nobody' is not configured"),
        (["--judges", "main,other"], "no stored group"),
        (["--judges", "main,other", "--deadline-s", "0"], "must be more than 0"),
    ],
)
async def test_an_impossible_comparison_is_a_known_error(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    judges = {"main": llm("http://127.0.0.1:1/v1"), "other": llm("http://127.0.0.1:1/v1")}
    config = judges_file(tmp_path / "judges.yaml", **judges)
    open_database(str(tmp_path / "podium.db")).close()
    data = write_lines(tmp_path / "groups.jsonl", group("5", "6"))
    from_file: list[str | Path] = ["--data", data] if "nobody" in arguments[1] else []
    result = await run_command(
        compare_command, *arguments, *from_file, "--config", config,
        "--store", tmp_path / "podium.db",
    )  # fmt: skip
    assert result.exit_code == 1
    assert isinstance(result.exception, PodiumError)
    assert message in str(result.exception)
