"""The learning curve: a real picture of what the files say, and one of blocks."""

import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from podium_trainer.display.curve import (
    CurveError,
    draw_curve,
    main,
    on_common_steps,
    text_curve,
    title,
)
from tests.trainer import ranked

NAN = float("nan")


def pixels(png: Path) -> tuple[tuple[int, int], set[tuple[int, ...]]]:
    """Return width and height, and all colours."""
    from PIL import Image

    with Image.open(png) as image:
        found = image.convert("RGB").getcolors(1 << 20)
    return image.size, {colour for _, colour in found or [] if isinstance(colour, tuple)}


def test_one_run_becomes_a_picture_with_all_three_lines(tmp_path: Path) -> None:
    run = ranked.write_run(tmp_path / "run", [0.1, None, 0.4, None, 0.8])
    draw_curve([run], tmp_path / "curve.png")
    size, colours = pixels(tmp_path / "curve.png")
    assert size == (960, 720)
    assert {(44, 160, 44), (31, 119, 180), (127, 127, 127)} <= colours


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    run = ranked.write_run(tmp_path / "run", [0.1, 0.4])
    for name in ("a.png", "b.png"):
        draw_curve([run], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_several_runs_become_a_mean_within_their_range(tmp_path: Path) -> None:
    runs = [
        ranked.write_run(tmp_path / f"seed-{seed}", [0.1 * seed, 0.3, None, 0.2 * seed], 0.1 * seed)
        for seed in range(5)
    ]
    draw_curve(runs, tmp_path / "all.png")
    draw_curve(runs[:1], tmp_path / "one.png")
    assert title(runs) == "addition · model-1B · 5 runs"
    assert (tmp_path / "all.png").read_bytes() != (tmp_path / "one.png").read_bytes()


def test_the_mean_covers_the_steps_that_all_runs_have() -> None:
    lines = [[(0, 0.0), (10, 0.5), (20, 1.0)], [(0, 0.5), (20, 0.0)]]
    assert on_common_steps(lines) == [(0, [0.0, 0.5]), (20, [1.0, 0.0])]
    assert on_common_steps([[(0, 0.0)], [(1, 0.0)]]) == []


@pytest.mark.parametrize("scores", [[None], [None, None], [0.5], [NAN, 0.2]])
def test_a_run_with_few_numbers_has_a_picture(tmp_path: Path, scores: list[float | None]) -> None:
    draw_curve([ranked.write_run(tmp_path, scores)], tmp_path / "curve.png")
    assert pixels(tmp_path / "curve.png")[0] == (960, 720)


def test_dollars_in_a_name_are_not_a_formula(tmp_path: Path) -> None:
    run = ranked.write_run(tmp_path / "run", [0.1, 0.2])
    (run / "config.yaml").write_text("task: {name: '$\\frac{'}\nmodel: {path: '$x_'}\n")
    draw_curve([run], tmp_path / "curve.png")
    assert title([run]) == "$\\frac{ · $x_"


def test_a_run_without_config_is_titled_by_its_folder(tmp_path: Path) -> None:
    run = ranked.write_run(tmp_path / "run", [0.1])
    for text in ("[", "5", "task: 1", "{task: {name: a}}"):
        (run / "config.yaml").write_text(text)
        assert title([run]) == "run"


def test_a_folder_without_a_step_is_named(tmp_path: Path) -> None:
    with pytest.raises(CurveError, match=r"nothing: metrics\.jsonl has no step"):
        draw_curve([tmp_path / "nothing"], tmp_path / "curve.png")


def test_the_curve_command_draws_or_prints_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, png = ranked.write_run(tmp_path / "run", [0.1, 0.4]), tmp_path / "curve.png"
    assert main([str(run), str(run), "--out", str(png)]) == 0
    assert png.is_file()
    assert main([str(tmp_path / "none"), "--out", str(png)]) == 1
    (run / "metrics.jsonl").write_text("no json\n")
    assert main([str(run), "--out", str(png)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_matplotlib_is_loaded_only_to_draw() -> None:
    code = "import sys, podium_trainer.display.curve; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_text_curve_fits_and_rises_with_the_scores(width: int) -> None:
    lines = text_curve([(0, 0.0), (10, 0.5), (40, 1.0)], width)
    assert max(map(cell_len, lines)) <= width
    top, bottom = lines[1], lines[-2]
    assert top.startswith(" 1.000 ┤  ")
    assert top.endswith("█")
    assert bottom.startswith("     0 ┤ ")
    assert bottom.count("█") > width * 0.7
    assert lines[-1].split() == ["step", "0", "40"]


def test_the_text_curve_needs_two_scores_and_some_width() -> None:
    assert text_curve([], 80) == []
    assert text_curve([(0, 0.5)], 80) == []
    assert text_curve([(0, 0.5), (1, 0.5)], 20) == []
    assert text_curve([(3, 0.5), (3, 0.6)], 80) == []


def test_scores_of_zero_are_a_flat_line() -> None:
    lines = text_curve([(0, 0.0), (5, 0.0)], 80)
    assert not any(set("▁▂▃▄▅▆▇█") & set(line) for line in lines)
