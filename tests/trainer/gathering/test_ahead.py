"""Gathers that run ahead: their order, how far ahead they are, and how they fail and end."""

import threading
import time
import traceback
from collections.abc import Callable
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium_trainer.gathering.ahead import Ahead

MILLISECONDS = st.lists(st.integers(0, 3), min_size=1, max_size=8)


class Pipeline:
    """Gathers that take some time and draw with the weights of the moment, and their updates."""

    def __init__(self, gather_ms: list[int]) -> None:
        self.gather_ms = gather_ms
        self.version = 0
        self.begun: list[int] = []

    def begin(self, step: int) -> Callable[[], tuple[int, list[int]]]:
        self.begun.append(step)
        first = self.version

        def gather() -> tuple[int, list[int]]:
            time.sleep(self.gather_ms[step - 1] / 1000)
            return step, [first, self.version]

        return gather


@settings(max_examples=25, deadline=None)
@given(MILLISECONDS, st.integers(0, 3), st.integers(0, 4))
def test_no_gather_is_too_old_lost_or_out_of_turn(
    gather_ms: list[int], update_ms: int, max_staleness: int
) -> None:
    last = len(gather_ms)
    pipeline = Pipeline(gather_ms)
    ahead = Ahead(pipeline.begin, max_staleness=max_staleness, last=last)
    for step in range(1, last + 1):
        found, drawn_by = ahead.take(step)
        assert found == step
        assert all(0 <= pipeline.version - drawn <= max_staleness for drawn in drawn_by)
        assert pipeline.begun == list(range(1, min(step + max_staleness, last) + 1))
        time.sleep(update_ms / 1000)
        pipeline.version += 1
    assert ahead.wait(0)


def test_without_staleness_there_is_no_thread() -> None:
    ahead = Ahead(lambda step: threading.current_thread, max_staleness=0, last=3)
    assert ahead.take(1) is threading.current_thread()


def test_a_failure_comes_out_in_its_turn_with_its_traceback() -> None:
    def break_down() -> int:
        raise ValueError("no signal")

    def begin(step: int) -> Callable[[], int]:
        return break_down if step == 2 else lambda: step

    ahead = Ahead(begin, max_staleness=2, last=3)
    assert ahead.take(1) == 1
    with pytest.raises(ValueError, match="no signal") as caught:
        ahead.take(2)
    assert "break_down" in [frame.name for frame in traceback.extract_tb(caught.tb)]


def test_a_wait_for_the_end_of_all_gathers_has_a_limit() -> None:
    release = Event()
    ahead = Ahead(lambda step: lambda: step == 1 or release.wait(), max_staleness=1, last=2)
    ahead.take(1)
    assert not ahead.wait(0.01)
    release.set()
    assert ahead.wait(10)
