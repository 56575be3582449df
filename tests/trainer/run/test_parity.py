"""Whether sampler and policy are the same model."""

import pytest
import torch

from podium_trainer.run.checks.parity import ParityError, check_parity
from podium_trainer.samplers.local import LocalSampler
from tests.trainer.tiny import tiny_llama, tiny_policy

PROMPTS = [[1, 5, 6, 7], [1, 5, 6], [1, 9]]


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_the_same_model_agrees_to_rounding(temperature: float) -> None:
    policy = tiny_policy(temperature=temperature)
    parity = check_parity(
        policy, LocalSampler(policy, temperature=temperature), PROMPTS, bound=1e-5
    )
    assert parity.mean_abs_log_ratio < 1e-5
    assert parity.max_ratio == pytest.approx(1, abs=1e-4)
    assert parity.k3 == pytest.approx(0, abs=1e-6)
    assert parity.num_tokens > 0


def test_another_model_is_an_error_that_names_the_distance() -> None:
    sampler = LocalSampler(tiny_policy(tiny_llama(seed=1)), temperature=1.0)
    with pytest.raises(ParityError, match=r"mean \|log ratio\| .* exceeds .*parity_bound 0\.05"):
        check_parity(tiny_policy(), sampler, PROMPTS, bound=0.05)


def test_another_temperature_is_an_error() -> None:
    policy = tiny_policy(temperature=0.5)
    with pytest.raises(ParityError, match="--logprobs-mode processed_logprobs"):
        check_parity(policy, LocalSampler(policy, temperature=1.0), PROMPTS, bound=0.05)


def test_nan_logprobs_are_an_error() -> None:
    policy = tiny_policy()
    sampler = LocalSampler(tiny_policy(), temperature=1.0)
    with torch.no_grad():
        policy.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ParityError, match="nan"):
        check_parity(policy, sampler, PROMPTS, bound=0.05)
