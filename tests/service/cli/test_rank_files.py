"""`podium rank` on files of other tools: every listed form, and files that hold no groups."""

import asyncio
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from docs.generate.files import FILES
from podium_service.cli.main import app
from tests.fakes import ScriptedJudge
from tests.service.cli.helpers import GOOD, assert_one_line, parse_lines
from tests.service.helpers import judges_file, llm
from tests.service.process import podium

pytestmark = pytest.mark.anyio


def lines(rows: Sequence[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


async def test_every_listed_form_is_ranked_by_a_judge(tmp_path: Path) -> None:
    async with ScriptedJudge(always=GOOD).serving() as judge:
        config = judges_file(tmp_path / "judges.yaml", main=llm(judge.url, passes=1))
        for number, file in enumerate(FILES):
            path = tmp_path / f"{number}.jsonl"
            path.write_text(lines(file.rows))
            options = ["--json", "--config", str(config), "--store", str(tmp_path / "podium.db")]
            result: Result = await asyncio.to_thread(
                CliRunner().invoke, app, ["rank", str(path), *options]
            )
            assert result.exit_code == 0, (file.what, result.output, result.exception)
            [line] = [json.loads(x) for x in result.stdout.splitlines()]
            rewards = {each["id"]: each["reward"] for each in line["ranking"]["results"]}
            assert len(rewards) == 2, file.what
            assert max(rewards.values()) > min(rewards.values()), file.what
            if file.name != "podium":
                assert f"taken for {file.name}, because" in result.stderr, file.what


async def test_rows_of_one_prompt_are_a_group_without_a_judges_file(tmp_path: Path) -> None:
    rows = [
        {
            "id": f"{asked}-{said}",
            "input": f"6 times {asked}?",
            "output": said,
            "gts": str(6 * asked),
        }
        for asked in (7, 8)
        for said in ("42", "48")
    ]
    (tmp_path / "1.jsonl.gz").write_bytes(gzip.compress(lines(rows).encode()))
    finished = await podium("rank", "1.jsonl.gz", "--json", cwd=tmp_path)
    assert finished.code == 0
    assert finished.err == (
        "1.jsonl.gz: taken for verl, because a row has output and gts: 2 groups, 4 attempts\n"
    )
    rewards = [
        {each["id"]: each["reward"] for each in line["ranking"]["results"]}
        for line in parse_lines(finished)
    ]
    assert rewards == [{"7-42": 1, "7-48": 0}, {"8-42": 0, "8-48": 1}]


async def test_a_row_that_cannot_be_read_is_left_out_by_name(tmp_path: Path) -> None:
    rows = [{"prompt": "6 x 7?", "completion": said, "gts": "42"} for said in ("42", "41")]
    (tmp_path / "rows.jsonl").write_text(lines([*rows, {"colour": "red"}]))
    finished = await podium("rank", "rows.jsonl", "--json", cwd=tmp_path)
    assert finished.code == 1
    assert "left out: rows.jsonl:3: no known format has the fields 'colour'" in finished.err
    assert [line["status"] for line in parse_lines(finished)] == ["ranked"]


async def test_convert_writes_the_groups_that_rank_takes(tmp_path: Path) -> None:
    rows = [{"prompt": "6 x 7?", "completion": said, "gts": "42"} for said in ("42", "41")]
    (tmp_path / "rows.jsonl").write_text(lines(rows))
    converted = await podium("convert", "rows.jsonl", cwd=tmp_path)
    assert converted.code == 0
    assert "taken for verl" in converted.err
    ranked = [
        await podium("rank", name, "--json", cwd=tmp_path, stdin=converted.out)
        for name in ("-", "rows.jsonl")
    ]
    assert ranked[0].err == ""
    [ours], [theirs] = map(parse_lines, ranked)
    assert ours["ranking"]["results"] == theirs["ranking"]["results"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["holds no groups"]),
        (b" \n\n", ["holds no groups"]),
        (b"\x80\x04\0\0", ["is binary"]),
        (b"PK\x03\x04abc", ["a zip archive: unpack it first"]),
        (b"\x1f\x8babc", ["broken gzip"]),
        (b'{"prompt": "a", "completion": "b"}\n{"prompt": \n', [":2: not JSON"]),
        (
            b'{"colour": "red"}',
            ["'colour'", 'name a format by --from, or write groups as {"trajectories"'],
        ),
        (b'"hello"', ["must be an object, not a text"]),
    ],
)
async def test_a_file_without_groups_is_one_line(
    content: bytes, words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(content)
    assert_one_line(await podium("rank", "file", cwd=tmp_path), *words)


async def test_a_folder_and_an_unknown_format_are_one_line(tmp_path: Path) -> None:
    assert_one_line(await podium("rank", ".", cwd=tmp_path), "is a folder")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}')
    finished = await podium("rank", "rows.jsonl", "--from", "xyz", cwd=tmp_path)
    assert_one_line(finished, "--from xyz: no such format", "auto", "sharegpt")
