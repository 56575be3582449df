"""Evaluate prompts, and reuse what the context still holds of the prompt before.

Logits depend a little on how tokens are batched: they differ by up to 0.2 between a prompt that was
evaluated at once and one whose end was evaluated alone. So prompts are always evaluated in chunks
with the same bounds, and whole chunks are reused. Then a prompt has the same logits, bit for bit,
whatever was asked before it.
"""

from collections.abc import Callable, Sequence

from podium_service.judges.local.generation.language_model import LanguageModel

CHUNK_TOKENS = 64
# The first two chunks are smaller, because short prompts often have only some 30 tokens in common.
_SMALL_CHUNK_TOKENS = 32


class Stopped(Exception):
    """The caller has gone, so the work for it has ended early."""


class PromptCache:
    """The prompt whose keys and values are in a model's context."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._prompt: list[int] = []

    def evaluate(self, prompt: Sequence[int], wanted: Callable[[], bool]) -> int:
        """Evaluate a prompt, so that the model has the logits after its last token.

        Args:
            prompt: at least one token, and no more than the context holds.
            wanted: asked before each chunk.

        Returns:
            The number of tokens that were reused.

        Raises:
            Stopped: If the prompt is no longer wanted; the chunks evaluated so far are kept.
        """
        # The last token is always evaluated, because its logits are asked for.
        reused = min(_count_common(self._prompt, prompt), len(prompt) - 1)
        reused -= reused % _chunk_size(reused)
        self._prompt = list(prompt[:reused])
        self._model.forget_from(reused)
        while (start := len(self._prompt)) < len(prompt):
            if not wanted():
                raise Stopped
            chunk = prompt[start : start + _chunk_size(start)]
            is_last = start + len(chunk) == len(prompt)
            self._model.evaluate(chunk, start, wants_logits=is_last)
            self._prompt.extend(chunk)
        return reused


def _chunk_size(position: int) -> int:
    """Return the size of the chunk at a position."""
    return _SMALL_CHUNK_TOKENS if position < CHUNK_TOKENS else CHUNK_TOKENS


def _count_common(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two sequences have in common at their start."""
    pairs = zip(first, second, strict=False)
    unequal = (index for index, (one, other) in enumerate(pairs) if one != other)
    return next(unequal, min(len(first), len(second)))
