"""The gradient of a mini-batch against a plain implementation, in float64."""

from math import log
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from podium_trainer.config import LossConfig
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Sample
from podium_trainer.update.batch_loss import Tally
from podium_trainer.update.loss import LOSSES
from podium_trainer.update.mini_batch import MiniBatch, build_mini_batch, compute_logprobs
from podium_trainer.update.update import accumulate
from tests.trainer.tiny import (
    MODELS,
    difference,
    gradients,
    naive_logprobs,
    sample,
    tiny_llama,
    tiny_policy,
)
from tests.trainer.update.plain_update import (
    MAX_TOKENS,
    TEMPERATURE,
    double_policy,
    group_of_samples,
    naive_loss,
)


def accumulate_fresh(
    policy: Policy,
    samples: list[Sample],
    micro_batch_tokens: int,
    old: Policy | None = None,
    **config: Any,
) -> tuple[dict[str, Tensor], float]:
    """Return the gradients and the loss of one mini-batch.

    `old` is the policy at the start of the update; None stands for the policy itself.
    """
    policy.model.zero_grad(set_to_none=True)
    settings = LossConfig(**({"sequence_ratio_bounds": None} | config))
    tally, part = Tally(), mini_batch(samples, settings.name)
    if old is not None:
        part.old_logprobs = compute_logprobs(old, part, micro_batch_tokens)
    accumulate(policy, part, settings, micro_batch_tokens, tally)
    return gradients(policy.model), tally.get("loss")


def mini_batch(samples: list[Sample], name: str) -> MiniBatch:
    """Make a mini-batch of samples that are attempts of their own."""
    groups = [[[one] for one in samples]]
    return build_mini_batch(groups, LOSSES[name].denominator, MAX_TOKENS)


def moved_policy() -> Policy:
    """Make a policy with weights a little off those of `double_policy`."""
    policy = double_policy()
    generator = torch.Generator().manual_seed(1)
    for p in policy.parameters():
        p.data += 0.01 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return policy


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("importance_cap", [3.0, 1.05])
@pytest.mark.parametrize("has_moved", [False, True])
def test_the_gradient_equals_that_of_a_plain_implementation(
    name: str, importance_cap: float, has_moved: bool
) -> None:
    policy, old = double_policy(), moved_policy() if has_moved else None
    samples = group_of_samples(policy.model)
    expected = naive_loss(policy.model, samples, name, importance_cap, old and old.model)
    expected.backward()  # type: ignore[no-untyped-call]
    expected_gradients = gradients(policy.model)
    actual, loss = accumulate_fresh(
        policy, samples, 1000, old, name=name, importance_cap=importance_cap
    )
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5, abs=1e-7)
    assert difference(actual, expected_gradients) < 1e-5


@pytest.mark.parametrize("model", MODELS)
def test_the_gradient_is_right_for_every_model(model: str) -> None:
    policy = double_policy(model)
    policy.model.eval()  # switches off the dropout of GPT-2, as load_policy does
    samples = group_of_samples(policy.model)
    naive_loss(policy.model, samples, "dapo", 3.0).backward()  # type: ignore[no-untyped-call]
    expected_gradients = gradients(policy.model)
    actual, _ = accumulate_fresh(policy, samples, 40, name="dapo")
    assert difference(actual, expected_gradients) < 1e-5


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("model", ["llama", "llama, eager attention"])
def test_micro_batches_change_neither_gradient_nor_loss(name: str, model: str) -> None:
    policy = double_policy(model)
    samples = group_of_samples(policy.model)
    whole, loss = accumulate_fresh(policy, samples, 1000, name=name)
    num_batches = {}
    for micro_batch_tokens in (34, 16, 1):
        actual, same_loss = accumulate_fresh(policy, samples, micro_batch_tokens, name=name)
        assert difference(actual, whole) < 1e-5
        assert same_loss == pytest.approx(loss, rel=1e-5, abs=1e-8)
        num_batches[micro_batch_tokens] = len(list(policy.pack(samples, micro_batch_tokens)))
    assert num_batches[1] == 8
    assert 1 < num_batches[34] < num_batches[16] <= 8


