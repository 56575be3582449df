"""What a person sees: nothing leaves its place, nothing that a model wrote reaches the terminal."""

import io
import os
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from podium_trainer.display.completions import (
    choose_groups,
    completions_lines,
    completions_view,
    shown_attempts,
)
from podium_trainer.display.dashboard import seconds_left
from podium_trainer.display.history import History
from podium_trainer.display.text import BLOCKS, cut, duration, sparkline, visible
from podium_trainer.display.watch import Lines, Screen, open_watcher
from tests.trainer import ranked

FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800]")
WIDTHS = pytest.mark.parametrize("width", [80, 120])
HOSTILE_GROUP = ranked.group(
    ranked.HOSTILE, [0.1, 0.9, 0.2, 0.8, 0.5, 0.3, 0.4], ranked.HOSTILE, ranked.HOSTILE[1]
)


def plain(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, height=40, color_system=None)


def printed(renderable: RenderableType, width: int) -> str:
    console = plain(width)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def assert_fits(text: str, width: int) -> None:
    assert not FORBIDDEN.search(text)
    assert max(map(cell_len, text.splitlines())) <= width


def after_steps(out: Path, console: Console, *held_out: float | None) -> Screen:
    screen = Screen(ranked.config(out, steps=20), console, lambda: 100.0)
    for step, score in enumerate(held_out):
        groups = [ranked.group(["7", "8"], [0.25, 0.75], ["no", "yes"])] if step else []
        screen.step_done(step, *ranked.step_rows(groups, score))
    return screen


@WIDTHS
def test_the_display_fits_the_terminal_and_shows_the_numbers(tmp_path: Path, width: int) -> None:
    screen = after_steps(tmp_path, plain(width), 0.1, None, 0.4, 0.3)
    screen.phase("rank", 5, 8)
    text = printed(screen.view(), width)
    assert_fits(text, width)
    assert len(text.splitlines()) <= 22
    for part in (
        "addition", "some/model-1B", "http://127.0.0.1:8000", "the service's default", "3 of 20",
        "rank", "5 of 8", "0.500 ± 0.250", "0.300 · best 0.400 · first 0.100",
        "100% signal · 0 tied · 0 failed", "2.0 tokens · 0% truncated",
        "9 calls · 3000 tokens · $0.7500", "k3 0.0021 · max ratio 1.25",
        "clipped 0.8% · grad norm 2.50", "1:42 left",
    ):  # fmt: skip
        assert part in text
    assert re.search(r"rollout +2\.00 +2\.00 +62%", text)
    assert re.search(r"update +3\.00 +3\.00 +50%", text)
    assert re.search(r"tokens/s +2\.00 +2\.00", text)


def test_the_display_and_the_log_say_how_many_servers_are_ready(tmp_path: Path) -> None:
    file = io.StringIO()
    screen, lines = (
        Screen(ranked.config(tmp_path, steps=9), plain(100)),
        Lines(ranked.config(tmp_path, steps=9), file),
    )
    assert "servers" not in printed(after_steps(tmp_path, plain(100), 0.1).view(), 100)
    for step, ready in enumerate([2, 1]):
        row, timing = ranked.step_rows([HOSTILE_GROUP])
        for watcher in (screen, lines):
            watcher.step_done(step, row | {"servers_ready": ready}, timing)
    assert re.search(r"servers +1 ready", printed(screen.view(), 100))
    assert "· 1 server ready ·" in file.getvalue().splitlines()[-1]


@WIDTHS
def test_missing_numbers_are_dashes(tmp_path: Path, width: int) -> None:
    screen = after_steps(tmp_path, plain(width))
    empty = printed(screen.view(), width)
    screen.step_done(0, *ranked.step_rows([], None, None))
    for text in (empty, printed(screen.view(), width)):
        assert_fits(text, width)
        assert "held out    –" in text
        assert "– ± –" in text
        assert "None" not in text


@WIDTHS
def test_long_names_are_cut_and_never_wrap(tmp_path: Path, width: int) -> None:
    screen = after_steps(tmp_path / ("deep" * 60), plain(width), 0.1)
    screen.config = ranked.config(tmp_path / ("deep" * 60), service={"judge": "[bold]j" * 40})
    screen.phase("a phase with a very long name", 1_000_000, 2_000_000)
    text = printed(screen.view(), width)
    assert_fits(text, width)
    assert len(text.splitlines()) <= 22
    assert "[bold]j" in text


@WIDTHS
def test_hostile_text_is_shown_literally(width: int) -> None:
    failed = ranked.group(ranked.HOSTILE, None, ranked.HOSTILE, ranked.HOSTILE[2])
    groups = [HOSTILE_GROUP, failed]
    text = printed(completions_view(3, groups, width), width)
    assert_fits(text, width)
    assert "\ufffd[2J\ufffd[31mwiped" in text
    assert len(text.splitlines()) < 30
    lines = list(completions_lines(3, groups))
    assert len(lines) == 2 + 3 + 1
    for line in lines:
        assert "\n" not in line
        assert_fits(line, 250)


