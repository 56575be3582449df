"""The local sampler: it draws from the policy's distribution and returns its logprobs."""

from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Completion, Request
from podium_trainer.samplers.local import LocalSampler, common_prefix_length, draw
from tests.trainer.tiny import END, MODELS, naive_logprobs, sample, seeded, tiny_llama, tiny_policy

SHARED = [5, 9, 14, 7, 30, 11]
REQUESTS = [
    Request([*SHARED, 8, 21, 40], 3, 12),
    Request([*SHARED, 13], 2, 5),
    Request([*SHARED, 13], 1, 7),  # the same prompt again
    Request(SHARED, 1, 9),  # a prefix of the others
    Request([6], 2, 10),  # one token
    Request([*SHARED, *range(20, 40)], 1, 3),
]


def sampler(policy: Policy, **settings: Any) -> LocalSampler:
    return LocalSampler(policy, temperature=policy.temperature, **settings)


def assert_logprobs_are_the_policys(
    policy: Policy, requests: Sequence[Request], groups: list[list[Completion]]
) -> None:
    """Check the number of completions and each logprob."""
    policy.model.eval()
    for request, completions in zip(requests, groups, strict=True):
        assert len(completions) == request.num_completions
        for completion in completions:
            prompt, ids = list(request.prompt_ids), completion.token_ids
            one = sample([*prompt, *ids], range(len(prompt), len(prompt) + len(ids)))
            with torch.no_grad():
                exact = naive_logprobs(policy.model, one, policy.temperature)
            assert completion.logprobs == pytest.approx(exact.tolist(), abs=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_sampled_logprobs_are_the_policys_for_every_model(model: str) -> None:
    policy = tiny_policy(seeded(MODELS[model]), temperature=0.9)
    for requests in (REQUESTS, [r for r in REQUESTS if len(r.prompt_ids) > 1], REQUESTS[1:3]):
        groups = sampler(policy).sample(requests, seed=1)
        assert_logprobs_are_the_policys(policy, requests, groups)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
@pytest.mark.parametrize("max_rows", [1, 2, 3, 256])
def test_sampled_logprobs_are_the_policys_for_any_max_rows(
    temperature: float, max_rows: int
) -> None:
    policy = tiny_policy(temperature=temperature)
    groups = sampler(policy, max_rows=max_rows).sample(REQUESTS, seed=2)
    assert_logprobs_are_the_policys(policy, REQUESTS, groups)


@pytest.mark.parametrize(
    "prompts",
    [
        [[7]],
        [[7], [7], [7]],
        [[7], [8], [9, 10]],
        [[7, 8, 9]] * 3,
        [[7], [7, 8], [7, 8, 9]],
        [[3, 4, 5], [3, 4, 6], [3, 4, 7]],
        [list(range(3, 40)), [3]],
    ],
    ids=str,
)
def test_prompts_of_any_lengths_are_decoded_together(prompts: list[list[int]]) -> None:
    policy = tiny_policy()
    requests = [Request(prompt, 2, 6) for prompt in prompts]
    assert_logprobs_are_the_policys(policy, requests, sampler(policy).sample(requests, seed=3))


def test_a_lora_policy_is_sampled_with_its_adapter() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        adapted: Any = get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules="all-linear"))
        for p in adapted.parameters():
            p.data += 0.1 * torch.randn_like(p) * p.requires_grad
    policy = tiny_policy(adapted)
    requests = [Request(SHARED, 4, 8)]
    groups = sampler(policy).sample(requests, seed=4)
    assert_logprobs_are_the_policys(policy, requests, groups)
    one = sample([*SHARED, *groups[0][0].token_ids], range(6, 6 + len(groups[0][0].token_ids)))
    with torch.no_grad(), adapted.disable_adapter():
        without = naive_logprobs(adapted, one)
    assert groups[0][0].logprobs != pytest.approx(without.tolist(), abs=1e-2)


def test_sampled_logprobs_equal_the_logprobs_of_training() -> None:
    policy = tiny_policy(temperature=0.7)
    [completions] = sampler(policy).sample([Request(SHARED, 6, 10)], seed=5)
    samples = [
        sample([*SHARED, *c.token_ids], range(6, 6 + len(c.token_ids)), behavior=c.logprobs)
        for c in completions
    ]
    for batch in policy.pack(samples, 1000):
        ratio_N = (policy.logprobs(batch) - batch.behavior_logprobs_N).exp()
        assert ratio_N.tolist() == pytest.approx([1.0] * len(ratio_N), abs=1e-4)


