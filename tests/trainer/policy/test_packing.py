"""Packing: it changes which tokens are computed together, and no logprob."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from resource import RUSAGE_SELF, getrusage
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from podium_trainer.policy.packing import (
    Build,
    MicroBatch,
    pack_padded,
    pack_shared,
    shared_prefix_length,
)
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Sample
from podium_trainer.policy.tree_attention import TreeRow
from tests.trainer.tiny import naive_logprobs, sample, tiny_llama, tiny_policy

Pack = Callable[[list[Sample], int], list[MicroBatch]]
PACKS: dict[str, Pack] = {
    "shared": lambda samples, max_tokens: built(pack_shared(samples, max_tokens)),
    "spans": lambda samples, max_tokens: built(pack_shared(samples, max_tokens, dense_tokens=0)),
    "padded": lambda samples, max_tokens: built(pack_padded(samples, max_tokens)),
}


def built(builds: Iterable[Build]) -> list[MicroBatch]:
    """Build all micro-batches."""
    return [build() for build in builds]


@pytest.fixture(scope="module")
def policy() -> Policy:
    policy = tiny_policy(tiny_llama().double())
    policy.model.eval()
    return policy


@st.composite
def token_streams(draw: Any) -> list[Sample]:
    """Draw short streams of few tokens: equal ones, prefixes of others, nested branches."""
    streams = draw(st.lists(st.lists(st.integers(3, 5), min_size=2, max_size=9), max_size=6))
    samples = []
    for ids in streams:
        positions = sorted(draw(st.sets(st.integers(1, len(ids) - 1))))
        behavior = [-draw(st.integers(0, 40)) / 8 for _ in positions]
        samples.append(
            sample(ids, positions, behavior=behavior, advantage=draw(st.integers(-3, 3)) / 2)
        )
    return samples


NESTED = [
    sample([3, 4, 5, 3]),
    sample([3, 4, 5, 3]),
    sample([3, 4, 5, 3, 4], [2, 4]),
    sample([3, 4], []),
    sample([3, 4, 4, 4], [3]),
    sample([5, 3]),
    sample([3, 4, 5, 5, 5, 3], [1, 2, 5]),
]

APART = [sample([3 + i] * size) for i, size in enumerate([10, 6, 5, 5])]


@pytest.mark.parametrize("pack", PACKS)
@given(samples=token_streams(), max_tokens=st.sampled_from([1, 6, 12, 1000]))
@example(samples=NESTED, max_tokens=1000)
@example(samples=NESTED, max_tokens=7)
@settings(max_examples=40, deadline=None)
def test_packed_logprobs_equal_those_of_separate_rows(
    policy: Policy, pack: str, samples: list[Sample], max_tokens: int
) -> None:
    with torch.no_grad():
        alone = [naive_logprobs(policy.model, one) for one in samples]
        for batch in PACKS[pack](samples, max_tokens):
            packed_N = policy.logprobs(batch)
            for number, index in enumerate(batch.samples):
                own_N = packed_N[batch.sequence_N == number]
                assert own_N.tolist() == pytest.approx(alone[index].tolist(), abs=1e-5)


@pytest.mark.parametrize("pack", PACKS)
@given(samples=token_streams(), max_tokens=st.sampled_from([1, 6, 12, 1000]))
@example(samples=NESTED, max_tokens=7)
@settings(max_examples=60, deadline=None)
def test_every_trained_token_is_packed_once_with_its_data(
    pack: str, samples: list[Sample], max_tokens: int
) -> None:
    batches = PACKS[pack](samples, max_tokens)
    assert sorted(i for batch in batches for i in batch.samples) == list(range(len(samples)))
    packed: Counter[tuple[int, int, float, float]] = Counter()
    for batch in batches:
        assert batch.num_sequences == len(batch.samples)
        targets = batch.target_U[batch.prediction_N].tolist()
        for number, token, behavior, advantage in zip(
            batch.sequence_N.tolist(),
            targets,
            batch.behavior_logprobs_N.tolist(),
            batch.advantages_N.tolist(),
            strict=True,
        ):
            packed[batch.samples[number], token, behavior, advantage] += 1
    expected = Counter(
        (i, one.token_ids[t], one.behavior_logprobs[t], one.advantages[t])
        for i, one in enumerate(samples)
        for t, trained in enumerate(one.loss_mask)
        if trained
    )
    assert packed == expected


@given(samples=token_streams(), max_tokens=st.sampled_from([1, 6, 12, 1000]))
@example(samples=NESTED, max_tokens=1000)
@example(samples=APART, max_tokens=12)
@settings(max_examples=100, deadline=None)
def test_trees_hold_every_prefix_and_stay_within_the_budget(
    samples: list[Sample], max_tokens: int
) -> None:
    computed = 0
    for batch in built(pack_shared(samples, max_tokens)):
        streams = [samples[i].token_ids for i in batch.samples]
        assert batch.input_ids_BT.numel() <= max(max_tokens, *map(len, streams))
        prefixes: set[tuple[int, ...]] = set()
        assert batch.attention_mask is not None
        for ids_T, mask_TT in zip(batch.input_ids_BT, batch.attention_mask[:, 0], strict=True):
            positions = ids_T.nonzero()[:, 0].tolist()  # only padding has token id 0
            prefixes |= {tuple(ids_T[mask_TT[t]].tolist()) for t in positions}
            computed += len(positions)
        assert prefixes == {tuple(ids[:end]) for ids in streams for end in range(1, len(ids) + 1)}
    assert computed <= sum(len(one.token_ids) for one in samples)


@given(samples=token_streams(), max_tokens=st.sampled_from([1, 6, 12, 1000]))
@settings(max_examples=100, deadline=None)
def test_padded_rows_stay_within_the_budget(samples: list[Sample], max_tokens: int) -> None:
    batches = built(pack_padded(samples, max_tokens))
    for batch in batches:
        rows, length = batch.input_ids_BT.shape
        assert rows * length <= max_tokens or rows == 1
        assert length == max(len(samples[i].token_ids) for i in batch.samples)
        assert (batch.input_ids_BT != 0).sum() == sum(
            len(samples[i].token_ids) for i in batch.samples
        )


@given(samples=token_streams(), max_tokens=st.sampled_from([1, 6, 12, 1000]))
@example(samples=NESTED, max_tokens=1000)
@settings(max_examples=40, deadline=None)
def test_spans_say_what_a_mask_says(samples: list[Sample], max_tokens: int) -> None:
    masked, cut = (built(pack_shared(samples, max_tokens, dense)) for dense in (1000, 0))
    for with_mask, with_spans in zip(masked, cut, strict=True):
        assert with_mask.attention_mask is not None
        assert with_spans.tree_rows is not None
        assert with_mask.tree_rows is None
        assert with_spans.attention_mask is None
        assert torch.equal(with_mask.input_ids_BT, with_spans.input_ids_BT)
        for mask_TT, row in zip(with_mask.attention_mask[:, 0], with_spans.tree_rows, strict=True):
            assert torch.equal(mask_TT, mask_of(row))


def mask_of(row: TreeRow) -> Tensor:
    """Write a row's spans as a mask (T, T)."""
    pieces = torch.split(torch.arange(sum(row.sizes)), row.sizes)
    mask_TT = torch.eye(sum(row.sizes), dtype=torch.bool)
    for ancestors, own in row.spans:
        for t in torch.cat([pieces[i] for i in own]).tolist():
            seen = torch.cat([pieces[i] for i in (*ancestors, *own)])
            mask_TT[t, seen[seen <= t]] = True
    return mask_TT


