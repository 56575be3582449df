"""The update against a plain one written here: all logits, one sample at a time, float64."""

from collections.abc import Sequence
from math import exp, log
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from podium_trainer.config import LossConfig
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Sample
from podium_trainer.update.loss import LOSSES
from podium_trainer.update.update import Tally, UpdateError, accumulate, take_step, update
from tests.trainer.tiny import (
    END,
    MODELS,
    difference,
    gradients,
    naive_logprobs,
    sample,
    seeded,
    tiny_llama,
    tiny_policy,
)

PROMPTS = [[5, 9, 14, 7, 30], [5, 9, 3], [40]]
TEMPERATURE = 0.8
MAX_TOKENS = 9


def group_of_samples(model: Any, noise: float = 0.15) -> list[Sample]:
    """Unequal lengths, two attempts alike, one of two turns; behavior near the policy's own."""
    generator = torch.Generator().manual_seed(3)
    streams = [
        (0, [12, 13, END], [], 1.0),
        (0, [12, 13, END], [], 1.0),
        (0, [12, 17, 18, 19, 20, 21, 22, 23, END], [], -0.7),
        (0, [25, END], [], 0.2),
        (1, [12, 13, END], [30, 31, 32, 45, END], -1.0),
        (1, [33, 34, 35, END], [], 0.5),
        (2, [END], [], -0.4),
        (2, [8, 8, 8, 8, END], [], 0.3),
    ]
    samples = []
    for prompt, first, rest, advantage in streams:
        start = len(PROMPTS[prompt])
        places = [*range(start, start + len(first))]
        places += range(start + len(first) + 2, start + len(first) + len(rest))
        bare = sample([*PROMPTS[prompt], *first, *rest], places, advantage=advantage)
        with torch.no_grad():
            logprobs_N = naive_logprobs(model, bare, TEMPERATURE)
        shift_N = noise * torch.randn(len(places), generator=generator)
        behavior = (logprobs_N + shift_N).clamp(max=0).tolist()
        samples.append(sample(bare.token_ids, places, behavior=behavior, advantage=advantage))
    return samples


def naive_token_losses(name: str, policy_N: Tensor, one: Sample, ratio_cap: float) -> Tensor:
    """The loss of each trained token of one sample, from the papers' formulas."""
    trained = [t for t, is_trained in enumerate(one.loss_mask) if is_trained]
    behavior_N = torch.tensor([one.behavior_logprobs[t] for t in trained]).double()
    advantage = one.advantages[trained[0]]
    ratios = (policy_N - behavior_N).exp()
    if name == "gspo":
        ratios = (policy_N - behavior_N).mean().exp().expand(len(trained))
    low, high = {"gspo": (1 - 3e-4, 1 + 4e-4), "cispo": (0.0, 2.0)}.get(name, (0.8, 1.28))
    losses = []
    for policy, ratio in zip(policy_N, ratios, strict=True):
        if name in ("grpo", "dr_grpo", "dapo", "gspo"):
            value = ratio if name == "gspo" or ratio <= ratio_cap else torch.tensor(ratio_cap)
            clipped = value.clamp(low, high)
            losses.append(-min(value * advantage, clipped * advantage))
        elif name == "cispo":
            losses.append(-ratio.detach().clamp(low, high) * advantage * policy)
        elif name == "reinforce":
            losses.append(-min(float(ratio.detach()), ratio_cap) * advantage * policy)
        else:
            losses.append(-max(advantage, 0.0) * policy)
    return torch.stack(losses)


def naive_loss(model: Any, samples: Sequence[Sample], name: str, ratio_cap: float) -> Tensor:
    """The whole step's loss, nothing batched."""
    per_sample = [
        naive_token_losses(name, naive_logprobs(model, one, TEMPERATURE), one, ratio_cap)
        for one in samples
    ]
    tokens = sum(one.num_loss_tokens for one in samples)
    if name in ("grpo", "gspo"):
        return torch.stack([losses_N.mean() for losses_N in per_sample]).mean()
    divisor = len(samples) * MAX_TOKENS if name == "dr_grpo" else tokens
    return torch.stack([losses_N.sum() for losses_N in per_sample]).sum() / divisor


