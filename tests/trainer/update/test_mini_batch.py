"""Mini-batches: groups stay whole, and an attempt counts once whatever its samples."""

import pytest
import torch

from podium_trainer.config import LossConfig
from podium_trainer.policy.samples import Sample
from podium_trainer.update.batch_loss import Tally
from podium_trainer.update.loss import LOSSES
from podium_trainer.update.mini_batch import build_mini_batch, split
from podium_trainer.update.update import accumulate, update
from tests.trainer.tiny import difference, gradients, sample
from tests.trainer.update.plain_update import MAX_TOKENS, double_policy, group_of_samples


def test_a_group_is_never_split() -> None:
    groups = [[[sample([number, 9, 9])], [sample([number, 8])]] for number in range(5)]
    parts = split(groups, 2, "tokens", 4)
    assert [[one.token_ids[0] for one in part.samples] for part in parts] == [
        [0, 0, 2, 2, 4, 4],
        [1, 1, 3, 3],
    ]
    assert [part.weights for part in parts] == [[1 / 9] * 6, [1 / 6] * 4]
    assert len(split(groups, 9, "tokens", 4)) == 5


def test_groups_without_a_sampled_token_make_no_step() -> None:
    assert split([[[sample([3, 4], [])]]], 2, "tokens", 4) == []


@pytest.mark.parametrize(
    ("denominator", "weights"),
    [
        # The first attempt has 2 + 4 trained tokens in two samples, the second has 3.
        ("tokens", [1 / 9, 1 / 9, 1 / 9]),
        ("sequences", [1 / 12, 1 / 12, 1 / 6]),
        ("sequences_x_max_tokens", [1 / 20, 1 / 20, 1 / 20]),
    ],
)
def test_an_attempt_of_two_samples_weighs_once(denominator: str, weights: list[float]) -> None:
    attempts = [
        [sample([5, 6, 7], [1, 2]), sample([5, 6, 7, 8, 9], [1, 2, 3, 4])],
        [sample([5, 6, 7, 8], [1, 2, 3])],
    ]
    part = build_mini_batch([attempts], denominator, 10)  # type: ignore[arg-type]
    assert part.weights == pytest.approx(weights)


def test_cutting_an_attempt_in_two_changes_no_gradient() -> None:
    """Train an attempt as one sample, and then its halves as samples of their own."""
    ids = [5, 9, 14, 12, 13, 30, 31, 7]
    other = sample([5, 9, 3, 4], [2, 3], advantage=-1.0)
    whole = [sample(ids, [3, 4, 5, 6, 7], behavior=-2.0, advantage=1.0)]
    halves = [
        sample(ids[:5], [3, 4], behavior=-2.0, advantage=1.0),
        sample(ids, [5, 6, 7], behavior=-2.0, advantage=1.0),
    ]
    policy = double_policy()
    config = LossConfig(name="grpo", sequence_ratio_bounds=None)
    found = []
    for attempt in (whole, halves):
        policy.model.zero_grad(set_to_none=True)
        part = build_mini_batch([[attempt, [other]]], LOSSES["grpo"].denominator, MAX_TOKENS)
        accumulate(policy, part, config, 1000, Tally())
        found.append(gradients(policy.model))
    assert difference(found[0], found[1]) < 1e-6


def test_rft_has_the_loss_of_its_best_attempts_alone() -> None:
    """Leave seven of eight attempts out; the loss is the mean over the tokens of the best."""
    policy = double_policy()
    best = with_advantage(group_of_samples(policy.model)[2], 1.0)
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.0)
    stats = update(
        policy, optimizer, [[[best]]], LossConfig(name="rft", sequence_ratio_bounds=None),
        max_completion_tokens=MAX_TOKENS, micro_batch_tokens=64, max_grad_norm=1e9,
    )  # fmt: skip
    with torch.no_grad():
        [batch] = policy.pack([best], 64)
        logprobs_N = policy.logprobs(batch)
    assert stats.loss == pytest.approx(-float(logprobs_N.mean()), rel=1e-5)


def with_advantage(one: Sample, advantage: float) -> Sample:
    positions = [t for t, is_trained in enumerate(one.loss_mask) if is_trained]
    behavior = [one.behavior_logprobs[t] for t in positions]
    return sample(one.token_ids, positions, behavior=behavior, advantage=advantage)