@pytest.mark.parametrize("name", LOSSES)
def test_ties_leave_no_gradient(name: str) -> None:
    policy = double_policy()
    tied = [sample(one.token_ids, advantage=0.0) for one in group_of_samples(policy.model)]
    actual, loss = accumulate_fresh(policy, tied, 1000, name=name)
    assert loss == 0
    assert all(not gradient.any() for gradient in actual.values())


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_the_kl_penalty_is_added_per_token_before_dividing(
    estimator: str,
) -> None:
    policy = double_policy()
    policy.reference = tiny_llama(seed=1).double().requires_grad_(False)
    samples = group_of_samples(policy.model)
    penalties = []
    for one in samples:
        policy_logprobs_N = naive_logprobs(policy.model, one, TEMPERATURE)
        d_N = policy_logprobs_N - naive_logprobs(policy.reference, one, TEMPERATURE)
        k1_N, k2_N = d_N.detach() * policy_logprobs_N, d_N**2 / 2
        k3_N = (-d_N).exp() - 1 + d_N
        penalties.append({"k1": k1_N, "k2": k2_N, "k3": k3_N}[estimator].mean())
    loss = naive_loss(policy.model, samples, "grpo", 3.0) + 0.3 * torch.stack(penalties).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    expected_gradients = gradients(policy.model)
    actual, _ = accumulate_fresh(policy, samples, 40, name="grpo", kl=estimator, kl_coef=0.3)
    assert difference(actual, expected_gradients) < 1e-5
    assert all(p.grad is None for p in policy.reference.parameters())


def test_the_kl_reference_of_an_adapter_is_the_model_without_it() -> None:
    results = []
    for frozen_copy in (False, True):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            adapted: Any = get_peft_model(
                tiny_llama().double(), LoraConfig(r=2, target_modules="all-linear")
            )
            for p in adapted.parameters():
                p.data += 0.1 * torch.randn_like(p) * p.requires_grad
        policy = tiny_policy(adapted, temperature=TEMPERATURE)
        policy.reference = tiny_llama().double() if frozen_copy else None
        samples = group_of_samples(adapted)
        actual, loss = accumulate_fresh(policy, samples, 40, kl="k3", kl_coef=1.0)
        results.append((actual, loss))
    assert difference(results[0][0], results[1][0]) < 1e-6
    assert results[0][1] == pytest.approx(results[1][1])
    assert set(results[0][0]) == {n for n, p in adapted.named_parameters() if p.requires_grad}


def test_a_sequence_with_a_mean_ratio_out_of_bounds_is_left_out() -> None:
    policy = double_policy()
    samples = group_of_samples(policy.model, noise=0.0)
    far = [
        sample(one.token_ids, [t for t, m in enumerate(one.loss_mask) if m],
               behavior=[b - shift for b, m in
                         zip(one.behavior_logprobs, one.loss_mask, strict=True) if m],
               advantage=max(one.advantages, key=abs))
        for one, shift in zip(samples, [0, log(2.1), 0, -log(2.1), 0, log(1.9), 0, 0], strict=True)
    ]  # fmt: skip
    tally = Tally()
    config = LossConfig(name="reinforce")  # bounds .5 to 2 by default
    accumulate(policy, mini_batch(far, "reinforce"), config, 1000, tally)
    actual = gradients(policy.model)
    assert tally.get("masked") == 2
    in_bounds = [one for i, one in enumerate(far) if i not in (1, 3)]
    share = sum(one.num_loss_tokens for one in in_bounds) / sum(one.num_loss_tokens for one in far)
    policy.model.zero_grad(set_to_none=True)
    loss = naive_loss(policy.model, in_bounds, "reinforce", 3.0) * share  # the denominator stays
    loss.backward()  # type: ignore[no-untyped-call]
    assert difference(actual, gradients(policy.model)) < 1e-5
