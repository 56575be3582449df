"""Work of all processes of a run, for trainers that spread a group over several of them.

Without an initialized process group of torch, this process is the only one.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import distributed

from podium.errors import RankError

_T = TypeVar("_T")


def gather(rows: Sequence[_T]) -> tuple[list[_T], int]:
    """Return the rows of all processes in the order of their ranks, and where this one's start."""
    if not _has_others():
        return list(rows), 0
    by_rank: list[Sequence[_T]] = [()] * distributed.get_world_size()
    distributed.all_gather_object(by_rank, rows)
    start = sum(len(each) for each in by_rank[: distributed.get_rank()])
    return [row for each in by_rank for row in each], start


def run_on_first(work: Callable[[], _T]) -> _T:
    """Run the work in the first process, and return its result in all of them.

    Raises:
        RankError, ValueError: In all processes, if the work raises it: a process that goes on
            alone would wait for the others until its time limit.
    """
    if not _has_others():
        return work()
    shared: list[Any] = [None]
    if distributed.get_rank() == 0:
        try:
            shared = [work()]
        except (RankError, ValueError) as error:
            shared = [error]
    distributed.broadcast_object_list(shared, src=0)
    result: _T | RankError | ValueError = shared[0]
    if isinstance(result, RankError | ValueError):
        raise result
    return result


def _has_others() -> bool:
    return distributed.is_available() and distributed.is_initialized()
