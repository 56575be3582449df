"""The seam between the judge server and whatever evaluates tokens."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]


class LanguageModel(Protocol):
    """A language model with one context, which holds the keys and values of evaluated tokens.

    Nothing but `tokenize` and `piece` may be called from two threads at once.

    Attributes:
        context_tokens: tokens that the context holds.
        chat_template: the Jinja template of the model's conversations; None if it has none.
        control_tokens: text -> token of the tokens that structure a conversation. Text is only read
            as one of them where the chat template wrote it.
        bos_token: the token that starts a text; None if there is none.
        eos_token: the token that ends a text; None if there is none.
        adds_bos: whether every prompt must start with `bos_token`.
    """

    context_tokens: int
    chat_template: str | None
    control_tokens: Mapping[str, int]
    bos_token: int | None
    eos_token: int | None
    adds_bos: bool

    def tokenize(self, text: str) -> list[int]:
        """Return the tokens of a text, none of which is a control token."""
        ...

    def piece(self, token: int) -> bytes:
        """Return the text of a token in UTF-8; a token may hold a part of a character."""
        ...

    def ends(self, token: int) -> bool:
        """Return whether a token ends the model's turn."""
        ...

    def evaluate(self, tokens: Sequence[int], position: int, *, wants_logits: bool) -> None:
        """Evaluate tokens that follow the `position` tokens in the context."""
        ...

    def logits(self) -> Logits:
        """Return the logits after the last token evaluated, shape (V,), valid until the next."""
        ...

    def forget_from(self, position: int) -> None:
        """Remove the tokens at `position` and after it from the context."""
        ...

    def close(self) -> None:
        """Free the memory of the model."""
        ...
