"""A `LanguageModel` whose tokens are bytes and control tokens, and whose replies are a function."""

import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from podium_service.judges.local.generation.language_model import Logits

BEGIN, END, BOS = 256, 257, 258
LIKELY = 5.0  # the logit of the reply's next token; all others have 0
NUM_TOKENS = 260
_TURN = chr(BEGIN) + "assistant\n"


class FakeModel:
    """A model that replies as it is told.

    Args:
        reply: takes the text of the prompt and returns the reply's tokens as bytes; the end of the
            turn follows.
        chat_template: ChatML unless set.

    Attributes:
        prompts: the texts that were replied to.
        batches: the number of tokens and the position of each evaluation.
        gate: evaluation waits until it is set.
    """

    def __init__(
        self,
        reply: Callable[[str], bytes] = lambda prompt: b"yes",
        chat_template: str | None = None,
        context_tokens: int = 1024,
        *,
        adds_bos: bool = False,
    ) -> None:
        self._reply = reply
        self.prompts: list[str] = []
        self._context: list[int] = []
        self.context_tokens = context_tokens
        self.chat_template = chat_template
        self.control_tokens: Mapping[str, int] = {
            "<|im_start|>": BEGIN,
            "<|im_end|>": END,
            "<s>": BOS,
        }
        self.bos_token: int | None = BOS
        self.eos_token: int | None = END
        self.adds_bos = adds_bos
        self.batches: list[tuple[int, int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False

    @property
    def context(self) -> list[int]:
        """The tokens in the context."""
        return list(self._context)

    def tokenize(self, text: str) -> list[int]:
        return list(text.encode(errors="replace"))

    def piece(self, token: int) -> bytes:
        names = {token: text.encode() for text, token in self.control_tokens.items()}
        return bytes([token]) if token < BEGIN else names.get(token, b"")

    def ends(self, token: int) -> bool:
        return token == END

    def evaluate(self, tokens: Sequence[int], position: int, *, wants_logits: bool) -> None:
        assert not self.closed
        assert position == len(self._context), "the context has a gap"
        assert len(self._context) + len(tokens) <= self.context_tokens
        assert self.gate.wait(timeout=30)
        self.batches.append((len(tokens), position))
        self._context += tokens

    def logits(self) -> Logits:
        logits = np.zeros(NUM_TOKENS, dtype=np.float32)
        logits[self._next_token()] = LIKELY
        return logits

    def forget_from(self, position: int) -> None:
        del self._context[position:]

    def close(self) -> None:
        self.closed = True

    def _next_token(self) -> int:
        """Return the reply's next token; the prompt ends where the assistant's turn begins."""
        context = "".join(map(chr, self._context))
        start = context.rfind(_TURN) + len(_TURN)
        prompt = b"".join(map(self.piece, self._context[:start])).decode(errors="replace")
        if prompt not in self.prompts[-1:]:
            self.prompts.append(prompt)
        reply: list[int] = [*self._reply(prompt), END]
        return reply[min(len(self._context) - start, len(reply) - 1)]
