"""`podium judges`: the configured judges, and which of them answer."""

import json
from pathlib import Path

import pytest

from tests.fakes import ScriptedJudge
from tests.service.cli.helpers import GOOD, WORDS, answers, write_groups
from tests.service.helpers import judges_file, llm
from tests.service.process import podium

pytestmark = pytest.mark.anyio


async def test_judges_shows_which_answer_and_fails_if_one_does_not(tmp_path: Path) -> None:
    async with ScriptedJudge().serving() as judge:
        main = llm(judge.url, api_key_env="JUDGE_KEY")
        judges_file(tmp_path / "well.yaml", main=main, words=WORDS)
        judges_file(tmp_path / "ill.yaml", main=main, dead=llm("http://127.0.0.1:1/v1"))
        environment = {"JUDGE_KEY": "sk-very-secret"}
        well = await podium("judges", cwd=tmp_path, PODIUM_CONFIG="well.yaml", **environment)
        ill = await podium("judges", "--config", "ill.yaml", cwd=tmp_path, **environment)
        told = await podium("judges", "--config", "ill.yaml", "--json", cwd=tmp_path, **environment)
    assert (well.code, ill.code, told.code) == (0, 1, 1)
    assert "main (default)" in well.out
    assert "listwise x 4" in well.out
    assert well.out.count("yes") == 2
    assert "no: http://127.0.0.1:1/v1" in ill.out
    by_name = {each["name"]: each for each in json.loads(told.out)}
    assert {name: each["answers"] for name, each in by_name.items()} == {
        "main": True,
        "dead": False,
    }
    assert "sk-very-secret" not in well.out + ill.out + told.out


async def test_markup_in_names_of_judges_and_models_is_shown_literally(
    tmp_path: Path,
) -> None:
    async with ScriptedJudge(always=GOOD).serving() as judge:
        odd = llm(judge.url, model="m[/a]:fire:", passes=1)
        config = judges_file(tmp_path / "judges.yaml", **{"j[/b]:-1:": odd})
        file = write_groups(tmp_path / "group.json", answers("5", "6"))
        ranked = await podium("rank", file, "--config", config.name, cwd=tmp_path)
        listed = await podium("judges", "--config", config.name, cwd=tmp_path)
    assert (ranked.code, ranked.err) == (0, "")
    assert "j[/b]:-1: (m[/a]:fire:)" in ranked.out
    assert (listed.code, listed.err) == (0, "")
    assert "j[/b]:-1: (default)" in listed.out
    assert "m[/a]:fire:" in listed.out
