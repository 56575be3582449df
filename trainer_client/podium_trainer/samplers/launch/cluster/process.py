"""One start of a process on a machine that Ray chooses, as the run sees it."""

import os
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayError

from podium_trainer.samplers.launch.child import KILL_S
from podium_trainer.samplers.launch.cluster.host import Address, End, Host, Task
from podium_trainer.samplers.launch.guard import GRACE_S
from podium_trainer.samplers.launch.plan import ServerPlan, without_ranks

MAX_CUTS = 8  # of the connection to a machine, after which what runs there is given up
NUM_CALLS = 4 + MAX_CUTS  # that a host answers at once
OF_ONE_MACHINE = ("CUDA_VISIBLE_DEVICES", "RAY_")  # beginnings of names


class Placed:
    """A process on a machine with room for it; it ends with this process.

    Args:
        num_gpus: that it needs; Ray chooses them.
        grace_s: the seconds that it has to end itself.
        strategy: how Ray chooses a machine.
    """

    def __init__(self, num_gpus: int, *, grace_s: float = GRACE_S, strategy: Any) -> None:
        actor: Any = ray.remote(Host)
        self.host = actor.options(
            num_cpus=1, num_gpus=num_gpus, max_concurrency=NUM_CALLS, scheduling_strategy=strategy
        ).remote()
        self.meeting = self.host.address.remote()
        self._kill_s = grace_s + 2 * KILL_S
        self._watched = self.host.watch.remote()
        self._num_cuts = 0
        self._stopped: Any = None
        self._end: End | None = None

    @property
    def address(self) -> Address | None:
        """The address of its machine and a port kept for it; None as long as it has no machine."""
        if not is_there(self.meeting):
            return None
        try:
            host, port = ray.get(self.meeting)
        except RayError:
            return None
        return host, port

    @property
    def end(self) -> End | None:
        """How it has ended; None while it runs."""
        if self._end is None and is_there(self._watched):
            try:
                self._end = ray.get(self._watched)
            except ActorUnavailableError as error:  # it may be there, or be known as lost soon
                self._num_cuts += 1
                self._watched = self.host.watch.remote()
                if self._num_cuts == MAX_CUTS:
                    self._end = End(None, f"is lost: {describe(error)}")
            except RayError as error:
                self._end = End(None, f"is lost: {describe(error)}")
        return self._end

    def stop(self) -> None:
        """Ask it to end, without waiting for it."""
        self._stopped = self.host.stop.remote()

    @property
    def is_stopped(self) -> bool:
        """Whether it has ended after `stop`, or has never begun."""
        return self.address is None or is_there(self._stopped)

    def wait(self) -> None:
        """Wait until it has ended after `stop`; kill it if that takes too long."""
        if not self.is_stopped:
            ray.wait([self._stopped], timeout=self._kill_s)
        self.kill()

    def kill(self) -> None:
        """End its host, and with that the process within seconds."""
        ray.kill(self.host)


class Server(Placed):
    """A server of a run.

    Args:
        plan: what is started.
    """

    def __init__(self, plan: ServerPlan) -> None:
        super().__init__(plan.num_gpus, strategy="SPREAD")
        self._plan = plan
        own = carried(without_ranks(os.environ))
        task = Task(plan.command, str(plan.log), plan.environment, own)
        self.host.serve.remote(task, self.meeting)

    @property
    def url(self) -> str | None:
        """The URL of its address; None as long as it has no machine."""
        if self.address is None:
            return None
        host, port = self.address
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def where(self) -> str:
        """Where to look if it does not answer."""
        if self.url is None:
            gpus = f" and {self._plan.num_gpus} GPUs" if self._plan.num_gpus else ""
            return f"no machine of the Ray cluster has a CPU{gpus} free"
        return f"its log, on that machine: {self._plan.log}"

    @property
    def fault(self) -> str | None:
        """How and why it has ended, or that its machine is lost; None while it runs."""
        return self.end.fault if self.end else None


def carried(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that make sense on another machine, too."""
    return {
        name: value for name, value in environment.items() if not name.startswith(OF_ONE_MACHINE)
    }


def is_there(result: Any) -> bool:
    """Return whether a call has ended."""
    return bool(ray.wait([result], timeout=0)[0])


def describe(error: RayError) -> str:
    """Return in one line why an actor has ended."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reasons = [line for line in lines if "because" in line]
    return (reasons or lines or [type(error).__name__])[-1]
