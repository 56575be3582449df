"""Hold the environment of one attempt, and run its calls under a time limit.

    made ──reset──► open ──step, tools──► open ──close──► closed
                      │                     ▲
                      └──raises, too slow───┘  (the attempt fails; close is all that follows)

Async methods run in the event loop that all attempts share. The others run in a thread that belongs
to the attempt alone, because some libraries want all calls from one thread. A thread whose call
takes too long is left behind as a daemon, and ends when the call does.
"""

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from podium_trainer.rollout.environments.faults import CallFailed, check_methods, explain
from podium_trainer.rollout.tool_runner import to_text
from podium_trainer.tasks.task import Environment, Message, Prompt

CLOSE_S = 5.0  # seconds that `close` waits for a call that has not used up its limit
Outcome = tuple[Any, BaseException | None]


@dataclass(frozen=True)
class Limits:
    """The bounds on the calls of all attempts.

    Attributes:
        slots: bounds the blocking calls that run at once; waiting for one is no part of the limit.
        timeout_s: the time limit of one call, in seconds; None for none.
    """

    slots: asyncio.Semaphore
    timeout_s: float | None


class CallThread:
    """A daemon thread that runs calls one after the other; it starts with the first."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="podium-environment", daemon=True)

    def start(self, function: Callable[[], Any]) -> asyncio.Future[Outcome]:
        """Return a future of the running loop, which gets the call's outcome."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()

        def call() -> None:
            try:
                outcome: Outcome = (function(), None)
            except BaseException as error:  # noqa: BLE001 - even sys.exit must not end the thread
                outcome = (None, error)
            with suppress(RuntimeError):  # the loop is closed, and nobody waits
                loop.call_soon_threadsafe(settle, future, outcome)

        if not self._thread.ident:
            self._thread.start()
        self._calls.put(call)
        return future

    def stop(self) -> None:
        """End the thread after its calls."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


class Episode:
    """The environment of one attempt.

    Args:
        make: makes the environment.
        prompt: what the attempt is at.
    """

    def __init__(self, make: Callable[[], Environment], prompt: Prompt) -> None:
        self.prompt = prompt
        self._make = make
        self._environment: Environment | None = None
        self._thread = CallThread()
        self._running: asyncio.Future[Outcome] | None = None
        self._is_stuck = False
        self._is_closed = False
        self._lock = threading.Lock()

    async def reset(self, limits: Limits) -> Any:
        """Make the environment and reset it; return its observation.

        Raises:
            CallFailed: If it raises an exception or takes too long, as in all methods.
        """
        await self._call("its making", self._open, limits)
        assert self._environment is not None
        return await self._call("reset", self._environment.reset, limits, self.prompt)

    async def step(self, completion: Message, limits: Limits) -> Any:
        """Give the environment a completion; return what it returns."""
        assert self._environment is not None
        return await self._call("step", self._environment.step, limits, completion)

    async def call_tool(self, name: str, arguments: dict[str, Any], limits: Limits) -> str:
        """Call the method that has a tool's name; return its result, or what it raised, as text.

        Raises:
            CallFailed: If it takes too long, or there is no such method.
        """
        method = getattr(self._environment, name, None)
        if method is None:
            kind = type(self._environment).__name__
            raise CallFailed(f"{kind} has no method {name!r}, which is a tool without a function")
        function = async_to_text(method) if is_async(method) else call_to_text(method)
        try:
            return str(await self._call(f"tool {name}", function, limits, arguments))
        except CallFailed as failure:
            if failure.told is None:
                raise
            return failure.told

    async def close(self, limits: Limits) -> None:
        """Close the environment, unless that was done; wait a little for a call that runs.

        Raises:
            CallFailed: As in all methods.
        """
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
        if was_closed:
            return
        if not await self._is_idle():
            self._thread.stop()
            self._thread = CallThread()
        try:
            if self._environment is not None:
                await self._call("close", self._environment.close, limits)
        finally:
            self._thread.stop()

    async def _is_idle(self) -> bool:
        """Return whether no call runs, after some time for the one that does."""
        running = self._running
        if running is None or running.done():
            return True
        if running.get_loop() is not asyncio.get_running_loop():
            return False
        if isinstance(running, asyncio.Task):
            running.cancel()
        done, _ = await asyncio.wait({running}, timeout=0 if self._is_stuck else CLOSE_S)
        return bool(done)

    async def _call(
        self, name: str, function: Callable[..., Any], limits: Limits, *args: Any
    ) -> Any:
        """Run a call in the loop if it is async, else in the attempt's thread."""
        if is_async(function):
            return await self._finish(name, function(*args), limits)
        async with limits.slots:
            future = self._thread.start(lambda: function(*args))
            value = await self._wait(name, future, limits)
        return await self._finish(name, value, limits) if inspect.isawaitable(value) else value

    async def _finish(self, name: str, awaitable: Any, limits: Limits) -> Any:
        return await self._wait(name, asyncio.ensure_future(outcome_of(awaitable)), limits)

    async def _wait(self, name: str, running: asyncio.Future[Outcome], limits: Limits) -> Any:
        """Wait for the outcome of a call."""
        self._running = running
        done, _ = await asyncio.wait({running}, timeout=limits.timeout_s)
        if not done:
            self._is_stuck = True
            if isinstance(running, asyncio.Task):
                running.cancel()
            raise CallFailed(f"{name} took longer than {limits.timeout_s:g} s")
        value, error = running.result()
        if error is not None:
            raise explain(name, error) from error
        return value

    def _open(self) -> None:
        """Make the environment; close it at once if the attempt was given up meanwhile."""
        environment = self._make()
        check_methods(environment)
        with self._lock:
            self._environment = environment
            is_late = self._is_closed
        if is_late:
            value = environment.close()
            if inspect.isawaitable(value):
                asyncio.run(finish(value))


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether a call gives a coroutine, so that it does not block."""
    return inspect.iscoroutinefunction(function)


async def finish(awaitable: Any) -> Any:
    """Await any awaitable."""
    return await awaitable


async def outcome_of(awaitable: Any) -> Outcome:
    """Await a call, and keep what it raises; even sys.exit must not end the loop."""
    try:
        return await awaitable, None
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - it is the outcome
        return None, error


def settle(future: asyncio.Future[Outcome], outcome: Outcome) -> None:
    """Set the result of a future that nobody may wait for any more."""
    if not future.done():
        future.set_result(outcome)


def call_to_text(method: Callable[..., Any]) -> Callable[[dict[str, Any]], str]:
    """Return a function that takes the arguments of a tool and gives its result as text."""
    return lambda arguments: to_text(method(**arguments))


def async_to_text(
    method: Callable[..., Any],
) -> Callable[[dict[str, Any]], Coroutine[Any, Any, str]]:
    """Return an async function that takes the arguments of a tool and gives its result as text."""

    async def call(arguments: dict[str, Any]) -> str:
        return to_text(await method(**arguments))

    return call
