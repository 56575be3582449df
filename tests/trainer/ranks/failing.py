"""Two ranks of which one fails at what both do.

    python -m tests.trainer.ranks.failing RANK SLOW_S FOLDER    (RANK, ... as torchrun sets them)

Before that they agree on something for which one needs SLOW_S, longer than a collective may take,
and look for a folder, which FOLDER alone is.
"""

import os
import signal
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from podium_trainer.policy.ranks.processes import FailedTogether, open_ranks
from podium_trainer.run.checks.common_folder import FolderError, require_common_folder
from podium_trainer.run.interrupt import finishing

LIMIT_S = 2.0


class NoRoom(FailedTogether):
    """An error that both ranks raise, after which they go on."""


def main(failing: int, slow_s: float, folder: Path) -> None:
    with open_ranks(os.environ, LIMIT_S) as ranks:

        def load() -> None:
            with ranks.agree(NoRoom):
                time.sleep(slow_s if ranks.rank == 0 else 0)

        def fail_together() -> None:
            with ranks.agree(NoRoom):
                if ranks.rank == failing:
                    raise NoRoom

        def see() -> None:
            require_common_folder(ranks, folder)

        def overlook() -> None:
            require_common_folder(ranks, folder / f"machine-{ranks.rank}")

        def stop() -> None:
            if ranks.rank == 0:
                signal.raise_signal(signal.SIGINT)
            dist.all_reduce(torch.ones(1))

        def fail_alone() -> None:
            if ranks.rank == failing:
                raise OSError("no room for what is compiled")
            dist.all_reduce(torch.ones(1))

        all_works = (load, fail_together, see, overlook, stop, fail_alone)
        works = {each.__name__: each for each in all_works}
        if ranks.rank:
            ranks.follow(works)
            return
        ranks.shield = finishing
        for name, work in works.items():
            try:
                with ranks.lead(name):
                    work()
            except NoRoom:
                sys.stderr.write("all have failed\n")
            except KeyboardInterrupt:
                sys.stderr.write("stopped after a call\n")
            except FolderError as error:
                sys.stderr.write(f"{name}: {error}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))
