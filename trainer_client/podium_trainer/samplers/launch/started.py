"""One start of a server: where it serves, and how it has ended.

To start servers elsewhere than on this machine or by Ray: write a class like `StartedHere`, and let
open.py give it to the launcher.
"""

import os
from collections.abc import Callable
from typing import Protocol

from podium_trainer.samplers.launch.child import Child, Port
from podium_trainer.samplers.launch.plan import ServerPlan, without_ranks

HOST = "127.0.0.1"


class Started(Protocol):
    """A server's process, from one start to its end; no call waits for it but `wait`."""

    @property
    def url(self) -> str | None:
        """Its address; None as long as it has no machine."""
        ...

    @property
    def where(self) -> str:
        """Where to look if it does not answer: at its log, or why it has no machine."""
        ...

    @property
    def fault(self) -> str | None:
        """How and why it has ended; None while it runs."""
        ...

    def stop(self) -> None:
        """Ask it to end, without waiting for it."""
        ...

    def wait(self) -> None:
        """Wait until it has ended after `stop`, and kill it if that takes too long."""
        ...


Start = Callable[[ServerPlan], Started]


class StartedHere(Child):
    """A server on this machine, at a port that is kept for it."""

    def __init__(self, plan: ServerPlan) -> None:
        self._port = Port(HOST)
        self.url = f"http://{HOST}:{self._port.number}"
        self.where = f"its log: {plan.log}"
        try:
            plan.log.parent.mkdir(parents=True, exist_ok=True)
            environment = without_ranks(os.environ) | plan.environment
            super().__init__(plan.command_at(HOST, self._port.number), environment, plan.log)
        except OSError:
            self._port.give_up()
            raise

    def wait(self) -> None:
        """Wait until it has ended after `stop`, and kill it if that takes too long."""
        super().wait()
        self._port.give_up()
