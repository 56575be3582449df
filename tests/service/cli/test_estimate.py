"""`podium estimate`: tokens and dollars between two bounds, and no completion is asked for."""

import json
import re
from pathlib import Path

import pytest

from tests.fakes import ScriptedJudge, by_length, scores, whatever_is_asked
from tests.service.cli.helpers import WORDS, answers, write_groups
from tests.service.helpers import judges_file, llm
from tests.service.process import podium

pytestmark = pytest.mark.anyio
PRICE = {"prompt": 1.0, "completion": 10.0}


async def test_the_bounds_are_told_and_hold_what_is_spent(tmp_path: Path) -> None:
    file = write_groups(tmp_path / "groups.jsonl", answers("5", "six"), answers("7", "eight"))
    async with ScriptedJudge(always=scores(by_length)).serving() as judge:
        config = judges_file(
            tmp_path / "judges.yaml", main=llm(judge.url, passes={"min": 1, "max": 4}, price=PRICE)
        )
        told = await podium("estimate", file, "--json", "--config", config.name, cwd=tmp_path)
        shown = await podium("estimate", file, "--config", config.name, cwd=tmp_path)
        assert judge.calls == 0
        await podium("rank", file, "--config", config.name, cwd=tmp_path)
    assert (told.code, shown.code) == (0, 0)
    estimate = json.loads(told.out)
    least, most = estimate["least"], estimate["most"]
    assert estimate["groups"] == 2
    assert (least["calls"], most["calls"]) == (2, 8)
    assert 2 <= judge.calls <= 8
    # A prompt's tokens are between a fifth and, about, a third of its bytes.
    assert most["prompt_tokens"] == pytest.approx(4 * 5 / 3 * least["prompt_tokens"], rel=0.1)
    assert least["usd"] == pytest.approx(
        (least["prompt_tokens"] + 10 * least["completion_tokens"]) / 1e6
    )
    assert "2 groups" in shown.out
    found = re.search(r"US dollars +([\d.]+) to ([\d.]+)$", shown.out, re.MULTILINE)
    assert found
    assert [float(usd) for usd in found.groups()] == [
        pytest.approx(least["usd"], rel=0.05), pytest.approx(most["usd"], rel=0.05)
    ]  # fmt: skip


async def test_equals_juries_and_checks_are_counted_as_they_cost(tmp_path: Path) -> None:
    file = write_groups(
        tmp_path / "groups.jsonl",
        answers("5", "5", judge="one"),
        answers("5", "6", judge="both"),
        answers("5", "6", judge="words"),
    )
    async with ScriptedJudge().serving() as judge:
        config = judges_file(
            tmp_path / "judges.yaml",
            one=llm(judge.url, passes=2),
            two=llm(judge.url, passes=3, temperature=1),
            both={"kind": "jury", "members": ["one", "two"]},
            words=WORDS,
        )
        told = await podium("estimate", file, "--json", "--config", config.name, cwd=tmp_path)
    estimate = json.loads(told.out)
    assert estimate["least"]["calls"] == estimate["most"]["calls"] == 5
    assert estimate["most"]["usd"] is None
    assert any("the price of m is not known" in note for note in estimate["notes"])


async def test_what_is_asked_twice_is_counted_once(tmp_path: Path) -> None:
    file = write_groups(
        tmp_path / "groups.jsonl",
        answers("5", "six"),
        answers("six", "5"),
        answers("5", "six", judge="each"),
        answers("5", "seven", judge="each"),
    )
    async with ScriptedJudge(always=whatever_is_asked(by_length)).serving() as judge:
        config = judges_file(
            tmp_path / "judges.yaml",
            main=llm(judge.url, passes=2),
            each=llm(judge.url, method="yes_no", passes=1),
        )
        told = await podium("estimate", file, "--json", "--config", config.name, cwd=tmp_path)
        await podium("rank", file, "--config", config.name, cwd=tmp_path)
        assert judge.calls == 5
    estimate = json.loads(told.out)
    assert estimate["least"]["calls"] == estimate["most"]["calls"] == 5


async def test_a_budget_bounds_both_and_refuses_as_ranking_does(tmp_path: Path) -> None:
    file = write_groups(
        tmp_path / "groups.jsonl", answers("5", "six"), answers("5", "6", "7", judge="pairs")
    )
    async with ScriptedJudge(always=whatever_is_asked(by_length)).serving() as judge:
        config = judges_file(
            tmp_path / "judges.yaml",
            main=llm(judge.url, passes=4, budget={"calls": 2}),
            pairs=llm(judge.url, method="pairwise", budget={"calls": 3}),
        )
        told = await podium("estimate", file, "--json", "--config", config.name, cwd=tmp_path)
        await podium("rank", file, "--config", config.name, cwd=tmp_path)
        assert judge.calls == 2
    estimate = json.loads(told.out)
    assert estimate["least"]["calls"] == estimate["most"]["calls"] == 2
    assert told.code == 1
    assert "holds 3 calls, and 4 are needed to rank 3 trajectories" in estimate["faults"]["1"]


async def test_a_known_price_is_used_and_dated(tmp_path: Path) -> None:
    file = write_groups(tmp_path / "groups.jsonl", answers("5", "6"))
    async with ScriptedJudge().serving() as judge:
        config = judges_file(tmp_path / "j.yaml", main=llm(judge.url, model="gpt-5-mini"))
        shown = await podium("estimate", file, "--config", config.name, cwd=tmp_path)
    assert "main: price of gpt-5-mini as of 2025-11-13, check it" in shown.out


async def test_a_group_that_cannot_be_ranked_is_told(tmp_path: Path) -> None:
    file = write_groups(tmp_path / "groups.jsonl", answers("5", "6", judge="nobody"))
    finished = await podium("estimate", file, cwd=tmp_path)
    assert finished.code == 1
    assert "group 0 cannot be ranked: judge 'nobody' is not configured" in finished.err
    assert finished.out == ""


async def test_an_unknown_judge_is_told_once_and_nothing_else(tmp_path: Path) -> None:
    file = write_groups(tmp_path / "groups.jsonl", answers("5", "6"), answers("7", "8"))
    for more in ([], ["--json"]):
        finished = await podium("estimate", file, "--judge", "nope", *more, cwd=tmp_path)
        assert (finished.code, finished.out) == (1, "")
        said = "podium: judge 'nope' is not configured: use one of checks"
        assert finished.err.splitlines() == [said]


async def test_only_the_groups_that_can_be_ranked_are_counted(tmp_path: Path) -> None:
    nobodys = [answers("5", "6", judge="nobody")] * 7
    file = write_groups(tmp_path / "groups.jsonl", answers("5", "6", judge="words"), *nobodys)
    config = judges_file(tmp_path / "judges.yaml", words=WORDS)
    finished = await podium("estimate", file, "--config", config.name, cwd=tmp_path)
    assert finished.code == 1
    assert finished.out.startswith("1 of 8 groups\n")
    assert finished.err.splitlines()[-1] == "podium: 2 more groups cannot be ranked"
