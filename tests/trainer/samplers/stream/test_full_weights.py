"""The policy's weights as they are given away: their types, their layers, and their gathering."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from podium_trainer.policy.ranks.processes import Ranks
from podium_trainer.samplers.stream.stream import WeightStream
from podium_trainer.samplers.stream.weights import full_weights, layer_of
from podium_trainer.samplers.vllm import VllmSampler
from tests.trainer.tiny import tiny_policy


def test_weights_go_in_the_type_that_servers_compute_in() -> None:
    policy = tiny_policy()
    weights = dict(full_weights(policy, torch.bfloat16))
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert {p.dtype for p in policy.parameters()} == {torch.float32}


class CountedRanks(Ranks):
    """Two ranks without the second, which keep what rank 0 has led and what it is in."""

    def __init__(self) -> None:
        super().__init__(size=2)
        self.led: list[str] = []
        self.now: list[str] = []

    @contextmanager
    def lead(self, name: str, *args: Any, **settings: Any) -> Iterator[None]:
        self.led.append(name)
        self.now.append(name)
        try:
            yield
        finally:
            self.now.remove(name)


@pytest.mark.parametrize("dtype", [None, "bfloat16"], ids=["in pack", "in rounding"])
def test_a_failed_gather_has_ended_when_its_error_is_handled(
    sampler: VllmSampler, dtype: str | None
) -> None:
    ranks = CountedRanks()
    policy = tiny_policy(ranks=ranks)
    policy.base.model.layers[0].mlp.to("meta")  # as a weight that cannot be copied
    stream = WeightStream(policy, sampler, timeout_s=5.0, dtype=dtype, bucket_bytes=5000)
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor") as caught:
        stream.push(0)
    assert caught.tb  # keeps the frames of what has failed, as a handler does
    assert (ranks.led, ranks.now) == (["gather"], [])


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("embed.weight", ("embed.weight",)),
        ("layers.0.q", ("layers", "0")),
        ("layers.0.experts.1.k", ("layers", "0")),
        ("layers.10.q", ("layers", "10")),
    ],
)
def test_the_weights_of_a_layer_are_known_by_its_number(name: str, layer: tuple[str]) -> None:
    assert layer_of(name) == layer
