"""Open a sampler of fake vLLM servers, and look at what a push has changed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium_trainer.config import SamplerConfig
from podium_trainer.policy.samples import Request
from podium_trainer.samplers.vllm import VllmSampler
from podium_trainer.samplers.vllm_check import open_servers
from podium_trainer.samplers.vllm_requests import Weights
from podium_trainer.samplers.vllm_server import VllmServer
from tests.trainer.fake_vllm import FakeVllm


@dataclass(frozen=True)
class Given:
    """A push of weights that every server has already."""

    weights: Weights

    async def find(self, server: VllmServer) -> str:
        return self.weights.name

    async def give(self, server: VllmServer) -> None: ...


def use(sampler: VllmSampler, weights: Weights) -> None:
    """Ask for these weights from now on."""
    sampler.servers.adopt(Given(weights))


@contextmanager
def sampling(
    *fakes: FakeVllm,
    urls: tuple[str, ...] = (),
    notes: list[str] | None = None,
    look_every_s: float = 0.05,
    **settings: Any,
) -> Iterator[VllmSampler]:
    """Open a sampler of checked servers, and forget the calls that checked them."""
    settings = {"max_tokens": 8, "timeout_s": 5.0, "admin_timeout_s": 5.0} | settings
    config = SamplerConfig(kind="vllm", urls=[*urls, *(fake.url for fake in fakes)], **settings)
    note = (notes if notes is not None else []).append
    with open_servers(config, note, look_every_s=look_every_s) as servers:
        for fake in fakes:
            fake.calls.clear()
        yield VllmSampler(
            servers, stop_ids=[2, 0], temperature=config.temperature, timeout_s=config.timeout_s
        )


def sample_versions(sampler: VllmSampler) -> list[int]:
    """Sample a completion and return the versions of its tokens."""
    [[completion]] = sampler.sample([Request([1, 2, 3], 1, 3)], seed=0)
    return completion.policy_versions


def names_in(path: Path) -> list[str]:
    return sorted(child.name for child in path.iterdir())


def one_line(caught: Any) -> str:
    """Return an error message after checking that it is one line."""
    assert "\n" not in str(caught.value)
    return str(caught.value)
