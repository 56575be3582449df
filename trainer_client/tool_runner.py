"""Runs tools' functions in processes of their own, each call under a time limit.

A process that does not answer in time is ended and replaced; whatever goes wrong becomes the text
that the model reads.
"""

import multiprocessing
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import TimeoutError as CallTimeout
from typing import Any, Self

from pebble import ProcessExpired, ProcessPool

from trainer_client.tasks.task import Tool
from trainer_client.tool_calls import ToolCall

MAX_RESULT_CHARS = 20_000


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
        # Not fork: torch's threads and a GPU's context do not survive it.
        self._pool = ProcessPool(num_processes, context=multiprocessing.get_context("spawn"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()

    def run_all(self, calls: Sequence[ToolCall]) -> list[str]:
        """What each call gave, in order: its result as text, or `error: ...`."""
        started = [self._start(call) for call in calls]
        return [wait() for wait in started]

    def _start(self, call: ToolCall) -> Callable[[], str]:
        tool = self.tools.get(call.name)
        if tool is None:
            known = ", ".join(self.tools)
            return lambda: f"error: there is no tool {call.name!r}; there are: {known}"
        future = self._pool.schedule(
            run_tool, args=(tool.function, call.arguments), timeout=self.timeout_s
        )

        def wait() -> str:
            try:
                return str(future.result())
            except CallTimeout:
                return f"error: {call.name} took longer than {self.timeout_s:g} s"
            except ProcessExpired as error:
                return f"error: {call.name} ended its process: {error}"

        return wait


def run_tool(function: Callable[..., object], arguments: Mapping[str, Any]) -> str:
    """Call a tool; its result as text, or what it raised. Runs in a tool process."""
    try:
        text = str(function(**arguments))
    except BaseException as error:  # noqa: BLE001 - sys.exit, too: the model called, and is told
        text = "error: " + "".join(traceback.format_exception_only(error)).strip()
    return text[:MAX_RESULT_CHARS].encode(errors="replace").decode()
