"""`podium rank`: the forms of its input, and the tables and lines that it prints."""

import json
from pathlib import Path

import pytest

from tests.service.cli.helpers import WORDS, answers, assert_one_line, parse_lines, write_groups
from tests.service.helpers import group, judges_file
from tests.service.process import podium

pytestmark = pytest.mark.anyio


async def test_one_group_is_a_table_of_ids_and_rewards(tmp_path: Path) -> None:
    file = write_groups(tmp_path / "group.json", answers("6", "5", group_id="sums"))
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
    file = write_groups(tmp_path / "groups.jsonl", *groups, group(group_id="empty"))
    finished = await podium("rank", file, cwd=tmp_path)
    assert finished.code == 1
    count_rows = [line for line in finished.out.splitlines() if "sums-" in line]
    assert len(count_rows) == 9
    assert all("t0" in row for row in count_rows)
    assert finished.out.count("rk_") == 9
    [failed] = [line for line in finished.out.splitlines() if "empty" in line]
    assert "invalid_request" in failed


async def test_json_is_a_line_for_each_group_in_their_order(tmp_path: Path) -> None:
    groups = [answers("5", "6", group_id="a"), answers(group_id="b"), answers("5", "7")]
    file = write_groups(tmp_path / "groups.jsonl", *groups)
    finished = await podium("rank", file, "--json", cwd=tmp_path)
    assert finished.code == 1  # one of them failed
    lines = parse_lines(finished)
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
    assert len(parse_lines(finished)) == form.count("{0}")


async def test_standard_input_without_groups_is_an_error(tmp_path: Path) -> None:
    assert_one_line(await podium("rank", "-", cwd=tmp_path, stdin=""), "- holds no groups")


async def test_a_bad_line_is_named_by_its_number(tmp_path: Path) -> None:
    file = write_groups(tmp_path / "groups.jsonl", answers("5", "6"), answers("5", "7"))
    with (tmp_path / file).open("a") as opened:
        opened.write('{"trajectories": [\n')
    assert_one_line(await podium("rank", file, cwd=tmp_path), "groups.jsonl:3: not JSON")


async def test_a_fault_in_an_object_over_many_lines_names_its_line(
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
    file = write_groups(tmp_path / "groups.jsonl", *groups)
    options = ("rank", file, "--json", "--config", config.name)
    chosen = await podium(*options, "--judge", "other", cwd=tmp_path)
    assert [line["ranking"]["judge"] for line in parse_lines(chosen)] == ["other"] * 3
    unchosen = await podium(*options, cwd=tmp_path)
    assert [line["ranking"]["judge"] for line in parse_lines(unchosen)] == ["words"] * 3


async def test_progress_is_shown_to_a_terminal_alone(
    tmp_path: Path,
) -> None:
    file = write_groups(tmp_path / "groups.jsonl", *[answers("5", str(n)) for n in range(6, 9)])
    watched = await podium("rank", file, "--json", cwd=tmp_path, FORCE_COLOR="1")
    assert "3/3" in watched.err
    assert len(parse_lines(watched)) == 3
    unwatched = await podium("rank", file, "--json", cwd=tmp_path)
    assert unwatched.err == ""


async def test_control_characters_of_a_group_are_made_visible(tmp_path: Path) -> None:
    file = write_groups(
        tmp_path / "group.json", answers("5", "6", group_id="\x1b]0;x\x07[red]\u202e")
    )
    finished = await podium("rank", file, cwd=tmp_path)
    assert finished.code == 0
    assert "\x1b" not in finished.out
    assert "\x07" not in finished.out
    assert "[red]" in finished.out
