"""Open a sampler of fake vLLM servers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from podium_trainer.config import SamplerConfig
from podium_trainer.samplers.vllm import VllmSampler
from podium_trainer.samplers.vllm_check import open_servers
from tests.trainer.fake_vllm import FakeVllm


@contextmanager
def sampling(
    *fakes: FakeVllm, urls: tuple[str, ...] = (), **settings: Any
) -> Iterator[VllmSampler]:
    """Open a sampler of checked servers, and forget the calls that checked them."""
    settings = {"max_tokens": 8, "timeout_s": 5.0, "admin_timeout_s": 5.0} | settings
    config = SamplerConfig(kind="vllm", urls=[*urls, *(fake.url for fake in fakes)], **settings)
    with open_servers(config) as servers:
        for fake in fakes:
            fake.calls.clear()
        yield VllmSampler(
            servers, stop_ids=[2, 0], temperature=config.temperature, timeout_s=config.timeout_s
        )
