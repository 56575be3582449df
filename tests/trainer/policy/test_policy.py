"""Logprobs of packed samples against all logits of one unpadded row per sample."""

import pytest
import torch
from torch import Tensor

from podium_trainer.policy import policy as policy_module
from podium_trainer.policy.policy import chunked_logprobs
from tests.trainer.tiny import (
    GROUP,
    MODELS,
    VOCAB,
    flatten,
    naive_logprobs,
    packed_logprobs,
    seeded,
    tiny_policy,
)

FLAGS = {  # (shares_prefixes, chunks_logits)
    "llama": (True, True),
    "llama, eager attention": (False, True),
    "gpt2": (True, True),
    "gpt neo, local attention": (False, True),
    "mistral, sliding window": (False, True),
    "qwen2, one sliding layer": (False, True),
    "gemma2, capped logits": (False, False),
    "granite, scaled logits": (True, False),
    "cohere, scaled logits": (True, False),
    "lfm2, convolution and attention": (False, True),
    "mamba": (False, True),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_every_model_gives_the_logprobs_of_its_full_logits(name: str, temperature: float) -> None:
    model = seeded(MODELS[name])
    policy = tiny_policy(model, temperature=temperature)
    assert (policy.shares_prefixes, policy.chunks_logits) == FLAGS[name]
    model.eval()
    expected = [naive_logprobs(model, one, temperature) for one in GROUP]
    assert flatten(packed_logprobs(policy, GROUP)) == pytest.approx(flatten(expected), abs=1e-5)


class CountingHead(torch.nn.Linear):
    """An output layer that counts the rows of each call."""

    def __init__(self) -> None:
        super().__init__(4, 11, bias=False, dtype=torch.float64)
        self.rows: list[int] = []

    def forward(self, input: Tensor) -> Tensor:
        self.rows.append(len(input))
        return super().forward(input)


@pytest.mark.parametrize("chunk", [1, 3, 8, 20, 21, 1000])
def test_chunked_logprobs_and_gradients_equal_full_log_softmax(chunk: int) -> None:
    torch.manual_seed(0)
    head, targets_T = CountingHead(), torch.randint(11, (20,))
    hidden_TD = torch.randn(20, 4, dtype=torch.float64, requires_grad=True)
    weights_T = torch.randn(20, dtype=torch.float64)

    full_TV = (hidden_TD @ head.weight.T / 0.7).log_softmax(-1)
    expected_T = full_TV[range(20), targets_T]
    expected = torch.autograd.grad((expected_T * weights_T).sum(), [hidden_TD, head.weight])
    actual_T = chunked_logprobs(hidden_TD, head, targets_T, 0.7, chunk)
    actual = torch.autograd.grad((actual_T * weights_T).sum(), [hidden_TD, head.weight])

    assert actual_T.tolist() == pytest.approx(expected_T.tolist(), abs=1e-6)
    for gradient, expected_gradient in zip(actual, expected, strict=True):
        assert torch.allclose(gradient, expected_gradient, atol=1e-6)
    assert max(head.rows) == min(chunk, 20)
    assert sum(head.rows) == (20 if chunk >= 20 else 40)  # more than one chunk is computed twice


def test_chunks_are_computed_once_without_gradients() -> None:
    head = CountingHead()
    with torch.no_grad():
        logprobs_T = chunked_logprobs(
            torch.ones(7, 4, dtype=torch.float64), head, torch.arange(7), 1.0, 2
        )
    assert logprobs_T.shape == (7,)
    assert head.rows == [2, 2, 2, 1]


def test_only_states_that_predict_trained_tokens_reach_the_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(policy_module, "LOGITS_CHUNK", 512)
    policy = tiny_policy()
    rows: list[tuple[int, ...]] = []
    policy.model.lm_head.register_forward_hook(lambda module, args, out: rows.append(out.shape))
    packed_logprobs(policy, GROUP, max_tokens=1000)
    # There are 4 + 8 + 2 + 3 trained tokens; three samples share 12, and two of them 13.
    assert rows == [(14, VOCAB)]
