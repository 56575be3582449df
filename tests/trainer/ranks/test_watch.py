"""A rank that gives no sign of life is found by those that wait for it."""

from contextlib import ExitStack
from queue import Empty, Queue
from threading import Event, Lock

import pytest

from podium_trainer.policy.ranks.watch import Watch

SILENCE_S = 0.5
PATIENCE_S = 5.0  # where all shall be heard, however busy the machine is


class Counts:
    """A store within this process."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.counts: dict[str, int] = {}

    def add(self, key: str, value: int, /) -> int:
        with self.lock:
            self.counts[key] = self.counts.get(key, 0) + value
            return self.counts[key]


@pytest.mark.parametrize(("rank", "silent"), [(0, 1), (1, 0)])
def test_a_silent_rank_is_lost(rank: int, silent: int) -> None:
    said: Queue[str] = Queue()
    with Watch(Counts(), rank, 2, SILENCE_S, said.put):
        assert said.get(timeout=20) == (
            f"rank {rank}: rank {silent} gave no sign of life for 0.5 s: start all again with"
            " --resume"
        )


def test_ranks_that_give_signs_are_kept_until_one_ends() -> None:
    said: Queue[str] = Queue()
    store = Counts()
    with ExitStack() as kept:
        for rank in range(3):
            kept.enter_context(Watch(store, rank, 3, PATIENCE_S, said.put))
        with pytest.raises(Empty):
            said.get(timeout=1.2)  # two signs of each
    with Watch(store, 0, 3, SILENCE_S, said.put):
        assert "no sign of life" in said.get(timeout=20)


class Hangs(Counts):
    """A store whose process is stopped after some answers."""

    def __init__(self, answers: int) -> None:
        super().__init__()
        self.answers, self.gone_on = answers, Event()

    def add(self, key: str, value: int, /) -> int:
        self.answers -= 1
        if self.answers < 0:
            self.gone_on.wait()
        return super().add(key, value)


@pytest.mark.parametrize("answers", [0, 5])
def test_a_store_that_hangs_is_lost(answers: int) -> None:
    said: Queue[str] = Queue()
    store = Hangs(answers)
    with Watch(store, 1, 2, SILENCE_S, said.put):
        assert said.get(timeout=20) == (
            "rank 1: the store of the ranks has not answered for 0.5 s: start all again with"
            " --resume"
        )
        store.gone_on.set()
