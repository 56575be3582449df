"""Weights that go to a real vLLM server over the network: they arrive, and failures mend."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest

from podium.weights.bucket import Bucket
from podium_trainer.config import ModelConfig, SamplerConfig
from podium_trainer.policy.load import load_policy
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Completion, Request
from podium_trainer.run.checks.parity import check_parity
from podium_trainer.samplers.membership import Push
from podium_trainer.samplers.stream.push import Streamed
from podium_trainer.samplers.stream.stream import WeightStream
from podium_trainer.samplers.vllm import VllmSampler
from podium_trainer.samplers.vllm_check import open_servers
from podium_trainer.samplers.vllm_requests import Weights
from tests.integration.conftest import need
from tests.integration.test_vllm_training import disturb, wait_until_running
from tests.integration.vllm_server import (
    CPU_ARGS,
    end_group,
    free_port,
    install_plugin,
    start,
    wait_until_ready,
)
from tests.trainer.fake_vllm import FakeVllm

pytestmark = pytest.mark.vllm

FLAGS = ("--enable-scale-out", "--weight-transfer-config", '{"backend": "podium"}')
STORY = [{"role": "user", "content": "Tell me a very long story."}]
MIB = 2**20


@dataclass(frozen=True)
class Served:
    """A server and its process."""

    url: str
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Yield a server that takes weights over the network; the last test ends it."""
    python, model = need("PODIUM_VLLM_PYTHON"), need("PODIUM_SMOLLM2")
    folder, port = tmp_path_factory.mktemp("vllm"), free_port()
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--port", str(port)]
    command += ["--host", "127.0.0.1", "--model", str(model), "--served-model-name", "policy"]
    command += ["--max-model-len", "2048", *CPU_ARGS, *FLAGS]
    log, url = folder / "server.log", f"http://127.0.0.1:{port}"
    process = start(command, log, install_plugin(folder))
    try:
        wait_until_ready(process, f"{url}/health", log)
        yield Served(url, process)
    finally:
        end_group(process)


@pytest.fixture(scope="module")
def policy() -> Policy:
    model = ModelConfig(path=str(need("PODIUM_SMOLLM2")), autocast=False)
    return load_policy(model, temperature=1.0)


@pytest.fixture
def prompt(policy: Policy) -> list[int]:
    return policy.chat.encode(policy.chat.render(STORY, None))


@contextmanager
def streaming(policy: Policy, *urls: str) -> Iterator[tuple[VllmSampler, WeightStream]]:
    """Open a sampler of these servers, and a stream to them in small buckets."""
    config = SamplerConfig(kind="vllm", urls=list(urls))
    with open_servers(config, look_every_s=60.0) as servers:
        sampler = VllmSampler(servers, stop_ids=[], temperature=1.0, timeout_s=300)
        stream = WeightStream(policy, sampler, timeout_s=60, bucket_bytes=32 * MIB)
        yield sampler, stream
        stream.close()


class Interrupted(Sequence[Bucket]):
    """The buckets of a push, between which something happens once."""

    def __init__(self, buckets: Sequence[Bucket], event: Callable[[], None]) -> None:
        self._buckets, self._event = buckets, event

    def __len__(self) -> int:
        return len(self._buckets)

    def __getitem__(self, index: int) -> Bucket:  # type: ignore[override]
        if index == 2:
            self._event()
        return self._buckets[index]


def interrupt(sampler: VllmSampler, event: Callable[[], None]) -> Push:
    """Return the present push under its next version, with an event between its buckets."""
    push = sampler.servers.membership.push
    assert isinstance(push, Streamed)
    weights = Weights(push.weights.version + 1, push.weights.model, f"{push.weights.label}-next")
    return Streamed(weights, Interrupted(push.buckets, event), push.links, push.timeout_s)


def test_weights_arrive_while_sequences_are_in_flight(
    server: Served, policy: Policy, prompt: list[int]
) -> None:
    groups: list[list[Completion]] = []
    with streaming(policy, server.url) as (sampler, stream):
        stream.push(0)
        disturb(policy)
        thread = threading.Thread(
            target=lambda: groups.extend(sampler.sample([Request(prompt, 2, 150)], seed=0))
        )
        thread.start()
        wait_until_running(server.url)
        stream.push(1)
        thread.join()
        parity = check_parity(policy, sampler, [prompt], bound=1e-3)
    versions = [completion.policy_versions for completion in groups[0]]
    assert any(set(each) == {0, 1} for each in versions)
    assert all(each == sorted(each) for each in versions)
    assert parity.max_ratio < 1.05
    print(f"\nparity after a push in flight: {parity}")


def test_a_push_that_breaks_off_is_made_good_by_another_trainer(
    server: Served, policy: Policy, prompt: list[int]
) -> None:
    def break_off() -> None:
        raise RuntimeError("the trainer fails between two buckets")

    with streaming(policy, server.url) as (sampler, stream):
        stream.push(0)
        with pytest.raises(BaseExceptionGroup, match="unhandled errors"):
            sampler.servers.adopt(interrupt(sampler, break_off))
    for path in ("/pause?mode=keep", "/start_weight_update"):  # what a killed trainer leaves
        httpx.post(f"{server.url}{path}", trust_env=False).raise_for_status()
    disturb(policy)
    with streaming(policy, server.url) as (sampler, stream):
        stream.push(0)
        parity = check_parity(policy, sampler, [prompt], bound=1e-3)
    assert parity.max_ratio < 1.05


def test_a_server_that_is_killed_in_a_push_does_not_stop_the_run(
    server: Served, policy: Policy, prompt: list[int]
) -> None:
    reached = []

    def kill() -> None:
        reached.append(1)
        if len(reached) == 2:  # both servers have got some buckets
            os.killpg(server.process.pid, signal.SIGKILL)

    with (
        FakeVllm(num_workers=1).serving() as other,
        streaming(policy, server.url, other.url) as (sampler, stream),
    ):
        stream.push(0)
        sampler.servers.adopt(interrupt(sampler, kill))
        assert [each.url for each in sampler.servers.membership.ready] == [other.url]
        [[completion]] = sampler.sample([Request(prompt, 1, 4)], seed=0)
        assert completion.policy_versions == [1] * 4
        stream.push(2)
        [[completion]] = sampler.sample([Request(prompt, 1, 4)], seed=0)
        assert completion.policy_versions == [2] * 4
