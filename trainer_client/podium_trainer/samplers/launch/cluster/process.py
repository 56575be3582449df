"""One start of a process on a machine that Ray chooses, as the run sees it."""

import os
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import RayError

from podium_trainer.samplers.launch.child import STOP_S
from podium_trainer.samplers.launch.cluster.host import Host, Task
from podium_trainer.samplers.launch.plan import ServerPlan

KILL_S = STOP_S + 5.0
OF_ONE_MACHINE = ("CUDA_VISIBLE_DEVICES", "RAY_")  # beginnings of names


class Server:
    """A server on a machine with room for it; it ends with this process.

    Args:
        plan: what is started.
    """

    def __init__(self, plan: ServerPlan) -> None:
        self._plan = plan
        self._fault: str | None = None
        task = Task(plan.command, str(plan.log), plan.environment, carried(os.environ))
        self._host = create_host(plan.num_gpus, scheduling_strategy="SPREAD")
        self._address = self._host.address.remote()
        self._host.serve.remote(task, self._address)
        self._end = self._host.watch.remote()
        self._stopped: Any = None

    @property
    def url(self) -> str | None:
        """Its address; None as long as it has no machine."""
        if not is_there(self._address):
            return None
        try:
            host, port = ray.get(self._address)
        except RayError:
            return None
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
        if self._fault is None and is_there(self._end):
            try:
                self._fault = ray.get(self._end)
            except RayError as error:
                self._fault = f"is lost: {describe(error)}"
        return self._fault

    def stop(self) -> None:
        """Ask it to end, without waiting for it."""
        self._stopped = self._host.stop.remote()

    def wait(self) -> None:
        """Wait until it has ended after `stop`; kill it if that takes too long."""
        if self.url is not None:
            ray.wait([self._stopped], timeout=KILL_S)
        ray.kill(self._host)


def create_host(num_gpus: int, **options: Any) -> Any:
    """Ask Ray for a host on a machine with a CPU and so many GPUs free."""
    actor: Any = ray.remote(Host)
    return actor.options(num_cpus=1, num_gpus=num_gpus, max_concurrency=4, **options).remote()


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
