"""Whole updates: how many steps they take, what they report and what they refuse."""

from dataclasses import replace
from math import exp, log
from typing import Any

import pytest
import torch
from torch import Tensor

from podium_trainer.config import LossConfig
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Sample
from podium_trainer.update.denominators import trained_share
from podium_trainer.update.loss import LOSSES
from podium_trainer.update.update import UpdateError, UpdateStats, take_step, update
from tests.trainer.tiny import END, naive_logprobs, sample, tiny_llama, tiny_policy
from tests.trainer.update.plain_update import (
    MAX_TOKENS,
    TEMPERATURE,
    double_policy,
    group_of_samples,
    naive_loss,
)


class CountingSgd(torch.optim.SGD):
    """Plain gradient descent that records the gradients of each step."""

    def __init__(self, policy: Policy, lr: float = 0.1) -> None:
        super().__init__(policy.parameters(), lr=lr)
        self.steps: list[list[Tensor]] = []

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        params = self.param_groups[0]["params"]
        self.steps.append([p.grad.clone() for p in params])
        super().step(closure)


def run_update(
    policy: Policy, optimizer: torch.optim.Optimizer, samples: list[Sample], **changes: Any
) -> UpdateStats:
    """Update with the tests' settings and some changes; `loss` changes the loss config.

    Each sample is an attempt and a group of its own.
    """
    loss = LossConfig(**({"sequence_ratio_bounds": None} | changes.pop("loss", {})))
    settings = {
        "max_completion_tokens": MAX_TOKENS,
        "micro_batch_tokens": 64,
        "max_grad_norm": 1e9,
    } | changes
    return update(policy, optimizer, [[[one]] for one in samples], loss, **settings)


@pytest.mark.parametrize(("passes", "mini_batches"), [(1, 1), (3, 1), (1, 2), (2, 4)])
def test_every_mini_batch_of_every_pass_is_one_step(passes: int, mini_batches: int) -> None:
    policy = double_policy()
    samples = group_of_samples(policy.model)
    by_hand, old = double_policy(), double_policy()
    optimizer, expected = CountingSgd(policy, lr=0.02), CountingSgd(by_hand, lr=0.02)
    run_update(policy, optimizer, samples, passes=passes, mini_batches=mini_batches)
    for _ in range(passes):
        for part in range(mini_batches):
            own = samples[part::mini_batches]
            naive_loss(by_hand.model, own, "dapo", 3.0, old.model).backward()  # type: ignore[no-untyped-call]
            expected.step()
            expected.zero_grad()
    assert len(optimizer.steps) == passes * mini_batches
    for actual, wanted in zip(policy.parameters(), by_hand.parameters(), strict=True):
        assert torch.allclose(actual, wanted, atol=1e-6)
    assert all(p.grad is None for p in policy.parameters())


def test_more_mini_batches_than_samples_take_no_empty_step() -> None:
    policy = double_policy()
    optimizer = CountingSgd(policy)
    run_update(policy, optimizer, group_of_samples(policy.model)[:2], mini_batches=5)
    assert len(optimizer.steps) == 2


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"rft"}))  # which trains no tied group
def test_a_share_stands_for_groups_with_advantages_of_0(name: str) -> None:
    policy = double_policy()
    kept = group_of_samples(policy.model)
    tied = [replace(one, advantages=[0.0] * len(one.advantages)) for one in kept]
    found = []
    for samples, share in ((kept + tied * 2, 1.0), (kept, trained_share(8, 30, 24))):
        optimizer = CountingSgd(policy, lr=0.0)
        run_update(policy, optimizer, samples, loss={"name": name}, share=share)
        found.append(torch.cat([each.flatten() for each in optimizer.steps[0]]))
    assert torch.allclose(found[0], found[1], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("kept", "ranked", "wanted", "share"),
    [
        (8, 8, 8, 1.0),
        (1, 8, 8, 0.125),
        (1, 15, 8, 0.125),  # seven refills had no signal either
        (8, 20, 8, 1.0),  # refills filled the step
        (2, 2, 8, 1.0),  # six could not be ranked
        (1, 4, 8, 0.25),
    ],
)
def test_groups_without_signal_weaken_the_step(
    kept: int, ranked: int, wanted: int, share: float
) -> None:
    assert trained_share(kept, ranked, wanted) == share


