"""A signal ends what runs, also one that comes within a destructor."""

import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from podium_trainer.run.interrupt import finishing, interruptible

LIMIT_S = 10.0


class Destroyed:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def destructor() -> None:
    Destroyed()


def weak_callback() -> None:
    one = type("One", (), {})()
    kept = weakref.ref(one, lambda dead: signal.raise_signal(signal.SIGTERM))
    del one
    assert kept() is None


def collected_cycle() -> None:
    import gc

    cycle = Destroyed()
    cycle.itself = cycle  # type: ignore[attr-defined]
    del cycle
    gc.collect()


@pytest.mark.parametrize("comes_in", [destructor, weak_callback, collected_cycle])
def test_a_signal_that_python_drops_comes_again(
    comes_in: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> None:
        comes_in()
        threading.Event().wait(LIMIT_S)

    with pytest.raises(KeyboardInterrupt), interruptible():
        run()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_raised_where_the_block_is(number: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(number)
    assert (signal.getsignal(signal.SIGTERM), sys.unraisablehook) == before


@pytest.mark.parametrize("error", [None, ValueError("skipped")])
def test_what_must_not_be_cut_off_is_finished(error: Exception | None) -> None:
    done = []

    def run() -> None:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        done.append("finished")
        if error:
            raise error

    with pytest.raises(KeyboardInterrupt), interruptible(), finishing():
        run()
    assert done == ["finished"]


def test_a_block_within_another_waits_for_the_outer_one() -> None:
    done = []

    def run() -> None:
        with finishing():
            signal.raise_signal(signal.SIGTERM)
        done.append("finished")

    with pytest.raises(KeyboardInterrupt), interruptible(), finishing():
        run()
    assert done == ["finished"]


def test_another_sigterm_does_not_cut_off_the_end() -> None:
    done = []

    def run() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            done.append("saved")

    with pytest.raises(KeyboardInterrupt), interruptible():
        run()
    assert done == ["saved"]


def test_a_ctrl_c_after_a_signal_does_not_wait() -> None:
    def run() -> None:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interruptible(), finishing():
        run()
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_have_nothing_to_finish() -> None:
    with ThreadPoolExecutor(1) as threads:
        threads.submit(ExitStack().enter_context, finishing()).result()


def test_other_errors_of_destructors_are_shown_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    class Faulty:
        def __del__(self) -> None:
            raise ValueError("no good")

    shown: list[str] = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda args: shown.append(str(args.exc_value))
    try:
        with interruptible():
            Faulty()
    finally:
        sys.unraisablehook = hook
    assert shown == ["no good"]


def test_a_signal_while_modules_load_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "podium_trainer", "addition", "--model", "any"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "podium-train: stopped before a run began\n"
