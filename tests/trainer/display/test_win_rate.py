"""The win rate is what a person sees first of a run whose task has no score."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from podium_trainer.display.curve import draw_curve
from podium_trainer.display.watch import Lines, Screen
from podium_trainer.evaluation.win_rate import WinRate
from podium_trainer.records.metrics import JsonlFile
from tests.trainer import ranked
from tests.trainer.display.test_curve import pixels

ORANGE = (255, 127, 14)
WINS = [WinRate(0.5, 0.0, 32, 0), None, WinRate(0.625, 0.04, 31, 1)]
GROUPS = [ranked.group(["7", "8"], [0.25, 0.75], ["no", "yes"])]


def write_run(out: Path, score: float | None = None) -> Path:
    files = JsonlFile(out / "metrics.jsonl"), JsonlFile(out / "timings.jsonl")
    for step, wins in enumerate(WINS):
        rows = ranked.step_rows(GROUPS if step else [], score if wins else None, wins=wins)
        for file, row in zip(files, rows, strict=True):
            file.log(step, row)
    for file in files:
        file.close()
    return out


def test_a_log_shows_the_win_rate_in_place_of_a_score(tmp_path: Path) -> None:
    file = io.StringIO()
    lines = Lines(ranked.config(write_run(tmp_path), steps=3), file)
    lines.begin()
    lines.step_done(3, *ranked.step_rows(GROUPS, wins=WinRate(0.75, 0.05, 32, 0)))
    lines.close()
    text = file.getvalue()
    assert "step 3/3 · reward 0.500 ± 0.250 · win rate 0.750 ± 0.050 · 100% signal" in text
    assert "win rate against step 0\n" in text
    assert " 0.750 ┤" in text
    last = text.splitlines()[-1]
    assert last.startswith("3 steps in 0:24 · win rate 0.750 ± 0.050 · 32 prompts · ")


def test_a_log_shows_the_win_rate_beside_a_score(tmp_path: Path) -> None:
    file = io.StringIO()
    lines = Lines(ranked.config(write_run(tmp_path, 0.25), steps=3), file)
    lines.begin()
    lines.step_done(3, *ranked.step_rows(GROUPS, 0.375, wins=WINS[2]))
    lines.close()
    assert "· win rate 0.625 ± 0.040 · held out 0.375 ·" in file.getvalue()
    assert "held-out score\n" in file.getvalue()


@pytest.mark.parametrize("score", [None, 0.25])
def test_the_display_shows_the_last_win_rate(tmp_path: Path, score: float | None) -> None:
    console = Console(file=io.StringIO(), width=100, height=40, color_system=None)
    screen = Screen(ranked.config(write_run(tmp_path, score), steps=20), console)
    screen.begin()
    screen.step_done(3, *ranked.step_rows(GROUPS))
    console.print(screen.view())
    screen.close()
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "win rate    0.625 ± 0.040 · 31 prompts · 1 failed" in text
    assert ("0.250 · best 0.250" in text) == (score is not None)


def test_the_curve_draws_the_win_rate_and_its_interval(tmp_path: Path) -> None:
    draw_curve([write_run(tmp_path / "a")], tmp_path / "one.png")
    assert ORANGE in pixels(tmp_path / "one.png")[1]
    draw_curve([tmp_path / "a", write_run(tmp_path / "b")], tmp_path / "two.png")
    assert ORANGE in pixels(tmp_path / "two.png")[1]
    scored = ranked.write_run(tmp_path / "scored", [0.1, 0.2])
    draw_curve([scored], tmp_path / "none.png")
    assert ORANGE not in pixels(tmp_path / "none.png")[1]
