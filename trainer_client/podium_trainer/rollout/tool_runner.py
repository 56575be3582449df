"""Runs tools' functions in processes of their own, each call under a time limit.

A process that does not answer in time is ended and replaced; whatever goes wrong becomes the text
that the model reads.
"""

import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import TimeoutError as CallTimeout
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Self

from pebble import ProcessExpired, ProcessPool

from podium_trainer.policy.tool_calls import ToolCall
from podium_trainer.tasks.task import Tool

MAX_RESULT_CHARS = 20_000
SECRETS = ("PODIUM_API_KEY", "VLLM_API_KEY", "HF_TOKEN", "WANDB_API_KEY")


class ToolRunner:
    """Runs tool calls. Its processes start with the first call. Close it, or use it in `with`.

    Args:
        tools: what may be called.
        timeout_s: seconds that one call may take.
        num_processes: how many calls run at once.
    """

    def __init__(self, tools: Sequence[Tool], *, timeout_s: float, num_processes: int = 4) -> None:
        self.tools = {tool.name: tool for tool in tools}
        self.timeout_s = timeout_s
        self._num_processes = num_processes
        self._lock = threading.Lock()
        self._pool = self._open_pool()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()

    def _open_pool(self) -> ProcessPool:
        # Not fork: torch's threads and a GPU's context do not survive it.
        context = multiprocessing.get_context("spawn")
        return ProcessPool(self._num_processes, context=context, initializer=forget_secrets)

    def _schedule(self, tool: Tool, arguments: Mapping[str, Any]) -> tuple[ProcessPool, Any]:
        """Start a call; the pool, and the call's future."""
        pool = self._pool
        try:
            return pool, pool.schedule(
                run_tool, args=(tool.function, arguments), timeout=self.timeout_s
            )
        except RuntimeError:  # it lost its processes between two calls
            self._replace(pool)
            return self._schedule(tool, arguments)

    def _replace(self, broken: ProcessPool) -> None:
        """Open another pool, unless another thread has."""
        with self._lock:
            if self._pool is broken:
                self.close()
                self._pool = self._open_pool()

    def run_all(self, calls: Sequence[ToolCall]) -> list[str]:
        """What each call gave, in order: its result as text, or `error: ...`."""
        started = [self._start(call) for call in calls]
        return [wait() for wait in started]

    def _start(self, call: ToolCall) -> Callable[[], str]:
        tool = self.tools.get(call.name)
        if tool is None:
            known = ", ".join(self.tools)
            return lambda: f"error: there is no tool {call.name!r}; there are: {known}"
        pool, future = self._schedule(tool, call.arguments)

        def wait(pool: ProcessPool = pool, future: Any = future, tries: int = 2) -> str:
            try:
                return str(future.result())
            except CallTimeout:
                return f"error: {call.name} took longer than {self.timeout_s:g} s"
            except ProcessExpired as error:
                return f"error: {call.name} ended its process: {error}"
            except BrokenProcessPool as error:  # nothing ran
                if tries == 1:
                    return f"error: {call.name} could not be run: {error}"
                self._replace(pool)
                return wait(*self._schedule(tool, call.arguments), tries - 1)

        return wait


def forget_secrets() -> None:
    """Keep what tools run away from the keys of the services around them."""
    for name in SECRETS:
        os.environ.pop(name, None)


def run_tool(function: Callable[..., object], arguments: Mapping[str, Any]) -> str:
    """Call a tool; its result as text, or what it raised. Runs in a tool process."""
    try:
        text = str(function(**arguments))
    except BaseException as error:  # noqa: BLE001 - sys.exit, too: the model called, and is told
        text = "error: " + "".join(traceback.format_exception_only(error)).strip()
    return text[:MAX_RESULT_CHARS].encode(errors="replace").decode()
