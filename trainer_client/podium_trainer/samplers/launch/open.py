"""Open the vLLM servers of a run: start them, connect to them, and let one sleep in updates."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

from podium_trainer.config import TrainConfig
from podium_trainer.policy.load import choose_device
from podium_trainer.samplers.launch.cluster import require_ray
from podium_trainer.samplers.launch.launcher import Launcher
from podium_trainer.samplers.launch.plan import ServerPlan, plan_for_ray, plan_servers
from podium_trainer.samplers.launch.plugin import require_plugin
from podium_trainer.samplers.launch.shared_gpu import SharedGpu
from podium_trainer.samplers.launch.started import Start, StartedHere
from podium_trainer.samplers.vllm_check import open_servers
from podium_trainer.samplers.vllm_servers import VllmServers

Asleep = Callable[[], AbstractContextManager[None]]


@contextmanager
def open_vllm(
    config: TrainConfig,
    on_phase: Callable[[str], None],
    note: Callable[[str], None],
) -> Iterator[tuple[VllmServers | None, Asleep]]:
    """Open the servers of a run, and close them when the block ends.

    Args:
        config: all settings of the run.
        on_phase: told what is waited for.
        note: told in one line about each server that leaves, returns or is started again.

    Yields:
        The servers, None with the local sampler; and what is entered for each update.

    Raises:
        SamplerError: If they cannot be started, do not answer, or are unfit.
    """
    settings = config.sampler
    if settings.kind != "vllm":
        yield None, nullcontext
        return
    with ExitStack() as stack:
        launcher = None
        if settings.launch:
            plans, start = stack.enter_context(planned(config))
            on_phase("starting vLLM")
            note(f"the logs of the vLLM servers are in {plans[0].log.parent}")
            launcher = stack.enter_context(
                Launcher(plans, start=start, start_s=settings.vllm.start_s, note=note)
            )
            settings = settings.model_copy(update={"urls": launcher.urls})
        on_phase("connecting to the vLLM servers")
        servers = stack.enter_context(open_servers(settings, note))
        if launcher is not None:
            stack.enter_context(launcher.telling(servers.move, known=settings.urls))
        if launcher is None or not settings.colocate:
            yield servers, nullcontext
            return
        gpu = SharedGpu(servers, launcher, timeout_s=settings.admin_timeout_s)
        gpu.check()
        yield servers, gpu.asleep


@contextmanager
def planned(config: TrainConfig) -> Iterator[tuple[Sequence[ServerPlan], Start]]:
    """Plan the servers, and yield the plans with what starts them: this process, or Ray."""
    settings = config.sampler
    if config.ray is None:
        if settings.weight_sync == "stream":
            require_plugin(settings.vllm.python or Path(sys.executable))
        yield plan_servers(config), StartedHere
        return
    require_ray()
    from podium_trainer.samplers.launch.cluster.connection import connected, has_gpus
    from podium_trainer.samplers.launch.cluster.process import Server

    with connected(config.ray):
        uses_gpus = has_gpus() or choose_device(config.model).type != "cpu"
        yield plan_for_ray(config, has_gpus=uses_gpus), Server