def accumulated(
    policy: Policy, samples: list[Sample], micro_batch_tokens: int, **config: Any
) -> tuple[dict[str, Tensor], float]:
    policy.model.zero_grad(set_to_none=True)
    tally = Tally()
    settings = LossConfig(**({"sequence_ratio_bounds": None} | config))
    accumulate(policy, samples, settings, MAX_TOKENS, micro_batch_tokens, tally)
    return gradients(policy.model), tally.get("loss")


def doubled(name: str = "llama") -> Policy:
    return tiny_policy(seeded(MODELS[name]).double(), temperature=TEMPERATURE)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("ratio_cap", [3.0, 1.05])
def test_the_gradient_is_that_of_a_plain_implementation(name: str, ratio_cap: float) -> None:
    policy = doubled()
    samples = group_of_samples(policy.model)
    expected = naive_loss(policy.model, samples, name, ratio_cap)
    expected.backward()  # type: ignore[no-untyped-call]
    wanted = gradients(policy.model)
    got, loss = accumulated(policy, samples, 1000, name=name, ratio_cap=ratio_cap)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5, abs=1e-7)
    assert difference(got, wanted) < 1e-5


@pytest.mark.parametrize("model", MODELS)
def test_the_gradient_is_right_on_every_kind_of_model(model: str) -> None:
    policy = doubled(model)
    policy.model.eval()  # GPT-2 has dropout, which load_policy takes away
    samples = group_of_samples(policy.model)
    naive_loss(policy.model, samples, "dapo", 3.0).backward()  # type: ignore[no-untyped-call]
    wanted = gradients(policy.model)
    got, _ = accumulated(policy, samples, 40, name="dapo")
    assert difference(got, wanted) < 1e-5


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("model", ["llama", "llama, eager attention"])
def test_cutting_into_micro_batches_changes_nothing(name: str, model: str) -> None:
    policy = doubled(model)
    samples = group_of_samples(policy.model)
    whole, loss = accumulated(policy, samples, 1000, name=name)
    cuts = {}
    for micro_batch_tokens in (34, 16, 1):
        got, same_loss = accumulated(policy, samples, micro_batch_tokens, name=name)
        assert difference(got, whole) < 1e-5
        assert same_loss == pytest.approx(loss, rel=1e-5, abs=1e-8)
        cuts[micro_batch_tokens] = len(list(policy.pack(samples, micro_batch_tokens)))
    assert cuts[1] == 8
    assert 1 < cuts[34] < cuts[16] <= 8


@pytest.mark.parametrize("name", LOSSES)
def test_ties_leave_the_weights_where_they_are(name: str) -> None:
    policy = doubled()
    untouched = [sample(one.token_ids, advantage=0.0) for one in group_of_samples(policy.model)]
    got, loss = accumulated(policy, untouched, 1000, name=name)
    assert loss == 0
    assert all(not gradient.any() for gradient in got.values())


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_the_kl_penalty_is_added_per_token_and_seen_through_the_denominator(
    estimator: str,
) -> None:
    policy = doubled()
    policy.reference = tiny_llama(seed=1).double().requires_grad_(False)
    samples = group_of_samples(policy.model)
    penalties = []
    for one in samples:
        d_N = naive_logprobs(policy.model, one, TEMPERATURE)
        ref_N = naive_logprobs(policy.reference, one, TEMPERATURE)
        k1_N = (d_N - ref_N).detach() * d_N
        k3_N = (ref_N - d_N).exp() - 1 + d_N - ref_N
        penalties.append({"k1": k1_N, "k2": (d_N - ref_N) ** 2 / 2, "k3": k3_N}[estimator].mean())
    loss = naive_loss(policy.model, samples, "grpo", 3.0) + 0.3 * torch.stack(penalties).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    wanted = gradients(policy.model)
    got, _ = accumulated(policy, samples, 40, name="grpo", kl=estimator, kl_coef=0.3)
    assert difference(got, wanted) < 1e-5
    assert all(p.grad is None for p in policy.reference.parameters())


