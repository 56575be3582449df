"""Two ranks train as one process does: the cases of worker.py, all in one pair of processes."""

import json
from typing import Any

import pytest

from tests.trainer.ranks.processes import running_ranks
from tests.trainer.ranks.worker import CASES, RUNS

pytestmark = pytest.mark.restart
LIMIT_S = 300.0
Found = dict[str, Any]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Return what two ranks and one process have found."""
    folder = tmp_path_factory.mktemp("ranks")
    command = ["-m", "tests.trainer.ranks.worker", str(folder)]
    with running_ranks(2, command, folder / "log") as processes:
        statuses = [process.wait(LIMIT_S) for process in processes]
    assert statuses == [0, 0], [(folder / f"log-{rank}").read_text() for rank in range(2)]
    return dict(json.loads((folder / "2.json").read_text()))


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"bfloat16"}))
def test_ranks_have_the_numbers_of_one_process(found: Found, name: str) -> None:
    one, many = found[name]["one"], found[name]["many"]
    assert len(one["stats"]) == len(many["stats"]) == 2
    for expected, actual in zip(one["stats"], many["stats"], strict=True):
        assert actual == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert many["weights"].keys() == one["weights"].keys()
    for name, sums in one["weights"].items():
        assert many["weights"][name] == pytest.approx(sums, rel=1e-5, abs=1e-7), name


def test_bfloat16_ranks_are_about_as_one_process_with_autocast(found: Found) -> None:
    one, many = found["bfloat16"]["one"], found["bfloat16"]["many"]
    for expected, actual in zip(one["stats"], many["stats"], strict=True):
        assert actual["grad_norm"] == pytest.approx(expected["grad_norm"], rel=0.1)
    for name, (_, square_sum) in one["weights"].items():
        assert many["weights"][name][1] == pytest.approx(square_sum, rel=0.02), name


@pytest.mark.parametrize("name", RUNS)
def test_checkpoints_resume_with_another_number_of_ranks(found: Found, name: str) -> None:
    one, many = found[name].pop("unbroken")
    assert many == pytest.approx(one, rel=1e-5, abs=1e-9)
    assert len(found[name]) == 4
    for resumed in found[name].values():
        assert resumed == [pytest.approx(one, rel=1e-5, abs=1e-9)]


def test_a_case_moves_the_weights(found: Found) -> None:
    first, *_, last = found["loss dapo"]["one"]["stats"]
    assert last["loss"] != pytest.approx(first["loss"], rel=1e-3)
    assert first["grad_norm"] > 0.05  # clipped, on all ranks by the norm of the whole gradient


def test_a_step_is_skipped_on_all_ranks_and_the_next_is_taken(found: Found) -> None:
    one, many = found["nan"]["one"], found["nan"]["many"]
    assert "the gradient's norm is nan" in many["said"] == one["said"]
    assert many["is_same"]
    assert many["is_finite"]
    assert many["stats"] == pytest.approx(one["stats"], rel=1e-5)


def test_ranks_in_the_middle_of_a_call_take_no_other(found: Found) -> None:
    stopped = found["stopped"]
    assert stopped["within"] == stopped["said"] == "rank 0 was stopped in the middle of 'gather'"
    assert "is_finite within" not in stopped
    assert stopped["after"] is None
    assert stopped["is_finite"]
    assert stopped["stopped"] == "rank 0 was stopped in the middle of 'open'"
