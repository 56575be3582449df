"""`podium rank` and `podium judges` with --service: a running service is asked."""

from pathlib import Path

import pytest

from tests.fakes import ScriptedJudge
from tests.service.cli.helpers import answers, assert_one_line, parse_lines, write_groups
from tests.service.process import podium, running

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("key", [None, "podium-secret"])
async def test_a_service_ranks_as_the_command_alone_does(key: str | None, tmp_path: Path) -> None:
    environment = {"PODIUM_API_KEY": key} if key else {}
    file = write_groups(tmp_path / "groups.jsonl", answers("5", "6", group_id="a"), answers())
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
    ranked, failed = parse_lines(asked)
    assert ranked == parse_lines(alone)[0]
    assert failed["problem"]["code"] == "invalid_request"
    assert judges.code == 0
    assert "matches_reference" in judges.out
    if key:
        assert_one_line(stranger, "401")
        assert_one_line(lost, "401")


async def test_a_service_that_is_not_there_is_one_error_line(tmp_path: Path) -> None:
    file = write_groups(tmp_path / "group.json", answers("5", "6"))
    finished = await podium("rank", file, "--service", "http://127.0.0.1:1", cwd=tmp_path)
    assert_one_line(finished, "service_absent", "http://127.0.0.1:1", "podium serve")


async def test_a_service_that_is_no_podium_is_one_error_line(tmp_path: Path) -> None:
    async with ScriptedJudge().serving() as judge:  # it answers any GET with a list of models
        finished = await podium("judges", "--service", judge.url, cwd=tmp_path)
    assert_one_line(finished, judge.url)
