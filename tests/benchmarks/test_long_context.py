"""The benchmark of long sequences measures what it says, on short ones."""

import pytest

from benchmarks.long_context import MODES, build_policy, draw_sample, measure_update


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_trains_a_sample(mode: str) -> None:
    row = measure_update(80, mode)
    assert (row["tokens"], row["mode"]) == (80, mode)
    assert row["peak_mb"] >= 0


def test_a_mask_is_forced_only_where_it_is_asked_for() -> None:
    samples = [draw_sample(1100)]
    [spans] = build_policy(1100, "spans").pack(samples, 1100)
    [masked] = build_policy(1100, "mask").pack(samples, 1100)
    assert spans.attention_mask is None
    assert spans.tree_rows is not None
    assert masked.attention_mask is not None
