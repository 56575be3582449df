"""Files of groups: plain, as requests, and with labels."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from podium_service.cli.main import app
from podium_service.errors import InvalidRequest, MalformedJSON, PodiumError
from podium_service.evaluation.labelled_groups import (
    parse_group,
    read_labelled_groups,
    read_requests,
)
from tests.service.evaluation.helpers import labelled, write_lines
from tests.service.helpers import group


def test_a_pair_is_a_group_whose_winner_has_the_higher_label() -> None:
    request, labels = parse_group({"task": "Add.", "a": "5", "b": "6", "winner": "b"}, "x:1")
    assert labels == [0, 1]
    assert request.task == "Add."
    assert [each.messages[0].text for each in request.trajectories] == ["5", "6"]
    assert parse_group({"a": "5", "b": "6", "winner": "tie"}, "x:1")[1] == [0.5, 0.5]


def test_a_pair_may_have_what_a_group_has() -> None:
    pair = {"a": "5", "b": "6", "winner": "a", "reference": 5, "rubric": "Add.", "group_id": 7}
    request, _ = parse_group(pair, "x:1")
    assert (request.reference, request.rubric, request.group_id) == ("5", "Add.", "7")


def test_labels_follow_the_order_of_the_trajectories(tmp_path: Path) -> None:
    value = group("5", "6", labels={"t1": 2, "t0": 7.5})
    [labelled_group] = read_labelled_groups(write_lines(tmp_path / "groups.jsonl", value))
    assert labelled_group.labels == [7.5, 2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"trajectories": [', "not JSON"),
        ("[1, 2]", "a group must be an object, not list"),
        (json.dumps(group("5", "6")), "labels must be"),
        (json.dumps(labelled("5", "6", labels=[1])), "labels: none for 't1'"),
        (json.dumps(labelled("5", "6", labels=[1, 0, 2])), "labels: no trajectory 't2'"),
        (json.dumps(group("5", "6", labels={"t0": 1, "t1": True})), "labels.t1 must be a finite"),
        (json.dumps(labelled("5", "6", labels=[1, 0], tsak="x")), "tsak: no such field"),
        (json.dumps(labelled("5", labels=[1])), "two trajectories or more"),
        ('{"a": "5", "b": 6, "winner": "a"}', "b must be a text"),
        ('{"a": "5", "b": "6", "winner": "c"}', "winner must be a, b or tie"),
        ('{"a": "5", "b": "6", "winner": ["a"]}', "winner must be a, b or tie"),
        ('{"a": "5", "b": "6", "winner": "a", "why": ""}', "why: no such field"),
    ],
)
def test_an_error_names_the_bad_line_and_the_rule(line: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "groups.jsonl"
    file.write_text(json.dumps(labelled("5", "6", labels=[1, 0])) + "\n\n" + line + "\n")
    with pytest.raises(PodiumError) as error_info:
        read_labelled_groups(file)
    assert str(error_info.value).startswith(f"{file}:3: ")
    assert message in str(error_info.value)
    assert "\n" not in str(error_info.value)
    assert len(read_labelled_groups(file, limit=1)) == 1


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MalformedJSON, match="cannot be read"):
        read_labelled_groups(tmp_path / "none.jsonl")


@pytest.mark.parametrize("text", ["", " \n\n", "[]"])
@pytest.mark.parametrize(
    "command",
    [
        ["rank"],
        ["calibrate", "--judge", "main", "--data"],
        ["compare", "--judges", "main,other", "--data"],
        ["rubric", "suggest", "--judge", "main"],
    ],
    ids=lambda command: command[0],
)
def test_a_file_without_groups_is_an_error(command: list[str], text: str, tmp_path: Path) -> None:
    file = tmp_path / "groups.jsonl"
    file.write_text(text)
    result = CliRunner(env={"PODIUM_STORE": str(tmp_path / "podium.db")}).invoke(
        app, [*command, str(file)]
    )
    assert isinstance(result.exception, InvalidRequest)
    assert str(result.exception) == (
        f"{file} holds no groups: write one group a line, or a JSON list"
    )


def test_read_requests_accepts_groups_with_and_without_labels(tmp_path: Path) -> None:
    file = write_lines(
        tmp_path / "groups.jsonl", group("5", "6"), labelled("5", "6", labels=[1, 0])
    )
    assert [len(request.trajectories) for request in read_requests(file)] == [2, 2]
    with pytest.raises(InvalidRequest, match=r"groups\.jsonl:1: labels must be"):
        read_labelled_groups(file)
