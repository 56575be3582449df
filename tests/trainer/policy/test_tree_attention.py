"""Attention by spans against attention with a mask: outputs, gradients, whole models."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention

from podium_trainer.policy.policy import Policy
from podium_trainer.policy.tree_attention import (
    Span,
    attend,
    attend_last,
    cut_row,
    first_tokens,
)
from tests.trainer.tiny import (
    GROUP,
    MODELS,
    difference,
    flatten,
    gradients,
    packed_logprobs,
    seeded,
    tiny_chat,
    tiny_llama,
)

# Three samples and a fourth that shares two tokens of the second's own; then a padding of two.
SPANS = [
    Span((0, 5), []),
    Span((5, 9), [(0, 3)]),
    Span((9, 10), []),
    Span((10, 13), [(0, 3), (5, 7)]),
]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


def test_outputs_and_gradients_equal_those_of_a_mask() -> None:
    mask_TT = torch.eye(15, dtype=torch.bool)
    for span in SPANS:
        first, end = span.own
        for seen in span.ancestors:
            mask_TT[first:end, slice(*seen)] = True
        mask_TT[first:end, first:end] = torch.ones(end - first, end - first).tril().bool()
    query, key, value = drawn(2, 4, 15, 8), drawn(2, 2, 15, 8, seed=1), drawn(2, 2, 15, 8, seed=2)
    layer: Any = SimpleNamespace(num_key_value_groups=2)
    rows = [cut_row(SPANS, 15)] * 2
    masked, _ = attend(layer, query, key, value, mask_TT[None, None], scaling=0.3)
    spans, _ = attend(layer, query, key, value, None, tree_rows=rows, scaling=0.3)
    assert torch.allclose(spans[:, :13], masked[:, :13], atol=1e-12)
    assert not spans[:, 13:].any()
    weights = drawn(*spans[:, :13].shape, seed=3).detach()
    expected, actual = (
        torch.autograd.grad((each[:, :13] * weights).sum(), [query, key, value])
        for each in (masked, spans)
    )
    for gradient, wanted in zip(actual, expected, strict=True):
        assert torch.allclose(gradient, wanted, atol=1e-12)


def test_a_row_is_cut_where_spans_and_ancestors_end() -> None:
    row = cut_row(SPANS, 15)
    assert row.sizes == [3, 2, 2, 2, 1, 3, 2]
    assert row.spans == [([], [0, 1]), ([0], [2, 3]), ([], [4]), ([0, 2], [5])]


def test_the_first_tokens_of_ranges_by_hand() -> None:
    assert first_tokens([(0, 3), (5, 9)], 0) == []
    assert first_tokens([(0, 3), (5, 9)], 3) == [(0, 3)]
    assert first_tokens([(0, 3), (5, 9)], 5) == [(0, 3), (5, 7)]
    assert first_tokens([(0, 3), (5, 9)], 99) == [(0, 3), (5, 9)]


def test_the_last_tokens_attend_as_with_the_lower_right_bias() -> None:
    """A GPU takes that bias, which no kernel there writes to memory."""
    query, key, value = drawn(2, 3, 8), drawn(2, 7, 8, seed=1), drawn(2, 7, 8, seed=2)
    bias = causal_lower_right(3, 7)
    expected = scaled_dot_product_attention(query[None], key[None], value[None], attn_mask=bias)
    assert torch.allclose(attend_last(query, key, value, None), expected[0], atol=1e-12)


@pytest.mark.parametrize("name", ["llama", "gpt2", "granite, scaled logits"])
def test_long_rows_give_the_gradients_of_short_ones(name: str) -> None:
    results, logprobs = [], []
    for dense_tokens in (1000, 0):
        model = seeded(MODELS[name]).double().eval()
        policy = Policy(model, tiny_chat(), temperature=1.0, dense_tokens=dense_tokens)
        assert policy.attends_by_spans
        assert all((b.tree_rows is None) == bool(dense_tokens) for b in policy.pack(GROUP, 99))
        packed = packed_logprobs(policy, GROUP)
        logprobs.append(flatten(packed))
        torch.cat(packed).sum().backward()  # type: ignore[no-untyped-call]
        results.append(gradients(model))
    assert logprobs[0] == pytest.approx(logprobs[1], abs=1e-6)
    assert difference(results[1], results[0]) < 1e-6


def test_a_model_that_takes_no_spans_packs_long_samples_alone() -> None:
    model = tiny_llama()
    model.set_attn_implementation("eager")
    policy = Policy(model, tiny_chat(), temperature=1.0)
    policy.shares_prefixes = True  # as a model whose own attention takes masks alone
    assert not policy.attends_by_spans
    assert model.config._attn_implementation == "eager"
    [batch] = policy.pack(GROUP, 1000)
    assert batch.attention_mask is not None
    policy.dense_tokens = 19
    batches = list(policy.pack(GROUP, 1000))
    assert [(batch.attention_mask, batch.tree_rows) for batch in batches] == [(None, None)]


def test_saved_models_do_not_name_the_attention(tmp_path: Any) -> None:
    Policy(tiny_llama(), tiny_chat(), temperature=1.0).save(tmp_path)
    assert "podium" not in (tmp_path / "config.json").read_text()
