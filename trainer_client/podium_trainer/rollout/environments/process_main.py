"""Serve one environment at a time over a pipe: the process that processes.py starts."""

import asyncio
import inspect
import os
import pickle
import sys
import threading
import time
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from podium_trainer.rollout.environments.faults import EnvironmentLost, check_methods, describe
from podium_trainer.rollout.tool_runner import to_text

GRACE_S = 5.0  # seconds that the environment may take to close when the trainer is gone


class Server:
    """Holds the environment, and calls it.

    Args:
        runner: runs async methods.
    """

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.environment: Any = None

    def answer(self, request: bytes) -> tuple[str, Any]:
        """Return the kind and the value of the answer to a request."""
        try:
            name, args, kwargs = pickle.loads(request)
            value = self._call(name, *args, **kwargs)
            pickle.dumps(value)
        except EnvironmentLost as error:
            return "lost", str(error)
        except BaseException as error:  # noqa: BLE001 - even sys.exit is told
            return "raised", describe(error)
        return "returned", value

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "make":
            [make] = args
            environment = make()
            check_methods(environment)
            self.environment = environment
            return None
        if name == "close":
            return self.close()
        method = getattr(self.environment, name, None)
        if method is None:
            kind = type(self.environment).__name__
            raise EnvironmentLost(f"is a tool without a function, and no method of {kind}")
        value = self._finish(method(*args, **kwargs))
        return value if name in ("reset", "step") else to_text(value)

    def close(self) -> None:
        """Close the environment, if there is one."""
        environment, self.environment = self.environment, None
        if environment is not None:
            self._finish(environment.close())

    def _finish(self, value: Any) -> Any:
        async def wait() -> Any:
            return await value

        return self.runner.run(wait()) if inspect.isawaitable(value) else value


def read(connection: Connection, requests: "SimpleQueue[bytes | None]") -> None:
    """Pass requests on until the trainer is gone; then end the process, even if a call hangs."""
    try:
        while True:
            requests.put(connection.recv_bytes())
    except (EOFError, OSError):
        requests.put(None)
        time.sleep(GRACE_S)
        os._exit(1)


def main() -> None:
    """Answer requests until the trainer is gone, then close the environment."""
    connection = Connection(int(sys.argv[1]))
    requests: SimpleQueue[bytes | None] = SimpleQueue()
    threading.Thread(target=read, args=(connection, requests), daemon=True).start()
    with asyncio.Runner() as runner:
        server = Server(runner)
        while (request := requests.get()) is not None:
            connection.send(server.answer(request))
        server.close()


if __name__ == "__main__":
    main()