def test_the_kl_reference_of_an_adapter_is_the_model_without_it() -> None:
    found = []
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
        got, loss = accumulated(policy, samples, 40, kl="k3", kl_coef=1.0)
        found.append((got, loss))
    assert difference(found[0][0], found[1][0]) < 1e-6
    assert found[0][1] == pytest.approx(found[1][1])
    assert set(found[0][0]) == {n for n, p in adapted.named_parameters() if p.requires_grad}


def test_a_sequence_whose_mean_ratio_is_out_of_bounds_is_left_out_of_the_sum() -> None:
    policy = doubled()
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
    accumulate(policy, far, config, MAX_TOKENS, 1000, tally)
    got = gradients(policy.model)
    assert tally.get("masked") == 2
    kept = [one for i, one in enumerate(far) if i not in (1, 3)]
    share = sum(one.num_loss_tokens for one in kept) / sum(one.num_loss_tokens for one in far)
    policy.model.zero_grad(set_to_none=True)
    loss = naive_loss(policy.model, kept, "reinforce", 3.0) * share  # the denominator stays
    loss.backward()  # type: ignore[no-untyped-call]
    assert difference(got, gradients(policy.model)) < 1e-5


class CountingSgd(torch.optim.SGD):
    """Plain steps, with the gradient of each kept."""

    def __init__(self, policy: Policy, lr: float = 0.1) -> None:
        super().__init__(policy.parameters(), lr=lr)
        self.taken: list[list[Tensor]] = []

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        params = self.param_groups[0]["params"]
        self.taken.append([p.grad.clone() for p in params])
        super().step(closure)


def run_update(
    policy: Policy, optimizer: torch.optim.Optimizer, samples: list[Sample], **more: Any
) -> Any:
    loss = LossConfig(**({"sequence_ratio_bounds": None} | more.pop("loss", {})))
    settings = {
        "max_completion_tokens": MAX_TOKENS,
        "micro_batch_tokens": 64,
        "max_grad_norm": 1e9,
    } | more
    return update(policy, optimizer, samples, loss, **settings)


@pytest.mark.parametrize(("passes", "mini_batches"), [(1, 1), (3, 1), (1, 2), (2, 4)])
def test_passes_and_mini_batches_are_that_many_steps(passes: int, mini_batches: int) -> None:
    policy = doubled()
    samples = group_of_samples(policy.model)
    by_hand = doubled()
    optimizer, expected = CountingSgd(policy, lr=0.02), CountingSgd(by_hand, lr=0.02)
    run_update(policy, optimizer, samples, passes=passes, mini_batches=mini_batches)
    for _ in range(passes):
        for part in range(mini_batches):
            naive_loss(by_hand.model, samples[part::mini_batches], "dapo", 3.0).backward()  # type: ignore[no-untyped-call]
            expected.step()
            expected.zero_grad()
    assert len(optimizer.taken) == passes * mini_batches
    for mine, theirs in zip(policy.parameters(), by_hand.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)
    assert all(p.grad is None for p in policy.parameters())


def test_more_mini_batches_than_samples_leave_no_empty_step() -> None:
    policy = doubled()
    optimizer = CountingSgd(policy)
    run_update(policy, optimizer, group_of_samples(policy.model)[:2], mini_batches=5)
    assert len(optimizer.taken) == 2


def test_samples_without_a_trained_token_are_refused() -> None:
    policy = doubled()
    with pytest.raises(UpdateError, match="no token to train on"):
        run_update(policy, CountingSgd(policy), [sample([3, 4, 5], [])])


