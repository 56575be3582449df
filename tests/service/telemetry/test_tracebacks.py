"""An error that a coroutine function raises makes no cycle with the function's locals."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from podium_service.telemetry.tracebacks import drop_locals_on_error

pytestmark = pytest.mark.anyio


class Text:
    """Something large that a group holds."""


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def fail() -> None:
    await asyncio.sleep(0)
    raise LookupError("no such text")


async def wait_for_task(text: Text) -> None:
    task = asyncio.create_task(fail())
    await task
    raise AssertionError(text)


async def outlives(function: Callable[[Text], Coroutine[Any, Any, None]]) -> bool:
    """Tell whether an argument of `function` is still there once its error has been handled."""
    text = Text()
    there = weakref.ref(text)
    with pytest.raises(LookupError, match="no such text"):
        await function(text)
    del text
    await asyncio.sleep(0)  # the loop lets go of the task that has ended
    return there() is not None


async def test_a_frame_that_holds_its_failed_task_outlives_its_error() -> None:
    assert await outlives(wait_for_task)


async def test_a_decorated_function_does_not_outlive_its_error() -> None:
    assert not await outlives(drop_locals_on_error(wait_for_task))


async def test_a_decorated_function_keeps_its_result_and_its_name() -> None:
    @drop_locals_on_error
    async def add(one: int, *, two: int) -> int:
        return one + two

    assert await add(1, two=2) == 3
    assert add.__name__ == "add"
