"""The `podium` command: what it prints, and its exit status."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from podium_service import __version__
from podium_service.cli.commands.store import parse_age
from podium_service.store.database.database import Database
from tests.fakes import Answer, Asked, ScriptedJudge, by_length, scores
from tests.service.helpers import group, judges_file, llm
from tests.service.process import Finished, podium, running

pytestmark = pytest.mark.anyio

GOOD = scores(by_length)
WORDS = {"kind": "checks", "criteria": [{"check": "max_words", "words": 1}]}


def answers(*texts: str, **fields: Any) -> dict[str, Any]:
    """A group that the service ranks without a judges file: "5" is right."""
    return group(*texts, reference="5", **fields)


def written(path: Path, *groups: Any) -> str:
    """The name of a file with these groups, one a line."""
    path.write_text("".join(json.dumps(each) + "\n" for each in groups))
    return path.name


def parsed(finished: Finished) -> list[dict[str, Any]]:
    return [json.loads(line) for line in finished.out.splitlines()]


def assert_one_line(finished: Finished, *words: str) -> None:
    """It failed, and said why in one line on stderr."""
    assert finished.code == 1
    assert finished.out == ""
    [line] = finished.err.splitlines()
    assert line.startswith("podium: ")
    for word in words:
        assert word in line


def test_the_version_is_printed() -> None:
    finished = subprocess.run(
        [sys.executable, "-P", "-m", "podium_service", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout == f"podium {__version__}\n"
    assert finished.stderr == ""


# rank


async def test_one_group_is_a_table_of_ids_and_rewards(tmp_path: Path) -> None:
    file = written(tmp_path / "group.json", answers("6", "5", group_id="sums"))
    finished = await podium("rank", file, cwd=tmp_path)
    assert (finished.code, finished.err) == (0, "")
    assert "sums" in finished.out
    best, worst = (line for line in finished.out.splitlines() if "│ t" in line)
    assert [cell.strip() for cell in best.split("│")[1:6]] == ["1", "t1", "1.000", "1.000", "0.000"]
    assert [cell.strip() for cell in worst.split("│")[1:4]] == ["2", "t0", "0.000"]
    assert "meets all criteria" in best
    assert "rk_" in finished.out


async def test_many_groups_are_a_line_each(tmp_path: Path) -> None:
    groups = [answers("5", f"6{index}", group_id=f"sums-{index}") for index in range(9)]
    file = written(tmp_path / "groups.jsonl", *groups, group("5", group_id="alone"))
    finished = await podium("rank", file, cwd=tmp_path)
    assert finished.code == 1
    rows = [line for line in finished.out.splitlines() if "sums-" in line]
    assert len(rows) == 9
    assert all("t0" in row for row in rows)
    assert finished.out.count("rk_") == 9
    [failed] = [line for line in finished.out.splitlines() if "alone" in line]
    assert "invalid_request" in failed


async def test_json_is_a_line_for_each_group_in_their_order(tmp_path: Path) -> None:
    groups = [answers("5", "6", group_id="a"), answers("5", group_id="b"), answers("5", "7")]
    file = written(tmp_path / "groups.jsonl", *groups)
    finished = await podium("rank", file, "--json", cwd=tmp_path)
    assert finished.code == 1  # one of them failed
    lines = parsed(finished)
    assert [(line["index"], line["group_id"], line["status"]) for line in lines] == [
        (0, "a", "ranked"),
        (1, "b", "failed"),
        (2, None, "ranked"),
    ]
    assert [result["reward"] for result in lines[0]["ranking"]["results"]] == [1, 0]
    assert lines[1]["problem"]["code"] == "invalid_request"


@pytest.mark.parametrize(
    "form",
    [
        "{0}",
        "[{0}, {0}]",
        "{0}\n\n{0}\n",
        "{0}\r\n{0}\r\n",
    ],
    ids=["one object", "a list", "lines", "lines from Windows"],
)
async def test_groups_come_on_standard_input_in_any_form(form: str, tmp_path: Path) -> None:
    text = json.dumps(answers("5", "6\u2028"), ensure_ascii=False)
    finished = await podium("rank", "-", "--json", cwd=tmp_path, stdin=form.replace("{0}", text))
    assert finished.code == 0
    assert len(parsed(finished)) == form.count("{0}")


async def test_standard_input_without_groups_is_an_error(tmp_path: Path) -> None:
    assert_one_line(await podium("rank", "-", cwd=tmp_path, stdin=""), "- holds no groups")


async def test_a_bad_line_is_named_with_its_number(tmp_path: Path) -> None:
    file = written(tmp_path / "groups.jsonl", answers("5", "6"), answers("5", "7"))
    with (tmp_path / file).open("a") as opened:
        opened.write('{"trajectories": [\n')
    assert_one_line(await podium("rank", file, cwd=tmp_path), "groups.jsonl:3: not JSON")


async def test_a_fault_in_one_object_over_many_lines_is_named_with_its_line(
    tmp_path: Path,
) -> None:
    text = json.dumps(answers("5", "6"), indent=1).replace('"id": "t1",', '"id": "t1"')
    (tmp_path / "group.json").write_text(text)
    line = next(n for n, part in enumerate(text.splitlines(), start=1) if '"id": "t1"' in part)
    finished = await podium("rank", "group.json", cwd=tmp_path)
    assert_one_line(finished, f"group.json:{line + 1}: not JSON")


async def test_the_judge_option_overrides_the_judge_of_a_group(tmp_path: Path) -> None:
    config = judges_file(tmp_path / "judges.yaml", words=WORDS, other=WORDS)
    groups = [group("5", "6 7"), group("5", "6 7", judge=None), group("5", "6 7", judge="words")]
    file = written(tmp_path / "groups.jsonl", *groups)
    options = ("rank", file, "--json", "--config", config.name)
    chosen = await podium(*options, "--judge", "other", cwd=tmp_path)
    assert [line["ranking"]["judge"] for line in parsed(chosen)] == ["other"] * 3
    unchosen = await podium(*options, cwd=tmp_path)
    assert [line["ranking"]["judge"] for line in parsed(unchosen)] == ["words"] * 3


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["rank", "--help"]])
def test_version_and_help_load_no_slow_library(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['podium', *{arguments}]\n"
        "from podium_service.__main__ import main\n"
        "try: main()\n"
        "finally: print('loaded', *sorted(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.partition("loaded")[2].split())
    assert "podium_service.cli.main" in loaded
    slow = {"aiohttp", "fastapi", "httpx", "jinja2", "numpy", "openai", "scipy", "sqlalchemy"}
    assert not slow & loaded


async def test_many_groups_show_their_progress_to_a_person_and_not_to_a_program(
    tmp_path: Path,
) -> None:
    file = written(tmp_path / "groups.jsonl", *[answers("5", str(n)) for n in range(6, 9)])
    watched = await podium("rank", file, "--json", cwd=tmp_path, FORCE_COLOR="1")
    assert "3/3" in watched.err
    assert len(parsed(watched)) == 3
    unwatched = await podium("rank", file, "--json", cwd=tmp_path)
    assert unwatched.err == ""


async def test_what_a_terminal_would_obey_is_made_visible(tmp_path: Path) -> None:
    file = written(tmp_path / "group.json", answers("5", "6", group_id="\x1b]0;x\x07[red]\u202e"))
    finished = await podium("rank", file, cwd=tmp_path)
    assert finished.code == 0
    assert "\x1b" not in finished.out
    assert "\x07" not in finished.out
    assert "[red]" in finished.out


async def test_brackets_and_colons_of_judges_and_models_are_shown_as_they_are(
    tmp_path: Path,
) -> None:
    async with ScriptedJudge(always=GOOD).serving() as judge:
        odd = llm(judge.url, model="m[/a]:fire:", passes=1)
        config = judges_file(tmp_path / "judges.yaml", **{"j[/b]:-1:": odd})
        file = written(tmp_path / "group.json", answers("5", "6"))
        ranked = await podium("rank", file, "--config", config.name, cwd=tmp_path)
        listed = await podium("judges", "--config", config.name, cwd=tmp_path)
    assert (ranked.code, ranked.err) == (0, "")
    assert "j[/b]:-1: (m[/a]:fire:)" in ranked.out
    assert (listed.code, listed.err) == (0, "")
    assert "j[/b]:-1: (default)" in listed.out
    assert "m[/a]:fire:" in listed.out


@pytest.mark.parametrize("key", [None, "podium-secret"])
async def test_a_service_ranks_as_the_command_alone_does(key: str | None, tmp_path: Path) -> None:
    environment = {"PODIUM_API_KEY": key} if key else {}
    file = written(tmp_path / "groups.jsonl", answers("5", "6", group_id="a"), answers("5"))
    alone = await podium("rank", file, "--json", "--store", "own.db", cwd=tmp_path)
    with running("--store", "service.db", cwd=tmp_path, **environment) as process:
        assert process.url
        asked = await podium(
            "rank", file, "--json", "--service", process.url, cwd=tmp_path, **environment
        )
        stranger = await podium("rank", file, "--service", process.url, cwd=tmp_path)
        judges = await podium("judges", cwd=tmp_path, PODIUM_URL=process.url, **environment)
        lost = await podium("judges", "--service", process.url, cwd=tmp_path)
    assert (asked.code, asked.err) == (1, "")
    ranked, failed = parsed(asked)
    assert ranked == parsed(alone)[0]
    assert failed["problem"]["code"] == "invalid_request"
    assert judges.code == 0
    assert "matches_reference" in judges.out
    if key:
        assert_one_line(stranger, "401")
        assert_one_line(lost, "401")


async def test_a_service_that_is_not_there_is_a_failure_of_the_groups(tmp_path: Path) -> None:
    file = written(tmp_path / "group.json", answers("5", "6"))
    finished = await podium(
        "rank", file, "--json", "--service", "http://127.0.0.1:1", "--deadline-s", "0.5",
        cwd=tmp_path,
    )  # fmt: skip
    assert finished.code == 1
    [line] = parsed(finished)
    assert line["status"] == "failed"
    assert line["problem"]["retryable"] is True


# One line for whatever is wrong with what was typed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rank", "nowhere.json"], ["nowhere.json: cannot be read", "No such file"]),
        (["rank", "."], ["cannot be read"]),
        (["rank", "group.json", "--config", "nowhere.yaml"], ["nowhere.yaml: cannot be read"]),
        (["rank", "group.json", "--config", "bad.yaml"], ["bad.yaml:2: judges"]),
        (["serve", "--config", "bad.yaml"], ["bad.yaml:2: judges"]),
        (["judges", "--config", "bad.yaml"], ["bad.yaml:2: judges"]),
        (["rank", "group.json", "--store", "/nowhere/podium.db"], ["cannot be opened"]),
        (["rank", "group.json", "--store", "."], ["cannot be opened"]),
        (["rank", "group.json", "--store", "group.json"], ["not a database"]),
        (["rank", "group.json", "--store", "mysql://u:secret@h/x"], ["sqlite:///FILE"]),
        (["rank", "group.json", "--store", "x://"], ["sqlite:///FILE"]),
        (
            ["rank", "group.json", "--store", "postgresql://u:secret@127.0.0.1:1/x"],
            ["cannot be opened", "u:***@127.0.0.1"],
        ),
        (
            ["rank", "group.json", "--store", "postgresql://u:in@secret@127.0.0.1:1/x"],
            ["an @ in its password: write it as %40"],
        ),
        (["rank", "group.json", "--service", "nowhere"], ["nowhere"]),
        (["rank", "group.json", "--service", "http://u:secret@h"], ["user or password"]),
        (["rank", "group.json", "--service", "http://h", "--deadline-s", "-1"], ["deadline"]),
        (["rank", "group.json", "--deadline-s", "-1"], ["deadline"]),
        (["rank", "group.json", "--deadline-s", "nan"], ["deadline"]),
        (["judges", "--service", "nowhere"], ["nowhere"]),
        (["judges", "--service", "http://127.0.0.1:1"], ["127.0.0.1:1"]),
        (["replay", "rk_0"], ["the store podium.db does not exist", "--store"]),
        (["keys", "list", "--store", "sqlite:///no.db"], ["the store no.db does not exist"]),
        (["keys", "revoke", "x", "--store", "no.db"], ["the store no.db does not exist"]),
        (["store", "prune", "--older-than", "1d"], ["the store podium.db does not exist"]),
        (["compare", "--judges", "a,b"], ["the store podium.db does not exist"]),
        (["rank", "group.json", "--store", ":memory:"], [":memory:", "in memory", "podium.db"]),
        (["serve", "--store", "sqlite://"], [":memory:", "in memory", "podium.db"]),
        (["keys", "create", "x", "--store", "sqlite:///:memory:"], [":memory:", "in memory"]),
        (["store", "prune", "--older-than", "1d", "--store", ""], ["in memory", "podium.db"]),
        (["rank", "group.json", "--store", "sqlite://x.db"], ["sqlite:///FILE", "two slashes"]),
        (["serve", "--port", "65536"], ["port must be 0-65535: choose another --port"]),
        (["store", "prune", "--older-than", "1d", "--store", "group.json"], ["not a database"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
async def test_a_known_error_is_one_line_and_exit_status_1(
    arguments: list[str], words: list[str], tmp_path: Path
) -> None:
    written(tmp_path / "group.json", answers("5", "6"))
    (tmp_path / "bad.yaml").write_text("default_judge: x\njudges: []\n")
    finished = await podium(*arguments, cwd=tmp_path)
    assert_one_line(finished, *words)
    assert "secret" not in finished.err
    if "does not exist" in words[0]:
        assert not stores(tmp_path)


def stores(folder: Path) -> list[Path]:
    return list(folder.glob("*.db*"))


async def test_an_error_is_shown_as_it_is(tmp_path: Path) -> None:
    assert_one_line(await podium("serve", "--port", "-1", cwd=tmp_path), "127.0.0.1:-1: ")


async def test_a_store_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    file = written(tmp_path / "group.json", answers("5", "6"))
    assert (await podium("rank", file, cwd=tmp_path)).code == 0
    read_only = "sqlite:///file:podium.db?mode=ro&uri=true"
    finished = await podium(
        "store", "prune", "--older-than", "0s", "--store", read_only, cwd=tmp_path
    )
    assert_one_line(finished, "readonly database")


async def test_a_service_that_is_no_podium_is_one_line(tmp_path: Path) -> None:
    async with ScriptedJudge().serving() as judge:  # it answers any GET with a list of models
        finished = await podium("judges", "--service", judge.url, cwd=tmp_path)
    assert_one_line(finished, judge.url)


# replay


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
        file = written(tmp_path / "group.json", group(*texts))
        ranked = await podium("rank", file, "--json", "--config", config.name, cwd=tmp_path)
    ranking_id = parsed(ranked)[0]["ranking"]["id"]
    shown = await podium("replay", ranking_id, cwd=tmp_path)
    told = await podium("replay", ranking_id, "--json", cwd=tmp_path)
    assert (shown.code, told.code) == (0, 0)
    assert ranking_id in shown.out
    for asked in judge.asked:
        for message in asked.body["messages"]:
            assert message["content"] in shown.out
    for reply in replies:
        assert reply in shown.out
    replay = json.loads(told.out)
    assert replay["answer"]["id"] == ranking_id
    prompts = [call["messages"] for call in replay["calls"]]
    assert sorted(prompts, key=str) == sorted((a.body["messages"] for a in judge.asked), key=str)
    assert sorted(call["reply"] for call in replay["calls"]) == sorted(replies)


# store prune


def rows(store: Path) -> dict[str, int]:
    database = sqlite3.connect(store)
    quotas = ("windows", "buckets", "spending")
    tables = ("rankings", "past_groups", "calls", "texts", *quotas)
    counts = {
        table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables
    }
    database.close()
    return counts


async def test_prune_deletes_what_is_older_with_its_texts(tmp_path: Path) -> None:
    async with ScriptedJudge(always=GOOD).serving() as judge:
        config = judges_file(tmp_path / "judges.yaml", main=llm(judge.url, passes=2))
        options = ("--config", config.name, "--json")
        old = written(tmp_path / "old.json", group("old " * 100, "older " * 100))
        new = written(tmp_path / "new.json", group("new " * 100, "newer " * 100))
        first = await podium("rank", old, *options, cwd=tmp_path)
        store = tmp_path / "podium.db"
        only_old = rows(store)
        database = sqlite3.connect(store)
        for table in ("calls", "rankings"):
            database.execute(f"UPDATE {table} SET created_at = created_at - 2 * 86400")
        database.commit()
        database.close()
        second = await podium("rank", new, *options, cwd=tmp_path)
    both = rows(store)
    gone = await podium("store", "prune", "--older-than", "1d", "--json", cwd=tmp_path)
    assert gone.code == 0
    left = rows(store)
    deleted = json.loads(gone.out)
    assert deleted == {table: both[table] - left[table] for table in both}
    assert (deleted["rankings"], deleted["calls"], deleted["texts"]) == (1, 2, only_old["texts"])
    kept = await podium("replay", parsed(second)[0]["ranking"]["id"], cwd=tmp_path)
    assert kept.code == 0
    assert "newer newer" in kept.out
    lost = await podium("replay", parsed(first)[0]["ranking"]["id"], cwd=tmp_path)
    assert_one_line(lost, "no ranking", "in podium.db: see --store")


@pytest.mark.parametrize(
    ("age", "seconds"),
    [("90s", 90), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000), (" 1.5h ", 5400), ("0s", 0)],
)
def test_an_age_is_a_number_and_a_unit(age: str, seconds: float) -> None:
    assert parse_age(age) == seconds


@pytest.mark.parametrize("age", ["", "30", "d", "-1d", "1y", "1d2h", "1e3s", "٣d", "nan s"])
def test_what_is_no_age_is_refused(age: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no age"):
        parse_age(age)


async def test_prune_says_what_it_did_and_what_an_age_looks_like(tmp_path: Path) -> None:
    Database(str(tmp_path / "podium.db")).close()
    done = await podium("store", "prune", "--older-than", "30d", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "0 rankings, 0 past groups, 0 calls" in done.out
    assert "0 windows, 0 buckets, 0 spending" in done.out
    refused = await podium("store", "prune", "--older-than", "soon", cwd=tmp_path)
    assert refused.code == 2
    assert "'soon' is no age" in refused.err
    assert "Traceback" not in refused.err


# judges


async def test_judges_shows_who_answers_and_fails_if_one_does_not(tmp_path: Path) -> None:
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
