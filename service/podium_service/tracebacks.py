"""Keep an error from holding what it should not: the locals of a function that it passed through.

An error's traceback refers to each frame on its way, and a frame to its locals. If one of those is
the task or future that holds the error, that is a cycle, which only the garbage collector frees.
The service has it look rarely, so until then the cycle keeps the texts of a whole group in memory.
"""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def drop_locals_on_error(
    function: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """Decorate a coroutine function that holds in a local what may hold the error that it raises.

    When it ends by an error, its locals are dropped, so that the error makes no cycle with them.
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
