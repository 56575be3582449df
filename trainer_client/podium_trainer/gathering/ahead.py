"""Begin the gathers of later steps while the policy is updated, and hand each out in its turn.

    max_staleness 1    gather 1 | gather 2 ...... | gather 3 ......
                                | update 1 | wait | update 2 | wait

When the groups of step s are asked for, the gathers of s to s + max_staleness are begun; the steps
before s are done. So a token is drawn by weights that are at most `max_staleness` updates older
than those it trains. Nothing is dropped for its age, and no step overtakes another. The update
waits for its gather, and gathers wait for the update, because no more than these are ever begun.
"""

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Ahead(Generic[_T]):
    """Holds the futures of the gathers that are begun and not yet taken.

    Args:
        begin: called with each step, in order, on the thread of `take`; what it returns is called
            once to do the work.
        max_staleness: the number of gathers that run ahead; with 0 all work is done in `take`, and
            there is no thread.
        last: the last step.
    """

    def __init__(
        self, begin: Callable[[int], Callable[[], _T]], *, max_staleness: int, last: int
    ) -> None:
        self._begin = begin
        self._max_staleness = max_staleness
        self._last = last
        self._running: dict[int, Future[_T]] = {}

    def take(self, step: int) -> _T:
        """Return what was gathered for a step, after the gathers behind it are begun.

        Raises:
            Exception: What ended the gather, with its own traceback.
        """
        if not self._max_staleness:
            return self._begin(step)()
        for each in range(step, min(step + self._max_staleness, self._last) + 1):
            if each not in self._running:
                self._running[each] = _start(self._begin(each), f"gather-{each}")
        result = self._running[step].result()
        del self._running[step]
        return result

    def wait(self, limit_s: float) -> bool:
        """Wait until all gathers have ended, and return whether they have within the limit."""
        return not wait(self._running.values(), limit_s).not_done


def _start(work: Callable[[], _T], name: str) -> Future[_T]:
    """Run on a thread that does not keep the program from ending."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is taken
            future.set_exception(error)
        else:
            future.set_result(result)

    Thread(target=run, name=name, daemon=True).start()
    return future
