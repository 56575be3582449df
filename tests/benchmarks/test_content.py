from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from benchmarks.content import (
    damage_ladder,
    damage_ladders,
    labelled,
    real_groups,
    synthetic_groups,
    truth_by_case,
)
from benchmarks.judges.simulated import by_case
from podium_service.http.requests.body import validate
from podium_service.prompts.transcript import transcribe
from podium_service.schemas import RankRequest


def test_made_up_groups_have_the_wanted_truth_and_varied_lengths() -> None:
    groups = list(synthetic_groups(200, 8, 1.0, np.random.default_rng(1)))
    truth = np.array([each.truth for each in groups])
    lengths = np.array(
        [[len(orjson.dumps(t)) for t in each.group["trajectories"]] for each in groups]
    )
    assert truth.std() == pytest.approx(1.0, abs=0.05)
    assert np.log2(lengths).std() > 0.3
    assert abs(np.corrcoef(truth.ravel(), np.log2(lengths).ravel())[0, 1]) < 0.08
    assert len(truth_by_case(groups)) == 1600
    again = list(synthetic_groups(200, 8, 1.0, np.random.default_rng(1)))
    assert again == groups


def test_groups_without_signal_are_all_equal_in_truth_only() -> None:
    (group,) = synthetic_groups(1, 8, 0.0, np.random.default_rng(1))
    assert set(group.truth) == {0.0}
    assert len(set(group.cases)) == 8


def test_a_judge_finds_the_truth_in_what_the_service_shows_it() -> None:
    (group,) = synthetic_groups(1, 8, 1.0, np.random.default_rng(2))
    transcript = transcribe(validate(RankRequest, group.group), range(8))
    truth_of = by_case(group.by_case)
    found = [truth_of(body) for body in transcript.bodies]
    assert found == [group.truth[members[0]] for members in transcript.members]


def test_identical_trajectories_stay_identical() -> None:
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    members = [{"id": name, "messages": messages} for name in ("a", "b")]
    group = {"group_id": "g", "task": None, "trajectories": members}
    same = labelled(group, [1.0, 1.0])
    assert len(transcribe(validate(RankRequest, same.group), range(2)).bodies) == 1
    assert labelled(group, [1.0, 0.0]).truth == [1.0, 0.0]


def a_win() -> list[dict[str, Any]]:
    """Return a tau-bench win of the shape they have: lookups, consent, the act, the report."""

    def call(number: int, name: str, arguments: str) -> list[dict[str, Any]]:
        function = {"name": name, "arguments": arguments}
        calls = [{"id": f"c{number}", "type": "function", "function": function}]
        result = f"done: {arguments}"
        return [
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": f"c{number}", "content": result},
        ]

    return [
        {"role": "user", "content": "Move my flight."},
        *call(1, "get_user_details", '{"user_id": "mia_1"}'),
        {"role": "assistant", "content": "Which one?"},
        {"role": "user", "content": "The one in May."},
        *call(2, "get_reservation_details", '{"reservation_id": "HX1"}'),
        {"role": "assistant", "content": "Shall I move it to May 9?"},
        {"role": "user", "content": "Yes."},
        *call(3, "update_reservation_flights", '{"reservation_id": "HX1", "date": "2024-05-09"}'),
        {"role": "assistant", "content": "It is moved."},
    ]


def ladder_of(messages: list[dict[str, Any]]) -> Any:
    trajectories = [{"id": "t", "messages": messages}]
    return damage_ladder({"group_id": "g", "task": "Move it.", "trajectories": trajectories})


def test_a_ladder_has_five_valid_steps_in_strictly_falling_order() -> None:
    ladder = ladder_of(a_win())
    assert validate(RankRequest, ladder.group)
    assert len(set(ladder.cases)) == 5
    assert ladder.truth == sorted(ladder.truth, reverse=True)
    assert len(set(ladder.truth)) == 5
    assert [t["id"] for t in ladder.group["trajectories"]] == list(ladder.by_id)


def test_each_step_of_a_ladder_does_the_damage_its_name_says() -> None:
    steps = {t["id"]: t for t in ladder_of(a_win()).group["trajectories"]}
    texts = {name: orjson.dumps(step["messages"]).decode() for name, step in steps.items()}
    assert "2024-05-09" in texts["whole"]
    assert "2024-05-00" in texts["wrong-argument"]
    assert "2024-05-09" not in texts["wrong-argument"]
    assert "update_reservation_flights" not in texts["act-dropped"]
    assert "get_reservation_details" in texts["act-dropped"]
    assert "get_reservation_details" not in texts["truncated"]
    assert steps["truncated"]["finish_reason"] == "length"
    assert "done everything" in texts["claim-without-act"]
    assert len(steps["claim-without-act"]["messages"]) == len(steps["truncated"]["messages"]) + 1


def test_a_trajectory_that_changes_nothing_makes_no_ladder() -> None:
    with pytest.raises(ValueError, match="nothing that can be left out"):
        ladder_of(a_win()[:5])


def test_recorded_groups_have_scaled_labels_and_ladders(tmp_path: Path) -> None:
    lost = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "No."}]
    candidates = [
        {"id": "t0-0", "label": 0.0, "messages": lost},
        {"id": "t0-1", "label": 1.0, "messages": a_win()},
    ]
    row = {"source": "tau-bench", "task": 0, "instruction": "Move it.", "candidates": candidates}
    path = tmp_path / "groups.jsonl"
    path.write_bytes(orjson.dumps(row) + b"\n")
    (group,) = real_groups("taubench", path)
    assert group.by_id == {"t0-0": -1.0, "t0-1": 1.0}
    assert b"label" not in orjson.dumps(group.group)
    (ladder,) = damage_ladders(path)
    assert ladder.group["group_id"] == "ladder/taubench-airline/0/t0-1"