def test_markup_links_and_emoji_are_shown_literally() -> None:
    shown = ranked.group([ranked.HOSTILE[0], "b"], [1.0, 0.0], [ranked.HOSTILE[0], "[/red]"])
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system="truecolor")
    console.print(completions_view(1, [shown], 200))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert text.count("[red]markup[/red] [link=http://evil.example]here[/link] :smile:") == 2
    assert "[/red]" in text
    assert "\x1b]8" not in text


def test_the_best_a_middle_and_the_worst_completion_are_shown() -> None:
    texts, words = list("abcde"), ["wa", "wb", None, "wd", "we"]
    shown = list(shown_attempts(ranked.group(texts, [0.2, 1.0, 0.5, 0.0, 0.6], words)))
    assert [(each.completion, each.explanation) for each in shown] == [
        ("b", "wb"),
        ("c", "–"),
        ("d", "wd"),
    ]


def test_a_failed_group_shows_its_error() -> None:
    failed = ranked.group(["a", "b"], None, ["no verdict"])
    signal = [ranked.group(["a", "b"], [0.0, 1.0], ["", ""]) for _ in range(5)]
    tied = ranked.group(["a", "b"], [0.5, 0.5], ["", ""])
    assert choose_groups([tied, *signal, failed]) == [signal[0], signal[1], failed]
    assert choose_groups([tied, failed]) == [failed, tied]
    assert "verdict_invalid: no verdict" in printed(completions_view(1, [failed], 80), 80)
    assert "failed: verdict_invalid: no verdict" in list(completions_lines(1, [failed]))[1]


def test_tool_calls_and_results_are_part_of_a_completion() -> None:
    shown = ranked.group(["thinking", "b"], [1.0, 0.0], ["", ""])
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    prompt = shown.prompt
    shown.attempts[0] = ranked.attempt(
        "let me see", prompt,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "3"},
        {"role": "assistant", "content": "three"},
    )  # fmt: skip
    [best, _] = shown_attempts(shown)
    assert best.completion == 'let me see ↵ → add({"a":1}) ↵ ⇒ 3 ↵ three'


def test_an_attempt_without_an_answer_shows_what_it_thought() -> None:
    shown = ranked.group(["a", "b"], [0.0, 1.0], ["", ""])
    thought = {"role": "assistant", "content": "", "reasoning_content": "is it 5"}
    shown.attempts[0] = replace(shown.attempts[0], messages=[*shown.prompt.messages, thought])
    answers = [each.completion for each in shown_attempts(shown)]
    assert answers == ["b", "[no answer, only thoughts] is it 5"]


def test_a_log_has_a_line_per_step_and_no_escape_codes(tmp_path: Path) -> None:
    file = io.StringIO()
    lines = Lines(ranked.config(tmp_path, steps=2), file)
    lines.phase("loading the model")
    lines.begin()
    row, timing = ranked.step_rows([], 0.125, None)
    lines.step_done(0, row, {**timing, "held_out_s": 1.5})
    lines.phase("rollout", 1, 2)
    lines.step_done(1, *ranked.step_rows([HOSTILE_GROUP], None))
    lines.groups(1, [HOSTILE_GROUP])
    lines.step_done(2, *ranked.step_rows([ranked.group(["a", "b"], None, ["gone"])], 0.5, None))
    found = file.getvalue().splitlines()
    assert_fits(file.getvalue(), 250)
    assert found[0] == "loading the model ..."
    assert found[2].startswith("step 0/2 · held out 0.125 · ")
    assert "update 3.0 s, evaluation 1.5 s · " in found[2]
    assert found[3].startswith("step 1/2 · reward 0.457 ± 0.277 · held out – · 100% signal")
    assert found[3].endswith(
        "rollout 2.0 s, rank 1.0 s, update 3.0 s · bottleneck update, idle: rollout 62%, rank 75%"
        " · 0:06 left"
    )
    assert "step 2/2 · reward – ± – · held out 0.500 · 0% signal · 0 tied · 1 failed" in found[-1]


@pytest.mark.parametrize("make", [Lines, None])
def test_a_resumed_run_counts_on_from_its_files(
    tmp_path: Path, make: Callable[..., Lines] | None
) -> None:
    ranked.write_run(tmp_path, [0.1, None, 0.9, None])
    file = io.StringIO()
    config = ranked.config(tmp_path, steps=20)
    watcher = make(config, file) if make else Screen(config, plain(100))
    watcher.begin()
    watcher.step_done(4, *ranked.step_rows([ranked.group(["a", "b"], [0, 1], ["", ""])], 0.3))
    history = watcher.history
    watcher.close()
    assert history.step == 4
    assert history.values("held_out") == [0.1, 0.9, 0.3]
    assert history.total("judge_cost_usd") == 1.0
    assert history.total("judge_calls") == 12
    if make:
        assert "resumed after step 3" in file.getvalue()


