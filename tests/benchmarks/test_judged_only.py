import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.judged_only.__main__ import main, missing, read_runs, write
from benchmarks.judged_only.plot import draw, mean_over_runs
from benchmarks.judged_only.runs import Setup, preference, without_score
from podium_trainer.tasks.task import no_score
from tests.trainer.tiny import save_model

SETUP = Setup("model")


def run(arm: str, seed: int, *rates: float) -> dict[str, Any]:
    looks = [
        {"step": 5 * n, "win_rate": rate, "low": rate, "high": rate} for n, rate in enumerate(rates)
    ]
    return {"arm": arm, "seed": seed, "win_rates": looks}


@pytest.mark.parametrize(
    ("said", "liked"),
    [
        ("Rome.", 1.0),
        ("The capital of Italy is Rome.", 1.0),  # six words
        ("The capital city of Italy is Rome!", 0.75),
        ("The capital of Italy is", 0.0),
        ("It is Rome. Rome is old.", 0.0),
        ("the " * 10, -1.0),
        ("the " * 30, -2.0),
    ],
)
def test_the_judge_likes_one_whole_short_sentence(said: str, liked: float) -> None:
    asked = '<message role="user">\nWhat is the capital of Italy?\n</message>\n'
    assert preference(f'{asked}<message role="assistant">\n{said}\n</message>') == liked
    assert preference(said) == liked  # plain prompts show the answer alone


def test_the_task_has_no_score_and_trains_on_no_held_out_prompt() -> None:
    task = without_score(24)
    assert task.score is no_score
    assert len(task.held_out) == 24
    assert not {each.id for each in task.held_out} & {each.id for each in task.train}


def test_the_interval_over_runs_holds_what_differs_between_them() -> None:
    runs = [run("random", 0, 0.5, 0.3), run("random", 1, 0.5, 0.7), run("preference", 0, 0.5, 0.9)]
    before, after = mean_over_runs(runs, "random")
    assert (before["low"], before["win_rate"], before["high"]) == (0.5, 0.5, 0.5)
    # Two runs .4 apart have a standard error of .2, and t with one degree of freedom is 12.7.
    assert (after["low"], after["win_rate"], after["high"]) == (0.0, pytest.approx(0.5), 1.0)
    [_, alone] = mean_over_runs(runs, "preference")
    assert (alone["low"], alone["win_rate"], alone["high"], alone["runs"]) == (0.0, 0.9, 1.0, 1)


def test_runs_of_another_setup_are_done_again(tmp_path: Path) -> None:
    counts = {"preference": 1, "random": 2}
    path = tmp_path / "runs.json"
    assert read_runs(path, SETUP) == []
    write(path, SETUP, [run("preference", 0, 0.5, 0.8), run("random", 1, 0.5, 0.5)])
    assert missing(read_runs(path, SETUP), counts) == [("random", 0)]
    other = Setup("model", steps=7)
    assert missing(read_runs(path, other), counts) == [
        ("preference", 0), ("random", 0), ("random", 1)
    ]  # fmt: skip


def test_arms_with_unequal_numbers_of_runs_are_drawn(tmp_path: Path) -> None:
    runs = [run("preference", 0, 0.5, 0.8), run("random", 0, 0.5, 0.4), run("random", 1, 0.5, 0.6)]
    draw(runs, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.benchmark
def test_a_quick_run_compares_both_arms_and_writes_its_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(save_model(tmp_path / "model"))
    out, plot = tmp_path / "runs.json", tmp_path / "plot.png"
    main(model=model, quick=True, out=out, plot=plot)
    told = json.loads(out.read_text())
    assert {"torch", "openai"} <= set(told["machine"]["versions"])
    assert [(each["arm"], each["seed"]) for each in told["runs"]] == [
        ("preference", 0), ("random", 0)
    ]  # fmt: skip
    for each in told["runs"]:
        assert [look["step"] for look in each["win_rates"]] == [0, 1]
        assert each["win_rates"][-1]["win_rate_failed"] == 0
        assert each["judge_calls"] > 0
        assert each["eval_judge_calls"] > 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "random rewards, seed 0: win rate" in capsys.readouterr().out
    main(model=model, quick=True, out=out, plot=plot)
    again = capsys.readouterr().out
    assert "mean of runs" in again
    assert "seed 0" not in again