def test_32k_tokens_are_packed_in_a_second_and_100_mb() -> None:
    draw = random.Random(0)
    prompt = [draw.randrange(3, 40) for _ in range(20_000)]
    long = [draw.randrange(3, 40) for _ in range(12_768)]
    samples = [sample([*prompt, *long], range(20_000, 32_768)), sample([*prompt, 5, 2], [20_001])]
    peak_kb, started = getrusage(RUSAGE_SELF).ru_maxrss, time.process_time()
    [batch] = built(pack_shared(samples, 32_770))
    assert time.process_time() - started < 1
    assert getrusage(RUSAGE_SELF).ru_maxrss - peak_kb < 100_000
    assert batch.input_ids_BT.shape == (1, 32_770)
    [row] = batch.tree_rows or []
    assert row.sizes == [20_000, 2, 12_768, 0]
    assert row.spans == [([], [0, 1]), ([0], [2])]


def test_the_prompt_of_a_group_is_computed_once() -> None:
    prompt = list(range(3, 13))
    group = [sample([*prompt, 20 + i, 2], [10, 11]) for i in range(4)]
    [batch] = built(pack_shared(group, 1000))
    assert batch.input_ids_BT.numel() == 10 + 4 * 2
    assert batch.position_ids_BT[0].tolist() == [*range(10), *[10, 11] * 4]


def test_a_shared_token_is_predicted_once_and_trained_on_twice() -> None:
    first, second = sample([3, 4, 5], advantage=1.0), sample([3, 4, 6], advantage=-1.0)
    [batch] = built(pack_shared([first, second], 1000))
    assert batch.target_U.tolist() == [4, 5, 6]
    assert batch.prediction_N.tolist() == [0, 1, 0, 2]
    assert batch.advantages_N.tolist() == [1, 1, -1, -1]


@pytest.mark.parametrize("pack", PACKS)
def test_a_sample_longer_than_the_budget_has_its_own_batch(pack: str) -> None:
    batches = PACKS[pack]([sample([3, 4]), sample([5] * 50), sample([6, 7])], 4)
    alone = [batch for batch in batches if batch.samples == [1]]
    assert [batch.input_ids_BT.numel() for batch in alone] == [50]
    assert len(alone[0].prediction_N) == 49


@pytest.mark.parametrize("pack", PACKS)
def test_no_samples_make_no_batches(pack: str) -> None:
    assert PACKS[pack]([], 100) == []


def test_shared_prefix_lengths_by_hand() -> None:
    assert shared_prefix_length([], [1]) == 0
    assert shared_prefix_length([1, 2], [1, 2, 3]) == 2
    assert shared_prefix_length([1, 2, 4], [1, 2, 3]) == 2
