"""What a model can do that not every model can: tried at load, on tokens of no meaning."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


def can_share_prefixes(model: Any) -> bool:
    """Whether a tree mask gives what rows of their own give: tried, on tokens of no meaning."""
    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"} or getattr(model.config, "sliding_window", None):
        return False
    a, b = [1, 2, 3, 4, 5], [1, 2, 3, 5, 4]
    tree_TT = torch.ones(7, 7, dtype=torch.bool).tril()
    tree_TT[5:, 3:5] = False
    try:
        with evaluating(model):
            tree = model.get_decoder()(
                input_ids=torch.tensor([[*a, 5, 4]], device=model.device),
                position_ids=torch.tensor([[0, 1, 2, 3, 4, 3, 4]], device=model.device),
                attention_mask=tree_TT[None, None].to(model.device),
                use_cache=False,
            ).last_hidden_state[0]
            plain = model.get_decoder()(
                input_ids=torch.tensor([a, b], device=model.device), use_cache=False
            ).last_hidden_state
    except (RuntimeError, ValueError, TypeError, AttributeError):
        return False
    return same(tree[:5], plain[0]) and same(tree[[0, 1, 2, 5, 6]], plain[1])


def head_is_plain(model: Any) -> bool:
    """Whether logits are the head applied to the decoder's output, without scaling or capping."""
    try:
        with evaluating(model):
            ids = torch.tensor([[1, 2, 3]], device=model.device)
            hidden = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
            by_hand = model.get_output_embeddings()(hidden)
            logits = model(input_ids=ids, use_cache=False).logits
            return same(by_hand, logits, tolerance=1e-6)  # no rounding: it is the same product
    except (TypeError, AttributeError):
        return False


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def same(left: Tensor, right: Tensor, tolerance: float | None = None) -> bool:
    """Equal up to the rounding of their type, or a share of the largest entry."""
    if tolerance is None:
        tolerance = 1e-3 if left.dtype == torch.float32 else 5e-2
    scale = max(1.0, float(right.float().abs().max()))
    return bool((left.float() - right.float()).abs().max() <= tolerance * scale)
