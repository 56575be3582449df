"""Run tools' functions in processes of their own, each call under a time limit.

A process that exceeds the limit is ended and replaced. A call that fails gives a text that tells
the model why.
"""

import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import TimeoutError as CallTimeout
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Self

from pebble import ProcessExpired, ProcessPool

from podium_trainer.policy.tool_calls import ToolCall
from podium_trainer.tasks.task import Tool

MAX_RESULT_CHARS = 20_000
# Environment variables that tool processes must not see.
SECRETS = ("PODIUM_API_KEY", "VLLM_API_KEY", "HF_TOKEN", "WANDB_API_KEY")
_LOOK_S = 0.5  # how often a call that waits looks whether its pool still is


class ToolRunner:
    """Runs tool calls in processes that start with the first call. Close it, or use it in `with`.

    Args:
        tools: the tools that may be called.
        timeout_s: the time limit of one call, in seconds.
        num_processes: the number of calls that run at once.
    """

    def __init__(self, tools: Sequence[Tool], *, timeout_s: float, num_processes: int = 4) -> None:
        self.tools = {tool.name: tool for tool in tools}
        self.timeout_s = timeout_s
        self._num_processes = num_processes
        self._lock = threading.Lock()
        self._is_closed = False
        self._pool = self._open_pool()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes; a call that still waits raises RuntimeError in its own thread."""
        with self._lock:
            self._is_closed = True
            self._end_pool()

    def _end_pool(self) -> None:
        self._pool.stop()  # type: ignore[no-untyped-call]  # not typed there
        self._pool.join()

    def _open_pool(self) -> ProcessPool:
        # Processes are not forked, because torch's threads and a GPU's context do not survive that.
        context = multiprocessing.get_context("spawn")
        return ProcessPool(self._num_processes, context=context, initializer=remove_secrets)

    def _schedule(self, tool: Tool, arguments: Mapping[str, Any]) -> tuple[ProcessPool, Any]:
        """Start a call; return the pool and the call's future."""
        pool = self._pool
        try:
            return pool, pool.schedule(
                run_tool, args=(tool.function, arguments), timeout=self.timeout_s
            )
        except RuntimeError:  # the pool's processes died since the last call
            if self._is_closed:
                raise
            self._replace(pool)
            return self._schedule(tool, arguments)

    def _replace(self, broken: ProcessPool) -> None:
        """Replace a broken pool, unless another thread has done so."""
        with self._lock:
            if self._pool is broken and not self._is_closed:
                self._end_pool()
                self._pool = self._open_pool()

    def run_all(self, calls: Sequence[ToolCall]) -> list[str]:
        """Run calls side by side.

        Returns:
            For each call, in order, its result as text, or a text that starts with `error: `.
        """
        waits = [self._start(call) for call in calls]
        return [wait() for wait in waits]

    def _start(self, call: ToolCall) -> Callable[[], str]:
        """Start a call; return a function that waits for its text."""
        tool = self.tools.get(call.name)
        if tool is None:
            names = ", ".join(self.tools)
            return lambda: f"error: there is no tool {call.name!r}; there are: {names}"
        pool, future = self._schedule(tool, call.arguments)

        def wait() -> str:
            try:
                return self._read_result(call, pool, future)
            except BrokenProcessPool:  # its processes died before the call ran, so run it again
                self._replace(pool)
            second = self._schedule(tool, call.arguments)
            try:
                return self._read_result(call, *second)
            except BrokenProcessPool as error:
                return f"error: {call.name} could not be run: {error}"

        return wait

    def _read_result(self, call: ToolCall, pool: ProcessPool, future: Any) -> str:
        """Wait for a call's text.

        Raises:
            BrokenProcessPool: If the call never ran.
        """
        # A pool whose processes die just as a call is scheduled ends, and forgets the call.
        while not wait_for([future], _LOOK_S).done:
            if not pool.active and not future.done():
                raise BrokenProcessPool("the pool has ended")
        try:
            return str(future.result())
        except CallTimeout:
            return f"error: {call.name} took longer than {self.timeout_s:g} s"
        except ProcessExpired as error:
            return f"error: {call.name} ended its process: {error}"


def remove_secrets() -> None:
    """Remove API keys from the environment of this tool process."""
    for name in SECRETS:
        os.environ.pop(name, None)


def run_tool(function: Callable[..., object], arguments: Mapping[str, Any]) -> str:
    """Call a tool in this tool process; return its result, or the exception it raised, as text."""
    try:
        return to_text(function(**arguments))
    except BaseException as error:  # noqa: BLE001 - even sys.exit becomes text for the model
        return describe_error(error)


def to_text(result: object) -> str:
    """Return the result of a tool as the text that the model reads, of bounded length."""
    return str(result)[:MAX_RESULT_CHARS].encode(errors="replace").decode()


def describe_error(error: BaseException) -> str:
    """Tell the model what a tool raised."""
    return to_text("error: " + "".join(traceback.format_exception_only(error)).strip())
