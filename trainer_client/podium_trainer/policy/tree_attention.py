"""Attend over long tree rows (packing.py) span by span, without a mask of T x T entries.

A span is what one sample adds to a row. All its tokens see the same ancestors, and each other
causally. So attention over a row is one causal attention for each span, whose keys are those of the
ancestors and its own:

    row    P P P a b c d        spans    P P P          keys    P P P
                                         a b                    P P P a b
                                         c d                    P P P c d

The function stands in for transformers' `sdpa`, which it calls for everything but such rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "podium_tree"

Range = tuple[int, int]  # the first token and the end


@dataclass(frozen=True)
class Span:
    """The tokens that one sample adds to a row, and their ancestors before them, in order."""

    own: Range
    ancestors: Sequence[Range]


@dataclass(frozen=True)
class TreeRow:
    """A row of T tokens, cut into pieces such that spans and ancestors are whole pieces.

    Attributes:
        sizes: the number of tokens of each piece, T in all; the last one is padding, or empty.
        spans: for each span, in the order of the row, its ancestors' pieces and its own ones.
    """

    sizes: list[int]
    spans: list[tuple[list[int], list[int]]]


def cut_row(spans: Sequence[Span], num_tokens: int) -> TreeRow:
    """Cut a row of `num_tokens` into pieces.

    Args:
        spans: all spans; together they are the row up to its padding.
        num_tokens: T.
    """
    ranges = [each for span in spans for each in (span.own, *span.ancestors)]
    cuts = sorted({at for each in ranges for at in each})
    number = {at: index for index, at in enumerate(cuts)}

    def pieces(parts: Sequence[Range]) -> list[int]:
        return [i for first, end in parts for i in range(number[first], number[end])]

    sizes = [end - first for first, end in pairwise(cuts)]
    return TreeRow(
        [*sizes, num_tokens - cuts[-1]],
        [(pieces(span.ancestors), pieces([span.own])) for span in spans],
    )


def first_tokens(ranges: Sequence[Range], count: int) -> list[Range]:
    """Return the ranges of the first `count` tokens of some ranges."""
    kept = []
    for first, end in ranges:
        if count <= 0:
            break
        kept.append((first, min(end, first + count)))
        count -= end - first
    return kept


def tree_inputs(rows: Sequence[TreeRow], device: torch.device) -> dict[str, Any]:
    """Return the arguments of a model's decoder that make rows trees.

    A mask of four dimensions, which nobody reads, keeps transformers from making one of its own.
    """
    mask_B111 = torch.ones(len(rows), 1, 1, 1, dtype=torch.bool, device=device)
    return {"attention_mask": mask_B111, "tree_rows": rows}


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    tree_rows: Sequence[TreeRow] | None = None,
    scaling: float | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers' `sdpa` does, or by spans if there are tree rows.

    Args:
        module: the attention layer.
        query: of shape (B, H, T, D).
        key, value: of the same shape with fewer heads, or as many.
        attention_mask: used without tree rows only.
        tree_rows: B rows; their padding gets zeros.
        scaling: multiplies the products of queries and keys.
        settings: as `sdpa` takes them.

    Returns:
        Tensor of shape (B, T, H, D).
    """
    if tree_rows is None:
        output: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **settings
        )
        return output
    repeats = query.shape[1] // key.shape[1]
    keys, values = repeat_kv(key, repeats), repeat_kv(value, repeats)
    rows = [
        attend_row(query[number], keys[number], values[number], row, scaling)
        for number, row in enumerate(tree_rows)
    ]
    return torch.stack(rows).transpose(1, 2).contiguous(), None


def attend_row(
    query_HTD: Tensor, key_HTD: Tensor, value_HTD: Tensor, row: TreeRow, scaling: float | None
) -> Tensor:
    """Attend over one row, span by span.

    Returns:
        Tensor of shape (H, T, D).
    """
    # One split for all spans, whose backward pass joins the gradients once.
    queries, keys, values = (
        torch.split(each, row.sizes, 1) for each in (query_HTD, key_HTD, value_HTD)
    )
    outputs = []
    for ancestors, own in row.spans:
        seen = [*ancestors, *own]
        outputs.append(
            attend_last(
                torch.cat([queries[i] for i in own], 1),
                torch.cat([keys[i] for i in seen], 1),
                torch.cat([values[i] for i in seen], 1),
                scaling,
            )
        )
    return torch.cat([*outputs, torch.zeros_like(queries[-1])], 1)


def attend_last(
    query_HLD: Tensor, key_HSD: Tensor, value_HSD: Tensor, scaling: float | None
) -> Tensor:
    """Attend causally from the last L of S tokens.

    Returns:
        Tensor of shape (H, L, D).
    """
    num_new, num_seen = query_HLD.shape[1], key_HSD.shape[1]
    mask = None
    if num_new < num_seen and query_HLD.is_cuda:
        mask = causal_lower_right(num_new, num_seen)  # its kernels need no mask in memory
    elif num_new < num_seen:  # on a CPU they would, so the ancestors get queries that are dropped
        query_HLD = pad(query_HLD, (0, 0, num_seen - num_new, 0))
    output_HSD = scaled_dot_product_attention(
        query_HLD[None],
        key_HSD[None],
        value_HSD[None],
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
    )[0]
    return output_HSD[:, -num_new:]


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
