"""`podium judges`: the configured judges, and which of them answer."""

import json
from pathlib import Path

import pytest

from podium_service.judges.registry import lists_model
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
    assert "auto x 4" in well.out
    assert well.out.count("yes") == 2
    assert "no: http://127.0.0.1:1/v1" in ill.out
    by_name = {each["name"]: each for each in json.loads(told.out)}
    assert {name: each["answers"] for name, each in by_name.items()} == {
        "main": True,
        "dead": False,
    }
    assert "sk-very-secret" not in well.out + ill.out + told.out


async def test_a_model_that_no_endpoint_lists_is_told(tmp_path: Path) -> None:
    async with ScriptedJudge().serving() as judge:
        judge.models = {"data": [{"id": "gpt-5-mini"}, {"id": "gpt-5-nano"}]}
        config = judges_file(
            tmp_path / "judges.yaml",
            well=llm(judge.url, model="gpt-5-mini"),
            typo=llm(judge.url, model="gpt-5-minni"),
        )
        finished = await podium("judges", "--config", config.name, "--json", cwd=tmp_path)
        shown = await podium("judges", "--config", config.name, cwd=tmp_path)
    assert (finished.code, shown.code) == (1, 1)
    typo, well = json.loads(finished.out)
    assert well["endpoints"][0]["lists_model"] is True
    assert typo["answers"] is True
    assert typo["endpoints"][0]["lists_model"] is False
    assert typo["endpoints"][0]["detail"] == (
        f"{judge.url} does not list the model gpt-5-minni: it lists gpt-5-mini"
    )
    assert "yes, but" in shown.out


@pytest.mark.parametrize(
    ("base_url", "model", "entry", "expected"),
    [
        ("http://a/v1", "m", {"id": "m"}, True),
        ("http://a/v1", "m", {"id": "other"}, False),
        ("http://a/v1", "m", {"id": "/x/m.gguf", "owned_by": "llamacpp"}, True),
        ("http://a/v1", "m", {"id": "x", "aliases": ["m"]}, True),
        ("http://a/v1", "llama3", {"id": "llama3:latest"}, True),
        ("http://a/v1", "x/y:free", {"id": "x/y"}, True),
        ("http://a/v1", "gemini-pro", {"id": "models/gemini-pro"}, True),
        ("http://a/v1", "openai/gpt-5", {"id": "openai/*"}, True),
        ("http://a/v1", "gpt-5", {"id": "openai/*"}, False),
        ("https://us.openai.azure.com/v1", "deployment-7", {"id": "gpt-5"}, True),
    ],
)
def test_names_by_which_a_server_lists_a_model(
    base_url: str, model: str, entry: dict[str, str], expected: bool
) -> None:
    assert lists_model(base_url, model, [entry]) is expected
    assert lists_model(base_url, model, [])


async def test_a_missing_v1_is_added_and_told(tmp_path: Path) -> None:
    async with ScriptedJudge(always=GOOD).serving() as judge:
        bare = judge.url.removesuffix("/v1")
        config = judges_file(tmp_path / "judges.yaml", main=llm(bare, passes=1))
        listed = await podium("judges", "--config", config.name, "--json", cwd=tmp_path)
        file = write_groups(tmp_path / "group.json", answers("5", "6"))
        ranked = await podium(
            "rank", file, "--config", config.name, "--log-level", "warning", cwd=tmp_path
        )
    [main] = json.loads(listed.out)
    assert (listed.code, ranked.code) == (0, 0)
    assert main["base_urls"] == [judge.url]
    assert main["endpoints"][0]["detail"] == f"{judge.url} (/v1 was added to the URL)"
    assert "base_url_completed" in ranked.err


async def test_markup_in_names_of_judges_and_models_is_shown_literally(
    tmp_path: Path,
) -> None:
    async with ScriptedJudge(always=GOOD).serving() as judge:
        odd = llm(judge.url, model="m[/a]:fire:", passes=1)
        judge.models = {"data": [{"id": "m[/a]:fire:"}]}
        config = judges_file(tmp_path / "judges.yaml", **{"j[/b]:-1:": odd})
        file = write_groups(tmp_path / "group.json", answers("5", "6"))
        ranked = await podium("rank", file, "--config", config.name, cwd=tmp_path)
        listed = await podium("judges", "--config", config.name, cwd=tmp_path)
    assert (ranked.code, ranked.err) == (0, "")
    assert "j[/b]:-1: (m[/a]:fire:)" in ranked.out
    assert (listed.code, listed.err) == (0, "")
    assert "j[/b]:-1: (default)" in listed.out
    assert "m[/a]:fire:" in listed.out
