"""`podium replay` and `podium store prune`: stored rankings, shown and deleted."""

import json
import sqlite3
from pathlib import Path

import pytest
import typer

from podium_service.cli.commands.store import parse_age
from podium_service.store.migrations.schema import open_database
from tests.fakes import Answer, Asked, ScriptedJudge
from tests.service.cli.helpers import GOOD, answers, assert_one_line, parse_lines, write_groups
from tests.service.helpers import group, judges_file, llm
from tests.service.process import podium

pytestmark = pytest.mark.anyio


async def test_replay_prints_the_exact_prompts_and_replies(tmp_path: Path) -> None:
    long = "word " * 400
    texts = ["tab\tand  spaces \n\n  indented", f"[bold]{long}[/bold] :tada: \U0001f3c6 end"]
    replies: list[str] = []

    def kept(asked: Asked) -> Answer:
        answer = GOOD(asked)
        assert isinstance(answer.body, dict)
        replies.append(answer.body["choices"][0]["message"]["content"])
        return answer

    async with ScriptedJudge(always=kept).serving() as judge:
        config = judges_file(tmp_path / "judges.yaml", main=llm(judge.url, passes=2))
        file = write_groups(tmp_path / "group.json", group(*texts))
        ranked = await podium("rank", file, "--json", "--config", config.name, cwd=tmp_path)
    ranking_id = parse_lines(ranked)[0]["ranking"]["id"]
    shown = await podium("replay", ranking_id, "--prompts", cwd=tmp_path)
    brief = await podium("replay", ranking_id, cwd=tmp_path)
    told = await podium("replay", ranking_id, "--json", cwd=tmp_path)
    assert (shown.code, told.code) == (0, 0)
    assert ranking_id in shown.out
    for asked in judge.asked:
        for message in asked.body["messages"]:
            assert message["content"] in shown.out
    for reply in replies:
        assert reply in shown.out
    assert "word word" not in brief.out
    assert brief.out.count("\n") < 40
    replay = json.loads(told.out)
    assert replay["ranking"]["id"] == ranking_id
    assert [each["messages"][1]["content"] for each in replay["request"]["trajectories"]] == texts
    prompts = [call["messages"] for call in replay["calls"]]
    assert sorted(prompts, key=str) == sorted((a.body["messages"] for a in judge.asked), key=str)
    assert sorted(call["reply"] for call in replay["calls"]) == sorted(replies)


def count_rows(store: Path) -> dict[str, int]:
    database = sqlite3.connect(store)
    quotas = ("windows", "buckets", "spending")
    tables = ("rankings", "past_groups", "calls", "texts", "asks", "gold_sets", "notes",
              "transcripts", *quotas)  # fmt: skip
    counts = {
        table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables
    }
    database.close()
    return counts


async def test_prune_deletes_old_rankings_with_their_texts(tmp_path: Path) -> None:
    async with ScriptedJudge(always=GOOD).serving() as judge:
        config = judges_file(tmp_path / "judges.yaml", main=llm(judge.url, passes=2))
        options = ("--config", config.name, "--json")
        old = write_groups(tmp_path / "old.json", group("old " * 100, "older " * 100))
        new = write_groups(tmp_path / "new.json", group("new " * 100, "newer " * 100))
        first = await podium("rank", old, *options, cwd=tmp_path)
        store = tmp_path / "podium.db"
        only_old = count_rows(store)
        database = sqlite3.connect(store)
        for table in ("calls", "rankings"):
            database.execute(f"UPDATE {table} SET created_at = created_at - 2 * 86400")
        two_days = (2 * 86_400 * 10**6) << 11  # an ask's id holds its moment
        database.execute(f"UPDATE asks SET id = id - {two_days}")
        database.execute("UPDATE transcripts SET used_at = used_at - 2 * 86400")
        database.commit()
        database.close()
        second = await podium("rank", new, *options, cwd=tmp_path)
    both = count_rows(store)
    gone = await podium("store", "prune", "--older-than", "1d", "--json", cwd=tmp_path)
    assert gone.code == 0
    left = count_rows(store)
    deleted = json.loads(gone.out)
    assert deleted == {table: both[table] - left[table] for table in both}
    assert (deleted["rankings"], deleted["calls"], deleted["texts"]) == (1, 2, only_old["texts"])
    kept = await podium(
        "replay", "--prompts", parse_lines(second)[0]["ranking"]["id"], cwd=tmp_path
    )
    assert kept.code == 0
    assert "newer newer" in kept.out
    assert (deleted["asks"], deleted["transcripts"]) == (1, 1)
    lost = await podium("replay", parse_lines(first)[0]["ranking"]["id"], cwd=tmp_path)
    assert_one_line(lost, "no ranking", "in podium.db: see --store")


@pytest.mark.parametrize(
    ("age", "seconds"),
    [("90s", 90), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000), (" 1.5h ", 5400), ("0s", 0)],
)
def test_an_age_is_a_number_and_a_unit(age: str, seconds: float) -> None:
    assert parse_age(age) == seconds


@pytest.mark.parametrize("age", ["", "30", "d", "-1d", "1y", "1d2h", "1e3s", "٣d", "nan s"])
def test_a_text_that_is_no_age_is_refused(age: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no age"):
        parse_age(age)


async def test_prune_reports_its_deletions_and_explains_an_age(tmp_path: Path) -> None:
    open_database(str(tmp_path / "podium.db")).close()
    done = await podium("store", "prune", "--older-than", "30d", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "0 rankings, 0 past groups, 0 calls" in done.out
    assert "0 windows, 0 buckets, 0 spending" in done.out
    refused = await podium("store", "prune", "--older-than", "soon", cwd=tmp_path)
    assert refused.code == 2
    assert "'soon' is no age" in refused.err
    assert "Traceback" not in refused.err


async def test_a_store_that_cannot_be_written_is_one_error_line(tmp_path: Path) -> None:
    file = write_groups(tmp_path / "group.json", answers("5", "6"))
    assert (await podium("rank", file, cwd=tmp_path)).code == 0
    read_only = "sqlite:///file:podium.db?mode=ro&uri=true"
    finished = await podium(
        "store", "prune", "--older-than", "0s", "--store", read_only, cwd=tmp_path
    )
    assert_one_line(finished, "readonly database")
