"""Weights laid side by side in bytes, and taken out again."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.weights.bucket import ALIGNMENT, Layout, allocate, pack

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]
shapes = st.lists(st.integers(0, 5), max_size=3)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(DTYPES), shapes), max_size=12), st.integers(1, 200))
def test_weights_come_out_of_their_buckets_as_they_went_in(
    kinds: list[tuple[torch.dtype, list[int]]], max_bytes: int
) -> None:
    weights = [
        (f"layer.{index}", torch.randint(0, 2, shape).to(dtype))
        for index, (dtype, shape) in enumerate(kinds)
    ]
    buckets = list(pack(weights, max_bytes))
    taken = [pair for bucket in buckets for pair in bucket.layout.views(bucket.data)]
    assert [name for name, _ in taken] == [name for name, _ in weights]
    for (_, before), (_, after) in zip(weights, taken, strict=True):
        assert after.dtype == before.dtype
        assert after.shape == before.shape
        assert torch.equal(after, before)


def test_a_bucket_is_full_before_the_next_one_begins() -> None:
    weights = [(str(count), torch.ones(count)) for count in (4, 4, 40, 2, 2)]
    names = [bucket.layout.names for bucket in pack(weights, max_bytes=32)]
    assert names == [["4", "4"], ["40"], ["2", "2"]]


def test_a_layout_counts_what_makes_up_for_the_alignment() -> None:
    layout = Layout(["a", "b"], ["bfloat16", "float32"], [[3], [2, 2]])
    assert layout.num_bytes == ALIGNMENT + 16
    [(_, first), (_, second)] = layout.views(torch.zeros(layout.num_bytes, dtype=torch.uint8))
    assert second.data_ptr() - first.data_ptr() == ALIGNMENT


def test_a_bucket_is_a_copy() -> None:
    weight = torch.ones(3)
    [bucket] = pack([("a", weight)])
    weight.zero_()
    [(_, view)] = bucket.layout.views(bucket.data)
    assert view.tolist() == [1, 1, 1]


def test_a_bucket_without_room_to_be_pinned_is_not_pinned() -> None:
    bucket = allocate(48, pinned=True)  # without a GPU nothing can be pinned
    assert (bucket.dtype, bucket.shape, bucket.device.type) == (torch.uint8, (48,), "cpu")
