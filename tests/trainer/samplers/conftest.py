"""A fake vLLM server and a sampler of it."""

from collections.abc import Iterator

import pytest

from podium_trainer.samplers.vllm import VllmSampler
from tests.trainer.fake_vllm import FakeVllm
from tests.trainer.samplers.vllm_sampling import sampling


@pytest.fixture
def fake() -> Iterator[FakeVllm]:
    with FakeVllm().serving() as server:
        yield server


@pytest.fixture
def sampler(fake: FakeVllm) -> Iterator[VllmSampler]:
    with sampling(fake) as opened:
        yield opened
