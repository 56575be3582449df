"""Servers that sleep during an update, over TCP; the launcher has started none of them."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.launch.launcher import Launcher
from podium_trainer.samplers.launch.plan import ServerPlan
from podium_trainer.samplers.launch.shared_gpu import SharedGpu
from podium_trainer.samplers.vllm import VllmSampler
from podium_trainer.samplers.vllm_requests import Weights
from tests.service.process import wait
from tests.trainer.fake_vllm import FakeVllm, fault
from tests.trainer.samplers.launch.test_launcher import launching, plans
from tests.trainer.samplers.vllm_sampling import one_line, sampling, use


class Shared:
    """Two servers, of which the first shares the trainer's GPU."""

    def __init__(self, stack: ExitStack) -> None:
        self.fakes = [stack.enter_context(FakeVllm().serving()) for _ in range(2)]
        plans = [ServerPlan([], Path(), shares_gpu=place == 0) for place in range(len(self.fakes))]
        self.launcher = Launcher(plans, start_s=1.0, note=lambda line: None)
        stack.callback(self.launcher.close)
        self.sampler: VllmSampler = stack.enter_context(sampling(*self.fakes))
        self.gpu = SharedGpu(self.sampler.servers, self.launcher, timeout_s=5.0)


@pytest.fixture
def shared() -> Iterator[Shared]:
    with ExitStack() as stack:
        yield Shared(stack)


def test_the_server_on_the_trainers_gpu_sleeps_in_an_update(shared: Shared) -> None:
    first, second = shared.fakes
    with shared.gpu.asleep():
        assert first.is_asleep
        assert first.calls == [("/sleep", {"level": "1"})]
    assert not first.is_asleep
    assert first.paths == ["/sleep", "/wake_up"]
    assert second.calls == []
    assert shared.sampler.servers_ready == 2


def test_a_failed_update_wakes_the_server(shared: Shared) -> None:
    with pytest.raises(ZeroDivisionError), shared.gpu.asleep():
        raise ZeroDivisionError
    assert not shared.fakes[0].is_asleep


def test_a_server_that_cannot_sleep_is_one_line_before_a_step(shared: Shared) -> None:
    shared.gpu.check()
    assert not shared.fakes[0].is_asleep
    shared.fakes[0].faults["/sleep"].append((404, {"detail": "Not Found"}))
    with pytest.raises(
        SamplerError, match=r"/sleep\?level=1 answered 404.*sampler\.colocate"
    ) as at:
        shared.gpu.check()
    assert shared.fakes[0].url in one_line(at)


def test_a_server_that_only_says_that_it_sleeps_is_refused(shared: Shared) -> None:
    shared.fakes[0].can_sleep = False
    with pytest.raises(SamplerError, match="was answered, and the server does not sleep"):
        shared.gpu.check()


@pytest.mark.parametrize("path", ["/sleep", "/wake_up"])
def test_a_server_that_fails_is_started_again(shared: Shared, path: str) -> None:
    shared.fakes[0].faults[path].append(fault(500))
    with shared.gpu.asleep():
        pass
    members = shared.sampler.servers.membership.members
    assert [server.state for server in members] == ["gone", "ready"]
    assert shared.launcher.servers[0].started is None
    assert not shared.launcher.servers[0].is_due  # after the first wait it is


def test_a_server_that_is_not_ready_is_ended_for_the_update(shared: Shared) -> None:
    member = shared.sampler.servers.membership.members[0]
    shared.sampler.servers.lose(member, SamplerError("it died"))
    with shared.gpu.asleep():
        assert shared.fakes[0].calls == []
    assert shared.fakes[0].calls == []


def test_a_server_that_loads_is_waited_for(tmp_path: Path) -> None:
    planned = [replace(each, shares_gpu=True) for each in plans(tmp_path, ("--load=0.5",))]
    with (
        launching(planned, []) as launcher,
        sampling(urls=tuple(launcher.urls)) as sampler,
        launcher.telling(sampler.servers.move, known=launcher.urls),
    ):
        use(sampler, Weights(1, "policy", "default"))
        gpu = SharedGpu(sampler.servers, launcher, timeout_s=30.0)
        [member] = sampler.servers.membership.members
        sampler.servers.lose(member, SamplerError("it died"))
        launcher.end(0)
        with gpu.asleep():  # a step without it: nothing holds memory, and its start is not put off
            assert not launcher.has_process(0)
        wait(lambda: launcher.is_loading(0))
        started = launcher.servers[0].started
        with gpu.asleep():
            assert httpx.get(f"{member.url}/is_sleeping").json() == {"is_sleeping": True}
        assert launcher.servers[0].started is started
        assert member.state == "ready"
