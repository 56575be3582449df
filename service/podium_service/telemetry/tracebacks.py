"""Drop the locals of a function when an error leaves it, so that the error keeps none in memory.

The traceback of an error refers to each frame that the error passed, and a frame to its locals. If
a local is the task or future that holds the error, they form a reference cycle, which only the
garbage collector frees. The service runs the collector rarely (see `http.server.gc_policy`), so
until then the cycle keeps the texts of a whole group in memory.
"""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def drop_locals_on_error(
    function: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """Decorate a coroutine function whose locals include a task or future that may fail.

    If the function raises, its locals are dropped, so that the error forms no cycle with them.
    """

    @wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await function(*args, **kwargs)
        except BaseException as error:
            if error.__traceback__ and error.__traceback__.tb_next:
                error.__traceback__.tb_next.tb_frame.clear()  # the function's frame, which ended
            raise

    return call
