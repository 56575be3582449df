"""A rank that gives no sign of life is found by those that wait for it."""

from contextlib import ExitStack
from queue import Empty, Queue
from threading import Lock

import pytest

from podium_trainer.policy.ranks.watch import Watch

SILENCE_S = 0.5


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
    with Watch(store, 0, 3, SILENCE_S, said.put):
        with ExitStack() as others:
            for rank in (1, 2):
                others.enter_context(Watch(store, rank, 3, SILENCE_S, said.put))
            with pytest.raises(Empty):
                said.get(timeout=2 * SILENCE_S)
        assert "no sign of life" in said.get(timeout=20)
