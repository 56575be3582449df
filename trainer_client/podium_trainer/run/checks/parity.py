"""Compare sampler and policy before the first step: both score a few completions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Request, Sample, append_completion, start_sample
from podium_trainer.samplers import Sampler
from podium_trainer.update.kl import k3

NUM_PROMPTS, NUM_COMPLETIONS, NUM_TOKENS = 4, 4, 16
MICRO_BATCH_TOKENS = 4096


class ParityError(Exception):
    """Sampler and policy are not the same model; the message says by how much they differ."""


@dataclass(frozen=True)
class Parity:
    """The distance of the policy's logprobs from the sampler's, over N sampled tokens.

    Attributes:
        num_tokens: the number N of tokens.
        mean_abs_log_ratio: mean |log(policy / behavior)|; 0 for the same model and arithmetic.
        max_ratio: the largest policy / behavior.
        k3: mean estimate of KL(behavior, policy) per token.
    """

    num_tokens: int
    mean_abs_log_ratio: float
    max_ratio: float
    k3: float


def check_parity(
    policy: Policy,
    sampler: Sampler,
    prompts: Sequence[Sequence[int]],
    *,
    bound: float,
    max_tokens: int = NUM_TOKENS,
) -> Parity:
    """Sample short completions of a few prompts, and compare the logprobs.

    Args:
        policy: the model that is trained.
        sampler: the sampler that has the same weights.
        prompts: token ids of prompts; the first few are used.
        bound: the largest mean |log ratio| that is accepted.
        max_tokens: tokens of a completion at most.

    Raises:
        ParityError: If the bound is exceeded.
        SamplerError: If no completions come.
    """
    parity = compare(policy, sample_rows(sampler, prompts, min(max_tokens, NUM_TOKENS)))
    if not parity.mean_abs_log_ratio <= bound:
        raise ParityError(
            f"sampler and policy disagree: mean |log ratio| {parity.mean_abs_log_ratio:.3g} over"
            f" {parity.num_tokens} tokens (largest ratio {parity.max_ratio:.3g}) exceeds"
            f" sampler.parity_bound {bound:g}: compare the servers' weights, tokenizer and"
            " --max-model-len with model.path, their --dtype with model.dtype, and with a"
            " temperature other than 1 start them with --logprobs-mode processed_logprobs"
        )
    return parity


def sample_rows(
    sampler: Sampler, prompts: Sequence[Sequence[int]], max_tokens: int
) -> list[Sample]:
    """Draw some completions as rows of training data."""
    requests = [Request(ids, NUM_COMPLETIONS, max_tokens) for ids in prompts[:NUM_PROMPTS]]
    completions_by_request = sampler.sample(requests, seed=0)
    return [
        append_completion(start_sample(request.prompt_ids), completion)
        for request, completions in zip(requests, completions_by_request, strict=True)
        for completion in completions
    ]


def compare(policy: Policy, samples: list[Sample]) -> Parity:
    """Compare the policy's logprobs of the sampled tokens with the sampler's."""
    policy_logprobs_N, behavior_logprobs_N = policy.score(samples, MICRO_BATCH_TOKENS)
    log_ratio_N = (policy_logprobs_N - behavior_logprobs_N).double()
    return Parity(
        num_tokens=len(log_ratio_N),
        mean_abs_log_ratio=float(log_ratio_N.abs().mean()),
        max_ratio=math.exp(min(700.0, float(log_ratio_N.max()))),
        k3=float(k3(behavior_logprobs_N, policy_logprobs_N).mean()),
    )
