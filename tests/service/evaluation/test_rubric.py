"""`podium rubric suggest`: a judge drafts a rubric, which is checked and cached."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
import typer
from typer.testing import CliRunner, Result

from podium_service.cli.commands.rubric import suggest_command
from podium_service.errors import (
    ConfigError,
    ContextExceeded,
    JudgeRefused,
    JudgeUnavailable,
    PodiumError,
    VerdictInvalid,
    VerdictTruncated,
)
from podium_service.evaluation.rubric import parse_draft
from tests.fakes import ScriptedJudge, fails, says
from tests.service.helpers import group, judges_file, llm

pytestmark = pytest.mark.anyio

NAMES = ("Done", "Evidence", "Honesty", "Economy")
BULLETS = [
    f"**{name}**: look for tool results that show it. Gamed by: claiming it." for name in NAMES
]
DRAFT = "".join(f"- {bullet}\n" for bullet in BULLETS)


async def run_suggest(
    tmp_path: Path, server: ScriptedJudge, *arguments: str | Path, groups: int = 4, **judge: Any
) -> Result:
    """Run `podium rubric suggest` on a file of groups, in a thread of its own."""
    words = {"kind": "checks", "criteria": [{"check": "max_words", "words": 1}]}
    config = judges_file(tmp_path / "judges.yaml", main=llm(server.url, **judge), words=words)
    file = tmp_path / "groups.jsonl"
    file.write_text("".join(json.dumps(group(f"{i}", f"-{i}")) + "\n" for i in range(groups)))
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(suggest_command)
    options = ["--config", config, "--cache", tmp_path / "cache"]
    everything = list(map(str, [file, *options, *arguments]))
    return await anyio.to_thread.run_sync(lambda: CliRunner().invoke(app, everything))


async def test_a_draft_is_printed_and_paid_once(tmp_path: Path) -> None:
    async with ScriptedJudge([says(f"Here it is:\n\n{DRAFT}\nGood luck!")]).serving() as server:
        first = await run_suggest(tmp_path, server)
        again = await run_suggest(
            tmp_path, server, "--json", "--out", tmp_path / "new" / "rubric.md"
        )
    assert (first.exit_code, first.stdout) == (0, DRAFT)
    assert "a draft by main, 110 tokens" in first.stderr
    document = json.loads(again.stdout)
    assert (document["cached"], document["tokens"], document["rubric"]) == (True, 0, DRAFT)
    assert document["criteria"] == BULLETS
    assert (tmp_path / "new" / "rubric.md").read_text() == DRAFT
    assert (tmp_path / "cache" / f"{document['key']}.md").read_text() == DRAFT


async def test_the_judge_is_shown_the_first_groups_without_a_schema(tmp_path: Path) -> None:
    async with ScriptedJudge([says(DRAFT)]).serving() as server:
        await run_suggest(tmp_path, server, "--groups", "2")
    [asked] = server.asked
    assert "response_format" not in asked.body
    assert asked.text.count("</trajectory-") == 4
    assert "Task 2 of 2" in asked.text
    assert "\n-1\n" in asked.text
    assert "\n-2\n" not in asked.text


async def test_a_different_question_gets_its_own_draft(tmp_path: Path) -> None:
    async with ScriptedJudge(always=says(DRAFT)).serving() as server:
        await run_suggest(tmp_path, server)
        await run_suggest(tmp_path, server, "--groups", "1")
        await run_suggest(tmp_path, server, temperature=0.5)
        await run_suggest(tmp_path, server, passes=2)  # passes do not change a draft
    assert server.calls == 3


async def test_a_faulty_draft_is_corrected_once_and_then_refused(tmp_path: Path) -> None:
    script = [says("- Be good."), says(DRAFT), says("no"), says("- Be good.")]
    async with ScriptedJudge(script).serving() as server:
        assert (await run_suggest(tmp_path, server)).stdout == DRAFT
        failed = await run_suggest(tmp_path, server, "--groups", "1")
    assert "it has 1 bullets, not 4 to 8" in server.asked[1].text
    assert isinstance(failed.exception, VerdictInvalid)
    assert not list((tmp_path / "cache").glob("*.tmp"))
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (says(DRAFT[:90], finish_reason="length"), VerdictTruncated),
        (says(None, refusal="I cannot"), JudgeRefused),
        (says(None, finish_reason="content_filter"), JudgeRefused),
        (fails(500), JudgeUnavailable),
        (fails(400, "maximum context length is 9 tokens"), ContextExceeded),
    ],
)
async def test_a_failed_draft_raises_its_error_and_is_not_cached(
    step: Any, error: type[PodiumError], tmp_path: Path
) -> None:
    async with ScriptedJudge(always=step).serving() as server:
        result = await run_suggest(tmp_path, server, attempts=1)
    assert isinstance(result.exception, error)
    assert not (tmp_path / "cache").exists()


async def test_groups_are_trimmed_to_the_judges_context(tmp_path: Path) -> None:
    async with ScriptedJudge([says(DRAFT)]).serving() as server:
        file = tmp_path / "long.jsonl"
        file.write_text(json.dumps(group("x y " * 20_000, "5")))
        config = judges_file(tmp_path / "judges.yaml", main=llm(server.url, context_tokens=8192))
        app = typer.Typer(pretty_exceptions_enable=False)
        app.command()(suggest_command)
        arguments = [file, "--judge", "main", "--config", config, "--cache", tmp_path / "cache"]
        result = await anyio.to_thread.run_sync(
            lambda: CliRunner().invoke(app, list(map(str, arguments)))
        )
    assert result.exit_code == 0
    assert "<trimmed characters=" in server.asked[0].text
    assert len(server.asked[0].text) < 3 * 8192


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--judge", "words"], "is no LLM"),
        (["--judge", "nobody"], "not configured"),
        (["--out", "judges.yaml"], "is there already"),
    ],
)
async def test_a_wrong_option_is_an_error_before_any_call(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    arguments = [str(tmp_path / each) if each.endswith(".yaml") else each for each in arguments]
    async with ScriptedJudge().serving() as server:
        result = await run_suggest(tmp_path, server, *arguments)
    assert isinstance(result.exception, PodiumError)
    assert message in str(result.exception)
    assert server.calls == 0


async def test_a_cache_that_cannot_be_written_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with ScriptedJudge(always=says(DRAFT)).serving() as server:
        result = await run_suggest(tmp_path, server, "--cache", tmp_path / "file" / "cache")
    assert isinstance(result.exception, ConfigError)


def test_bullets_of_any_kind_become_one_line_each() -> None:
    broken = [bullet.replace(". Gamed", ".\n   - Gamed") for bullet in BULLETS]
    numbered = "".join(f"{number}. {each}\n\n" for number, each in enumerate(broken, start=1))
    assert parse_draft(f"<think>- not this one</think>\n{numbered}") == DRAFT


@pytest.mark.parametrize(
    ("bullets", "message"),
    [
        (BULLETS[:3], "3 bullets"),
        (BULLETS * 3, "12 bullets"),
        ([*BULLETS[:3], "Be good; gamed."], "criterion 4 has 15 characters"),
        ([*BULLETS[:3], BULLETS[3] + "x" * 900], "criterion 4 has 9"),
        ([*BULLETS[:3], "**Done**: look for what was really done, in tools."], "how it could be"),
        ([*BULLETS[:3], BULLETS[3] + " Worth 10 points."], "gives points"),
    ],
)
def test_an_unusable_list_raises_the_reason(bullets: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_draft("".join(f"- {bullet}\n" for bullet in bullets))