def test_a_stopped_run_ends_with_its_summary_and_its_curve(tmp_path: Path) -> None:
    ranked.write_run(tmp_path, [0.1, None, 0.9])
    screen = Screen(ranked.config(tmp_path, steps=20), plain(80))
    screen.begin()
    screen.close()
    assert isinstance(screen.console.file, io.StringIO)
    text = screen.console.file.getvalue()
    last = text.splitlines()[-1]
    assert last.startswith("stopped after 2 of 20 steps in 0:18 · held out 0.100 → 0.900 (best 0.9")
    assert last.endswith(str(tmp_path))
    assert " 0.900 ┤" in text
    assert (tmp_path / "curve.png").is_file()


def test_a_curve_that_cannot_be_drawn_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "curve.png").mkdir()
    ranked.write_run(tmp_path, [0.1, 0.9])
    file = io.StringIO()
    lines = Lines(ranked.config(tmp_path, steps=1), file)
    lines.begin()
    lines.close()
    [warning, summary] = file.getvalue().splitlines()[-2:]
    assert warning.startswith("no curve was drawn: ")
    assert summary.startswith("1 step in 0:12")


def test_a_run_that_did_not_begin_leaves_an_older_run_alone(tmp_path: Path) -> None:
    ranked.write_run(tmp_path, [0.1, 0.9])
    file = io.StringIO()
    with redirect_stdout(file), open_watcher(ranked.config(tmp_path)) as watcher:
        watcher.phase("loading the model")
    assert isinstance(watcher, Lines)
    assert file.getvalue() == "loading the model ...\n"
    assert not (tmp_path / "curve.png").exists()


def test_a_terminal_gets_the_display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    master, slave = os.openpty()
    try:
        with (
            os.fdopen(slave, "w") as terminal,
            redirect_stdout(terminal),
            open_watcher(ranked.config(tmp_path)) as watcher,
        ):
            assert isinstance(watcher, Screen)
    finally:
        os.close(master)


def test_a_log_replaces_characters_that_it_cannot_encode(tmp_path: Path) -> None:
    log = io.BytesIO()
    with (
        io.TextIOWrapper(log, encoding="ascii") as file,
        redirect_stdout(file),
        open_watcher(ranked.config(tmp_path)) as watcher,
    ):
        watcher.step_done(1, *ranked.step_rows([HOSTILE_GROUP]))
        watcher.groups(1, [HOSTILE_GROUP])
        assert log.getvalue().startswith(b"step 1/100 ? reward 0.457")


def test_the_display_refreshes_and_steps_scroll_above_it(tmp_path: Path) -> None:
    console = Console(
        file=io.StringIO(), width=80, height=40, force_terminal=True, color_system="standard"
    )
    screen = Screen(ranked.config(tmp_path, steps=20), console)
    screen.begin()
    screen.groups(1, [HOSTILE_GROUP])
    screen.step_done(1, *ranked.step_rows([HOSTILE_GROUP], 0.5))
    screen.close()
    assert isinstance(console.file, io.StringIO)
    own = re.compile(r"\x1b\[(\?25[lh]|[0-9;]*m|1A|2K)|\r")
    assert not FORBIDDEN.search(own.sub("", console.file.getvalue()))


def test_the_time_left_counts_the_running_step_down() -> None:
    history = History()
    for step in range(3):
        history.add(step, {}, {"waited_s": 6.0 if step else 500.0, "rollout_s": 1e6})
    assert seconds_left(history, 12) == 60
    assert seconds_left(history, 12, running_s=4) == 56
    assert seconds_left(history, 12, running_s=400) == 54
    assert seconds_left(history, 2) is None
    assert seconds_left(History(), 2) is None


def test_a_long_text_keeps_its_ends_within_the_cells() -> None:
    assert cut("abc", 10) == "abc"
    assert cut("a" * 50 + "z" * 50, 11) == "aaaa … zzzz"
    assert cell_len(cut("漢" * 100, 20)) <= 20
    assert len(cut("\u0301" * 5_000, 20)) <= 20


def test_visible_text_is_one_line_without_control_characters() -> None:
    for text in ranked.HOSTILE:
        assert not re.search("[\x0a\x0d]", visible(text))
        assert not FORBIDDEN.search(visible(text))


def test_a_sparkline_averages_values_beyond_its_width() -> None:
    assert sparkline([0.0, 0.5, 1.0], 10) == "▁▅█"
    assert sparkline([float(place) for place in range(800)], 8) == BLOCKS
    assert sparkline([0.5, 0.501, 0.5], 10) == "▁▁▁"
    assert sparkline([], 10) == ""


def test_a_duration_reads_like_a_clock() -> None:
    assert [duration(each) for each in (0, 59.6, 3600, -3)] == ["0:00", "1:00", "1:00:00", "0:00"]


def test_a_run_goes_on_when_its_log_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    for handle in (writer, full):
        with os.fdopen(handle, "w") as file:
            lines = Lines(ranked.config(tmp_path, steps=1), file)
            lines.note("first")
            lines.note("second")
    words = "podium-train: the log cannot be written ({}): the run goes on, and its numbers are in"
    assert capsys.readouterr().err.splitlines() == [
        f"{words.format(reason)} metrics.jsonl"
        for reason in ("Broken pipe", "No space left on device")
    ]
