"""Compute the loss of the update plainly: all logits, one sample at a time, float64."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Sample
from tests.trainer.tiny import END, MODELS, naive_logprobs, sample, seeded, tiny_policy

PROMPTS = [[5, 9, 14, 7, 30], [5, 9, 3], [40]]
TEMPERATURE = 0.8
MAX_TOKENS = 9


def group_of_samples(model: Any, noise: float = 0.15) -> list[Sample]:
    """Make eight samples: unequal lengths, two equal ones, one of two turns.

    Args:
        model: gives the logprobs that the behavior is near.
        noise: standard deviation of behavior from policy logprobs.
    """
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
        positions = [*range(start, start + len(first))]
        positions += range(start + len(first) + 2, start + len(first) + len(rest))
        bare = sample([*PROMPTS[prompt], *first, *rest], positions, advantage=advantage)
        with torch.no_grad():
            logprobs_N = naive_logprobs(model, bare, TEMPERATURE)
        shift_N = noise * torch.randn(len(positions), generator=generator)
        behavior = (logprobs_N + shift_N).clamp(max=0).tolist()
        samples.append(sample(bare.token_ids, positions, behavior=behavior, advantage=advantage))
    return samples


def naive_token_losses(
    name: str, policy_logprobs_N: Tensor, old_logprobs_N: Tensor, one: Sample, importance_cap: float
) -> Tensor:
    """Compute one sample's losses (N,) from the papers' formulas, with dual-clip at 3."""
    positions = [t for t, is_trained in enumerate(one.loss_mask) if is_trained]
    behavior_logprobs_N = torch.tensor([one.behavior_logprobs[t] for t in positions]).double()
    advantage = one.advantages[positions[0]]
    log_ratio_N = policy_logprobs_N - old_logprobs_N
    log_weight_N = old_logprobs_N - behavior_logprobs_N
    if name == "gspo":
        log_ratio_N = log_ratio_N.mean().expand(len(positions))
        log_weight_N = log_weight_N.mean().expand(len(positions))
    low, high = {"gspo": (1 - 3e-4, 1 + 4e-4), "cispo": (0.0, 2.0)}.get(name, (0.8, 1.28))
    losses = []
    for logprob, log_ratio, log_weight in zip(
        policy_logprobs_N, log_ratio_N, log_weight_N, strict=True
    ):
        ratio, weight = log_ratio.exp(), min(float(log_weight.exp()), importance_cap)
        if name in ("grpo", "dr_grpo", "dapo", "gspo"):
            gain = min(ratio * advantage, ratio.clamp(low, high) * advantage)
            if advantage < 0:
                gain = max(gain, torch.tensor(3 * advantage))
            losses.append(-weight * gain)
        elif name == "cispo":
            losses.append(-weight * ratio.detach().clamp(low, high) * advantage * logprob)
        elif name == "reinforce":
            capped = min(float(ratio.detach()), importance_cap)
            losses.append(-weight * capped * advantage * logprob)
        else:
            losses.append(-max(advantage, 0.0) * logprob)
    return torch.stack(losses)


def naive_loss(
    model: Any, samples: Sequence[Sample], name: str, importance_cap: float, old: Any = None
) -> Tensor:
    """Compute the loss of a whole step without any batching.

    Args:
        model: the policy.
        samples: those of the step.
        name: of the loss.
        importance_cap: of the loss.
        old: the policy at the start of the update; None if no step has been taken.
    """
    per_sample = []
    for one in samples:
        policy_logprobs_N = naive_logprobs(model, one, TEMPERATURE)
        with torch.no_grad():
            old_logprobs_N = naive_logprobs(model if old is None else old, one, TEMPERATURE)
        per_sample.append(
            naive_token_losses(name, policy_logprobs_N, old_logprobs_N, one, importance_cap)
        )
    tokens = sum(one.num_loss_tokens for one in samples)
    if name in ("grpo", "gspo"):
        return torch.stack([losses_N.mean() for losses_N in per_sample]).mean()
    divisor = len(samples) * MAX_TOKENS if name == "dr_grpo" else tokens
    return torch.stack([losses_N.sum() for losses_N in per_sample]).sum() / divisor


def double_policy(name: str = "llama") -> Policy:
    """Make a tiny policy with float64 weights."""
    return tiny_policy(seeded(MODELS[name]).double(), temperature=TEMPERATURE)