def test_samples_without_a_trained_token_are_refused() -> None:
    policy = double_policy()
    with pytest.raises(UpdateError, match="no token to train on"):
        run_update(policy, CountingSgd(policy), [sample([3, 4, 5], [])])


def test_the_gradient_is_clipped_and_its_norm_reported() -> None:
    policy, unclipped_policy = double_policy(), double_policy()
    samples = group_of_samples(policy.model)
    optimizer, unclipped = CountingSgd(policy), CountingSgd(unclipped_policy)
    stats = run_update(policy, optimizer, samples, max_grad_norm=0.01)
    run_update(unclipped_policy, unclipped, samples)
    norm = float(torch.cat([g.flatten() for g in unclipped.steps[0]]).norm())
    assert norm > 0.02
    assert stats.grad_norm == pytest.approx(norm)
    clipped = float(torch.cat([g.flatten() for g in optimizer.steps[0]]).norm())
    assert clipped == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), float("-inf")])
def test_a_gradient_that_is_not_finite_changes_no_weight(poison: float) -> None:
    policy = tiny_policy()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=0.1)
    before = [p.detach().clone() for p in policy.parameters()]
    policy.parameters()[3].grad = torch.full_like(policy.parameters()[3], poison)
    with pytest.raises(UpdateError, match=r"gradient's norm is .*: lower optimizer\.lr"):
        take_step(policy, optimizer, 1.0)
    assert all(map(torch.equal, policy.parameters(), before))
    assert not optimizer.state
    assert all(p.grad is None for p in policy.parameters())


def test_a_loss_that_is_not_finite_changes_no_weight() -> None:
    policy = tiny_policy()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=0.1)
    before = [p.detach().clone() for p in policy.parameters()]
    with pytest.raises(UpdateError, match="the gradient's norm is nan"):
        run_update(policy, optimizer, [sample([3, 4, 5], advantage=float("nan"))])
    assert all(map(torch.equal, policy.parameters(), before))


def with_weights(policy: Policy, one: Sample, weights: list[float], advantage: float) -> Sample:
    """Return a sample whose trained tokens have these ratios policy / behavior."""
    positions = [t for t, is_trained in enumerate(one.loss_mask) if is_trained]
    with torch.no_grad():
        logprobs_N = naive_logprobs(policy.model, one, TEMPERATURE)
    behavior = [float(lp) - log(w) for lp, w in zip(logprobs_N, weights, strict=True)]
    return sample(one.token_ids, positions, behavior=behavior, advantage=advantage)


def test_stats_by_hand() -> None:
    """Use weights 1 and 4 on a sample with advantage 1, and .5 and 1.5 on one with -1."""
    policy = double_policy()
    samples = [
        with_weights(policy, sample([5, 9, 14], [1, 2]), [1, 4], 1.0),
        with_weights(policy, sample([5, 9, 3, 4], [2, 3]), [0.5, 1.5], -1.0),
    ]
    stats = run_update(policy, CountingSgd(policy), samples)
    # k3(behavior, policy) is w - 1 - log w for tokens drawn from the behavior.
    assert stats.k3 == pytest.approx(
        (0 + (3 - log(4)) + (-0.5 + log(2)) + (0.5 - log(1.5))) / 4, abs=1e-6
    )
    # The effective share is (sum w)^2 / (N sum w^2) = 49 / (4 * 19.5).
    assert stats.effective_share == pytest.approx(49 / 78, abs=1e-6)
    assert stats.max_ratio == pytest.approx(4, abs=1e-5)
    assert stats.capped_share == 0.25  # 4 is above the importance_cap of 3
    assert stats.clipped_share == 0
    assert stats.loss == pytest.approx((-1 - 3 + 0.5 + 1.5) / 4, abs=1e-6)
    assert stats.masked_sequences == 0
    assert stats.ref_kl is None


