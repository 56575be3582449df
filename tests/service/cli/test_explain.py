"""`podium explain`: the judge's words about a stored ranking, asked for afterwards."""

import json
from pathlib import Path

import pytest

from tests.fakes import Answer, Asked, ScriptedJudge, names_best, says, says_yes
from tests.service.cli.helpers import GOOD, assert_one_line, parse_lines, write_groups
from tests.service.helpers import group, judges_file, llm
from tests.service.process import podium

pytestmark = pytest.mark.anyio

STEPS = {
    "listwise": GOOD,
    "best_of": names_best(lambda text: float(len(text))),
    "yes_no": says_yes(lambda text: len(text) / 9),
}


@pytest.mark.parametrize("method", STEPS)
async def test_the_judge_is_shown_its_verdict_and_asked_why(tmp_path: Path, method: str) -> None:
    def step(asked: Asked) -> Answer:
        if asked.body["messages"][-1]["content"].startswith("Why?"):
            return says("Because five is right.")(asked)
        return STEPS[method](asked)

    async with ScriptedJudge(always=step).serving() as judge:
        main = llm(judge.url, method=method, passes=1)
        config = judges_file(tmp_path / "judges.yaml", main=main)
        file = write_groups(tmp_path / "group.json", group("5", "five"))
        ranked = await podium("rank", file, "--json", "--config", config.name, cwd=tmp_path)
        ranking_id = parse_lines(ranked)[0]["ranking"]["id"]
        calls = judge.calls
        shown = await podium("explain", ranking_id, "--config", config.name, cwd=tmp_path)
        told = await podium("explain", ranking_id, "--json", "--config", config.name, cwd=tmp_path)
    assert (shown.code, told.code) == (0, 0), shown.err
    assert "Because five is right." in shown.out
    words = json.loads(told.out)
    expected = 2 if method == "yes_no" else 1  # calls that show both trajectories
    assert len(words) == expected
    assert judge.calls == calls + 2 * expected
    *_, verdict, question = judge.asked[-1].body["messages"]
    assert (verdict["role"], verdict["content"]) == ("assistant", words[-1]["verdict"])
    assert question["role"] == "user"
    assert "response_format" not in judge.asked[-1].body


async def test_a_ranking_without_calls_has_nothing_to_explain(tmp_path: Path) -> None:
    file = write_groups(tmp_path / "group.json", group("5", "five", reference="5"))
    ranked = await podium("rank", file, "--json", cwd=tmp_path)
    ranking_id = parse_lines(ranked)[0]["ranking"]["id"]
    assert_one_line(await podium("explain", ranking_id, cwd=tmp_path), "nothing to explain")
    assert_one_line(await podium("explain", "rk_none", cwd=tmp_path), "no ranking 'rk_none'")


async def test_explaining_keeps_to_the_spend_of_the_judge(tmp_path: Path) -> None:
    async with ScriptedJudge(always=GOOD).serving() as judge:
        bounds = {"price": {"completion": 1000}, "spend": {"usd": 1e-6, "per": "total"}}
        configs = [
            judges_file(tmp_path / name, main=llm(judge.url, passes=1, **more))
            for name, more in {"free.yaml": {}, "bound.yaml": bounds}.items()
        ]
        file = write_groups(tmp_path / "group.json", group("5", "five"))
        ranked = await podium("rank", file, "--json", "--config", configs[0].name, cwd=tmp_path)
        ranking_id = parse_lines(ranked)[0]["ranking"]["id"]
        calls = judge.calls
        refused = await podium("explain", ranking_id, "--config", configs[1].name, cwd=tmp_path)
    assert_one_line(refused, "does not fit what is left of $1e-06 per total")
    assert judge.calls == calls
