"""Spans of weight versions in vLLM's responses."""

import pytest

from podium_trainer.samplers.vllm_responses import BadResponse, Span, expand_spans


@pytest.mark.parametrize(
    "bounds", [[], [(0, 2)], [(1, 3)], [(0, 1), (2, 3)], [(0, 2), (1, 3)], [(0, 4)]]
)
def test_spans_that_do_not_cover_the_tokens_are_an_error(bounds: list[tuple[int, int]]) -> None:
    spans = [Span(version="a", start=start, end=end) for start, end in bounds]
    with pytest.raises(BadResponse, match="weight_versions"):
        expand_spans(spans, 3, {"a": 1})
