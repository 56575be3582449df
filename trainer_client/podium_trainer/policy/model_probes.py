"""Find out by trial what a loaded model can do that not every model can.

Each probe runs the model on a few arbitrary tokens and leaves its mode as it was.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from podium_trainer.policy.ranks.shard import run
from podium_trainer.policy.tree_attention import NAME as TREE_ATTENTION
from podium_trainer.policy.tree_attention import Span, cut_row, tree_inputs


def can_share_prefixes(model: Any) -> bool:
    """Return whether a tree mask gives the hidden states that separate rows give."""
    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"} or getattr(model.config, "sliding_window", None):
        return False
    tree_mask_TT = torch.ones(7, 7, dtype=torch.bool).tril()
    tree_mask_TT[5:, 3:5] = False
    return is_tree_right(model, attention_mask=tree_mask_TT[None, None].to(model.device))


def use_tree_attention(model: Any) -> bool:
    """Let a model attend by spans (tree_attention.py), if that gives what separate rows give.

    Returns:
        Whether it does so from now on; if not, the model is left as it was.
    """
    if model.config._attn_implementation != "sdpa":
        return False
    row = cut_row([Span((0, 5), []), Span((5, 7), [(0, 3)])], 7)
    try:
        model.set_attn_implementation(TREE_ATTENTION)
        if is_tree_right(model, **tree_inputs([row], model.device)):
            return True
    except (RuntimeError, ValueError):
        pass
    model.set_attn_implementation("sdpa")
    return False


def is_tree_right(model: Any, **attention: Any) -> bool:
    """Return whether a tree row has the hidden states of separate rows.

    The row of seven tokens holds two samples of five that share their first three.

    Args:
        model: the model.
        attention: its arguments that make the row a tree.
    """
    first, second = [1, 2, 3, 4, 5], [1, 2, 3, 5, 4]
    device = model.device
    try:
        with eval_mode(model):
            tree_TD = run(
                model,
                hidden_states,
                input_ids=torch.tensor([[*first, 5, 4]], device=device),
                position_ids=torch.tensor([[0, 1, 2, 3, 4, 3, 4]], device=device),
                **attention,
            )[0]
            rows_BTD = run(
                model, hidden_states, input_ids=torch.tensor([first, second], device=device)
            )
    except (RuntimeError, ValueError, TypeError, AttributeError):
        return False
    return are_close(tree_TD[:5], rows_BTD[0]) and are_close(tree_TD[[0, 1, 2, 5, 6]], rows_BTD[1])


def hidden_states(model: Any, **inputs: Any) -> Tensor:
    """Compute the last hidden states (B, T, D)."""
    hidden_BTD: Tensor = model.get_decoder()(use_cache=False, **inputs).last_hidden_state
    return hidden_BTD


def head_logits(model: Any, **inputs: Any) -> Tensor:
    """Compute the head's output (B, T, V)."""
    logits_BTV: Tensor = model.get_output_embeddings()(hidden_states(model, **inputs))
    return logits_BTV


def has_plain_head(model: Any) -> bool:
    """Return whether logits are the head's output as it is, without scaling or capping."""
    try:
        with eval_mode(model):
            input_ids = torch.tensor([[1, 2, 3]], device=model.device)
            head_BTV = run(model, head_logits, input_ids=input_ids)
            logits_BTV = model(input_ids=input_ids, use_cache=False).logits
            # The tolerance is far below any rounding, because a plain head is the same product.
            return are_close(head_BTV, logits_BTV, tolerance=1e-6)
    except (TypeError, AttributeError):
        return False


@contextmanager
def eval_mode(model: Any) -> Iterator[None]:
    """Hold the model in eval mode without gradients, then put its mode back."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def are_close(left: Tensor, right: Tensor, tolerance: float | None = None) -> bool:
    """Return whether two tensors are equal up to a tolerance.

    Args:
        tolerance: relative to the largest entry, which counts as 1 if it is smaller; None takes the
            rounding of the tensors' type.
    """
    if tolerance is None:
        tolerance = 1e-3 if left.dtype == torch.float32 else 5e-2
    scale = max(1.0, float(right.float().abs().max()))
    return bool((left.float() - right.float()).abs().max() <= tolerance * scale)