def test_the_gradient_is_clipped_to_its_norm_and_reported_before() -> None:
    policy, free = doubled(), doubled()
    samples = group_of_samples(policy.model)
    optimizer, unclipped = CountingSgd(policy), CountingSgd(free)
    stats = run_update(policy, optimizer, samples, max_grad_norm=0.01)
    run_update(free, unclipped, samples)
    norm = float(torch.cat([g.flatten() for g in unclipped.taken[0]]).norm())
    assert norm > 0.02
    assert stats.grad_norm == pytest.approx(norm)
    clipped = float(torch.cat([g.flatten() for g in optimizer.taken[0]]).norm())
    assert clipped == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), float("-inf")])
def test_a_gradient_that_is_not_finite_is_refused_and_changes_no_weight(poison: float) -> None:
    policy = tiny_policy()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=0.1)
    before = [p.detach().clone() for p in policy.parameters()]
    policy.parameters()[3].grad = torch.full_like(policy.parameters()[3], poison)
    with pytest.raises(UpdateError, match=r"gradient's norm is .*: lower optimizer\.lr"):
        take_step(policy, optimizer, 1.0)
    assert all(map(torch.equal, policy.parameters(), before))
    assert not optimizer.state
    assert all(p.grad is None for p in policy.parameters())


def test_a_loss_that_is_not_finite_is_refused_by_the_whole_update() -> None:
    policy = tiny_policy()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=0.1)
    before = [p.detach().clone() for p in policy.parameters()]
    with pytest.raises(UpdateError, match="the gradient's norm is nan"):
        run_update(policy, optimizer, [sample([3, 4, 5], advantage=float("nan"))])
    assert all(map(torch.equal, policy.parameters(), before))


def test_stats_by_hand() -> None:
    """Ratios 1, 2, .5 and 1.5 on four tokens of two samples, a positive and a negative one."""
    policy = doubled()
    bare = [sample([5, 9, 14], [1, 2]), sample([5, 9, 3, 4], [2, 3])]
    ratios: list[list[float]] = [[1, 2], [0.5, 1.5]]
    samples = []
    for one, each, advantage in zip(bare, ratios, [1.0, -1.0], strict=True):
        places = [t for t, m in enumerate(one.loss_mask) if m]
        with torch.no_grad():
            logprobs_N = naive_logprobs(policy.model, one, TEMPERATURE)
        behavior = [float(lp) - log(r) for lp, r in zip(logprobs_N, each, strict=True)]
        samples.append(sample(one.token_ids, places, behavior=behavior, advantage=advantage))
    stats = run_update(policy, CountingSgd(policy), samples)
    # k3(behavior, policy) = r - 1 - log r, over tokens drawn from the behavior.
    assert stats.k3 == pytest.approx(
        (0 + (1 - log(2)) + (-0.5 + log(2)) + (0.5 - log(1.5))) / 4, abs=1e-6
    )
    # (sum r)^2 / (N sum r^2) = 25 / (4 * 7.5)
    assert stats.effective_share == pytest.approx(25 / 30, abs=1e-6)
    assert stats.max_ratio == pytest.approx(2, abs=1e-5)
    # Ratio 2 with a positive and .5 with a negative advantage are clipped.
    assert stats.clipped_share == 0.5
    assert stats.loss == pytest.approx((-1 - 1.28 + 0.8 + 1.5) / 4, abs=1e-6)
    assert stats.masked_sequences == 0
    assert stats.ref_kl is None


def test_the_kl_to_the_reference_is_reported() -> None:
    policy = doubled()
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


def test_stats_of_a_second_pass_keep_the_first_ones_distance_from_the_behavior() -> None:
    policy = doubled()
    samples = group_of_samples(policy.model)
    other = doubled()
    once = run_update(other, CountingSgd(other, lr=0.01), samples)
    twice = run_update(policy, CountingSgd(policy, lr=0.01), samples, passes=2)
    assert (twice.k3, twice.effective_share, twice.max_ratio) == pytest.approx(
        (once.k3, once.effective_share, once.max_ratio)
    )
    assert twice.loss < once.loss


def test_a_run_of_updates_makes_what_was_rewarded_more_likely() -> None:
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
