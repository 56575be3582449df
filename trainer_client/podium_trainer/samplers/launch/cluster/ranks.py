"""Keep the trainer of a run up on machines that Ray chooses: a process for each rank.

    podium-train --ray ──► a host for each rank ──► podium-train with RANK, WORLD_SIZE, ...
     shows what rank 0 says                           rank 0 has Ray start the vLLM servers

Ranks compute together, so one that is lost ends the others, too. Then all are started again, where
there is room, and go on from the last checkpoint. A run that says itself why it ends stays ended.
"""

import codecs
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import ray
from ray.exceptions import RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from podium_trainer.config import TrainConfig
from podium_trainer.samplers.launch.cluster.connection import connected, has_gpus
from podium_trainer.samplers.launch.cluster.host import End, Task
from podium_trainer.samplers.launch.cluster.process import Placed, carried
from podium_trainer.samplers.launch.cluster.verdict import first_fault, verdict

LOOK_EVERY_S = 0.5
READ_S = 5.0
PATIENCE_S = 10.0  # for machines, after which it is said what is missing
SETTLE_S = 15.0  # after the first end; a rank may say sooner than Ray that another one is lost
GRACE_S = 600.0  # to save a checkpoint
LOST_GRACE_S = 30.0  # for ranks that have lost another one, and may wait for it
MAX_IDLE_STARTS = 8  # in a row that bring no checkpoint
MAX_WAIT_S = 60.0  # between them
Say = Callable[[str], None]


def keep_up(config: TrainConfig, arguments: Sequence[str], show: Say, note: Say) -> int:
    """Run the trainer, and start it again when a rank is lost.

    Args:
        config: all settings of the run.
        arguments: of `podium-train`, from which they come.
        show: is given what rank 0 writes.
        note: told in one line what is waited for, and about each start after the first.

    Returns:
        The exit status of the run.

    Raises:
        SamplerError: If the cluster cannot be used.
    """
    assert config.ray is not None
    launch = uuid4().hex
    with connected(config.ray):
        num_starts = num_idle = 0
        while True:
            before = newest_checkpoint(config.out)
            ranks = Ranks(config, arguments, show, note, launch=launch, num_starts=num_starts)
            with ranks:
                ends = ranks.watch()
            num_starts += 1
            num_idle = num_idle + 1 if newest_checkpoint(config.out) == before else 0
            status = verdict(ends, is_sound=num_starts == 1 or not num_idle)
            if status is not None:
                return status
            why = first_fault(ends)
            if num_idle == MAX_IDLE_STARTS:
                note(f"{why}; {num_idle} starts in a row have brought no checkpoint")
                return 1
            wait_s = min(2.0**num_idle, MAX_WAIT_S)
            note(f"{why}; all ranks are started again in {wait_s:g} s")
            time.sleep(wait_s)


class Ranks:
    """One start of all ranks of a run. Use a `with` block, at whose end they are ended.

    Args:
        config, arguments, show, note: as of `keep_up`.
        launch: has them know that they are started again by the same command.
        num_starts: the number of starts before.
    """

    def __init__(
        self,
        config: TrainConfig,
        arguments: Sequence[str],
        show: Say,
        note: Say,
        *,
        launch: str,
        num_starts: int,
    ) -> None:
        self._show, self._note = show, note
        self._num_read = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        num_gpus = int(has_gpus() and config.model.device != "cpu")
        self._needs = f"a CPU{' and a GPU' * num_gpus} for each of {config.ranks} ranks"
        bundle = {"CPU": 1.0, "GPU": 1.0} if num_gpus else {"CPU": 1.0}
        self._group = placement_group([bundle] * config.ranks, strategy="PACK")
        self._ranks = [
            Placed(
                num_gpus,
                grace_s=GRACE_S,
                strategy=PlacementGroupSchedulingStrategy(
                    self._group, placement_group_bundle_index=rank
                ),
            )
            for rank in range(config.ranks)
        ]
        for rank, placed in enumerate(self._ranks):
            environment = {
                "RANK": str(rank), "WORLD_SIZE": str(config.ranks),
                "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1",  # it sees its own GPU alone
                "TORCHELASTIC_RUN_ID": launch, "TORCHELASTIC_RESTART_COUNT": str(num_starts),
            }  # fmt: skip
            task = Task(
                ["podium_trainer", *arguments],
                str((config.out / "ranks").resolve() / f"rank-{rank}.log"),
                environment,
                carried(os.environ),
                os.getcwd(),
                GRACE_S,
            )
            placed.host.join.remote(task, self._ranks[0].meeting)

    def __enter__(self) -> "Ranks":
        return self

    def watch(self) -> list[End | None]:
        """Show what rank 0 writes until a rank has ended, and a little longer for the others.

        Returns:
            How each rank has ended; None for one that still runs.
        """
        started, first_end = time.monotonic(), 0.0
        is_waiting = True
        while True:
            time.sleep(LOOK_EVERY_S)
            self._pass_on()
            now, ends = time.monotonic(), [placed.end for placed in self._ranks]
            first_end = first_end or (now if any(ends) else 0.0)
            if all(ends) or (first_end and now > first_end + SETTLE_S):
                self._pass_on()
                return ends
            if is_waiting and now > started + PATIENCE_S:
                is_waiting = False
                if any(placed.address is None for placed in self._ranks):
                    self._note(f"waits for machines of the Ray cluster with {self._needs} free")

    def _pass_on(self) -> None:
        """Show what rank 0 has written since the last time."""
        if self._ranks[0].address is None:
            return
        try:
            new = ray.get(self._ranks[0].host.read.remote(self._num_read), timeout=READ_S)
        except RayError:  # it is lost, or its machine is busy
            return
        self._num_read += len(new)
        if text := self._decoder.decode(new):
            self._show(text)

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        """End all ranks, and show what rank 0 still writes."""
        for placed in self._ranks:
            placed.stop()
        ends_at = time.monotonic() + (GRACE_S if kind else LOST_GRACE_S)
        while not all(placed.is_stopped for placed in self._ranks) and time.monotonic() < ends_at:
            time.sleep(LOOK_EVERY_S)
            self._pass_on()
        for placed in self._ranks:
            placed.kill()
        remove_placement_group(self._group)


def newest_checkpoint(out: Path) -> str:
    """Return the name of a run's newest checkpoint; nothing if there is none."""
    return max((path.name for path in (out / "checkpoints").glob("step-*")), default="")