@pytest.mark.parametrize("name", LOSSES)
def test_one_pass_clips_nothing_with_a_bfloat16_sampler(name: str) -> None:
    """Spread the sampler's logprobs as its rounding does, which is 25 times gspo's clip width."""
    policy = double_policy()
    samples = group_of_samples(policy.model, noise=0.05)
    stats = run_update(policy, CountingSgd(policy), samples, loss={"name": name})
    assert stats.clipped_share == 0
    assert stats.k3 > 1e-4
    assert stats.grad_norm > 0.01


@pytest.mark.parametrize("name", ["dapo", "gspo", "cispo", "reinforce"])
def test_a_second_pass_clips_what_the_first_has_moved(name: str) -> None:
    policy = double_policy()
    samples = group_of_samples(policy.model)
    settings = {"loss": {"name": name, "importance_cap": 1.5}, "passes": 2}
    stats = run_update(policy, CountingSgd(policy, lr=3.0), samples, **settings)
    assert stats.clipped_share > 0


def test_old_logprobs_are_those_before_the_first_step() -> None:
    """Take two mini-batches; the second one's old policy is not the one that has moved."""
    policy, moved = double_policy(), double_policy()
    samples = group_of_samples(policy.model, noise=0.0)
    whole = run_update(moved, CountingSgd(moved, lr=3.0), samples, mini_batches=1)
    halves = run_update(policy, CountingSgd(policy, lr=3.0), samples, mini_batches=2)
    assert (whole.k3, halves.k3) == pytest.approx((0, 0), abs=1e-9)
    assert whole.clipped_share == 0
    assert halves.clipped_share > 0


def test_the_kl_to_the_reference_is_reported() -> None:
    policy = double_policy()
    policy.reference = tiny_llama(seed=1).double().requires_grad_(False)
    samples = group_of_samples(policy.model)
    expected = []
    with torch.no_grad():
        for one in samples:
            d_N = naive_logprobs(policy.model, one, TEMPERATURE)
            d_N -= naive_logprobs(policy.reference, one, TEMPERATURE)
            expected += [exp(-float(d)) - 1 + float(d) for d in d_N]
    stats = run_update(policy, CountingSgd(policy), samples, loss={"kl": "k2", "kl_coef": 0.1})
    assert stats.ref_kl == pytest.approx(sum(expected) / len(expected), rel=1e-4)


def test_stats_tell_the_samplers_distance_before_the_update() -> None:
    policy = double_policy()
    samples = group_of_samples(policy.model)
    other = double_policy()
    once = run_update(other, CountingSgd(other, lr=0.01), samples)
    twice = run_update(policy, CountingSgd(policy, lr=0.01), samples, passes=2)
    assert (twice.k3, twice.effective_share, twice.max_ratio) == pytest.approx(
        (once.k3, once.effective_share, once.max_ratio)
    )
    assert twice.loss < once.loss


def test_updates_make_rewarded_tokens_more_likely() -> None:
    policy = tiny_policy()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2)
    good, bad = [5, 9, 14, 20, END], [5, 9, 14, 21, END]
    for _ in range(20):
        samples = []
        for ids, advantage in ((good, 0.5), (bad, -0.5)):
            with torch.no_grad():
                behavior = naive_logprobs(policy.model, sample(ids, [3, 4])).tolist()
            samples.append(sample(ids, [3, 4], behavior=behavior, advantage=advantage))
        run_update(policy, optimizer, samples, max_grad_norm=1.0)
    with torch.no_grad():
        better = naive_logprobs(policy.model, sample(good, [3]))
        worse = naive_logprobs(policy.model, sample(bad, [3]))
    assert float(better) > float(worse) + 2