def test_a_seed_decides_the_completions() -> None:
    policy = tiny_policy()
    first, again, other = (sampler(policy).sample(REQUESTS, seed=s) for s in (7, 7, 8))
    assert first == again
    assert first != other


def test_sampling_keeps_global_generators_and_the_model_mode() -> None:
    policy = tiny_policy()
    policy.model.train()
    before = torch.get_rng_state()
    sampler(policy).sample(REQUESTS, seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    assert policy.model.training
    assert all(p.grad is None for p in policy.parameters())


def test_completions_of_one_request_are_drawn_independently() -> None:
    [completions] = sampler(tiny_policy()).sample([Request(SHARED, 20, 6)], seed=9)
    assert len({tuple(c.token_ids) for c in completions}) > 10


def test_a_completion_ends_at_a_stop_token_or_at_its_limit() -> None:
    policy = tiny_policy(temperature=3.0)
    groups = sampler(policy).sample([*REQUESTS, Request(SHARED, 40, 30)], seed=10)
    reasons: Counter[str] = Counter()
    for request, completions in zip([*REQUESTS, Request(SHARED, 40, 30)], groups, strict=True):
        for completion in completions:
            ids = completion.token_ids
            reasons[completion.finish_reason] += 1
            assert END not in ids[:-1]
            assert 1 <= len(ids) <= request.max_tokens
            assert (completion.finish_reason == "stop") == (ids[-1] == END)
            assert completion.finish_reason == "stop" or len(ids) == request.max_tokens
    assert min(reasons["stop"], reasons["length"]) > 5


def test_each_token_carries_the_version_that_drew_it() -> None:
    local = sampler(tiny_policy())
    local.policy_version = 12
    [[completion]] = local.sample([Request(SHARED, 1, 4)], seed=0)
    assert completion.policy_versions == [12] * len(completion.token_ids)


def test_no_requests_give_no_completions() -> None:
    assert sampler(tiny_policy()).sample([], seed=0) == []


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_with_the_probabilities_of_softmax(temperature: float) -> None:
    """Compare the counts of all sequences of two tokens out of six with their probabilities."""
    policy = tiny_policy(tiny_llama(vocab_size=6), temperature=temperature)
    policy.model.eval()
    count = 4000
    [completions] = sampler(policy, max_rows=1500).sample([Request([3, 4], count, 2)], seed=11)
    counts = Counter(tuple(c.token_ids) for c in completions)
    exact: dict[tuple[int, ...], float] = {}
    with torch.no_grad():
        for ids in [(END,), *product([0, 1, 3, 4, 5], range(6))]:
            one = sample([3, 4, *ids], range(2, 2 + len(ids)))
            exact[ids] = float(naive_logprobs(policy.model, one, temperature).sum().exp())
    assert sum(exact.values()) == pytest.approx(1)
    assert counts.keys() <= exact.keys()
    # This is Pearson's statistic over 31 cells, with rare ones pooled; its .9999 quantile is 70.
    cells = [(counts[ids], p * count) for ids, p in exact.items() if p * count >= 5]
    rare = [(counts[ids], p * count) for ids, p in exact.items() if p * count < 5]
    cells.append((sum(n for n, _ in rare), sum(e for _, e in rare) + 1e-9))
    assert sum((n - e) ** 2 / max(e, 1) for n, e in cells) < 70


def test_draw_never_takes_a_token_without_probability() -> None:
    logits_BV = torch.full((2000, 7), -torch.inf)
    logits_BV[:, 2], logits_BV[:, 4] = 0.0, 1.0
    token_B, logprob_B = draw(logits_BV, 1.0, torch.Generator().manual_seed(0))
    assert set(token_B.tolist()) == {2, 4}
    assert logprob_B.isfinite().all()
    assert float((token_B == 4).float().mean()) == pytest.approx(0.731, abs=0.04)


def test_common_prefix_leaves_every_prompt_a_token() -> None:
    assert common_prefix_length([[1, 2, 3]]) == 2
    assert common_prefix_length([[1, 2, 3], [1, 2, 4]]) == 2
    assert common_prefix_length([[1, 2], [1, 2, 4]]) == 1
    assert common_prefix_length([[1], [2]]) == 0
