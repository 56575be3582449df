"""Two ranks of which one fails at what both do.

    python -m tests.trainer.ranks.failing RANK SLOW_S      (RANK, WORLD_SIZE, ... as torchrun sets)

Before that they agree on something for which one needs SLOW_S, longer than a collective may take.
"""

import os
import sys
import time

import torch
import torch.distributed as dist

from podium_trainer.policy.ranks.processes import FailedTogether, open_ranks

LIMIT_S = 2.0


class NoRoom(FailedTogether):
    """What both ranks raise, after which they go on."""


def main(failing: int, slow_s: float) -> None:
    with open_ranks(os.environ, LIMIT_S) as ranks:

        def load() -> None:
            with ranks.agree(NoRoom):
                time.sleep(slow_s if ranks.rank == 0 else 0)

        def fail_together() -> None:
            with ranks.agree(NoRoom):
                if ranks.rank == failing:
                    raise NoRoom

        def fail_alone() -> None:
            if ranks.rank == failing:
                raise OSError("no room for what is compiled")
            dist.all_reduce(torch.ones(1))

        works = {"load": load, "fail_together": fail_together, "fail_alone": fail_alone}
        if ranks.rank:
            ranks.follow(works)
            return
        for name, work in works.items():
            try:
                with ranks.lead(name):
                    work()
            except NoRoom:
                sys.stderr.write("all have failed\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
