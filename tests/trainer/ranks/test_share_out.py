"""Every rank gets as many micro-batches, whatever there is to share out."""

from hypothesis import given
from hypothesis import strategies as st

from podium_trainer.policy.ranks.share_out import share_out


@given(st.integers(0, 60), st.integers(1, 9))
def test_every_item_goes_to_one_rank_and_all_get_as_many(count: int, size: int) -> None:
    shares = [share_out(range(count), rank, size) for rank in range(size)]
    assert len({len(share) for share in shares}) == 1
    assert sorted(i for share in shares for i in share if i is not None) == list(range(count))
    assert sum(i is None for share in shares for i in share) < size


def test_items_next_to_each_other_are_computed_at_the_same_time() -> None:
    assert [share_out("abcde", rank, 2) for rank in range(2)] == [
        ["a", "c", "e"],
        ["b", "d", None],
    ]
