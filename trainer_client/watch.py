"""What a person sees of a run: lines where nobody watches, a live display on a terminal."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from trainer_client.config import TrainConfig
from trainer_client.groups import RankedGroup
from trainer_client.metrics import Row
from trainer_client.train import Watcher


class Lines:
    def phase(self, name: str, done: int = 0, total: int = 0) -> None: ...
    def step_done(self, step: int, row: Row, timing: Row) -> None:
        sys.stdout.write(f"step {step} reward {row['reward_mean']} held_out {row['held_out']}\n")

    def groups(self, step: int, groups: Sequence[RankedGroup]) -> None: ...


@contextmanager
def open_watcher(config: TrainConfig) -> Iterator[Watcher]:
    yield Lines()
