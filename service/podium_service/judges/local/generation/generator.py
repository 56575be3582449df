"""Generate one reply, token by token."""

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal

import numpy as np

from podium_service.judges.local.generation.language_model import LanguageModel
from podium_service.judges.local.generation.prompt_cache import PromptCache, Stopped
from podium_service.judges.local.generation.sampling import (
    LogProbabilities,
    Sampling,
    choose,
    log_softmax,
    most_likely,
)


@dataclass(frozen=True, slots=True)
class Task:
    """One reply to generate.

    Attributes:
        prompt: its tokens, at least one.
        max_tokens: most tokens of the reply, at least 1.
        stop: texts that end the reply and are not part of it.
        top_logprobs: likeliest tokens to return for each token; None for no log-probabilities.
    """

    prompt: list[int]
    max_tokens: int
    sampling: Sampling
    stop: Sequence[str] = ()
    top_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token and its natural log-probability among the whole vocabulary."""

    piece: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class Token:
    """A token of the reply; `text` is what it adds to the reply's text."""

    text: str
    chosen: TokenLogprob
    alternatives: list[TokenLogprob]


@dataclass(slots=True)
class Generated:
    """A reply.

    Attributes:
        num_tokens: tokens generated, with the one that ended the turn or completed a stop text.
        reused_tokens: tokens of the prompt that were in the context from the prompt before.
    """

    reused_tokens: int
    text: str = ""
    finish_reason: Literal["stop", "length"] = "length"
    num_tokens: int = 0
    tokens: list[Token] = field(default_factory=list)


class Generator:
    """Generates replies with one model, one at a time."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._cache = PromptCache(model)
        self._control = frozenset(model.control_tokens.values())

    def generate(self, task: Task, wanted: Callable[[], bool]) -> Generated:
        """Evaluate a prompt and generate until the turn ends, a stop text comes or tokens run out.

        Args:
            wanted: asked between evaluations.

        Raises:
            Stopped: If the reply is no longer wanted.
        """
        random = np.random.default_rng(task.sampling.seed)
        reply = Generated(self._cache.evaluate(task.prompt, wanted))
        # A character may be spread over tokens; it belongs to the last of them.
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while True:
            logprobs = log_softmax(self._model.logits())
            token = choose(logprobs, task.sampling, random)
            reply.num_tokens += 1
            if self._model.ends(token):
                reply.finish_reason = "stop"
                return reply
            piece = b"" if token in self._control else self._model.piece(token)
            text = decoder.decode(piece)
            reply.text += text
            if task.top_logprobs is not None:
                reply.tokens.append(self._describe(logprobs, token, text, task.top_logprobs))
            if _cut_at_stop(reply, task.stop) or reply.num_tokens == task.max_tokens:
                return reply
            if not wanted():
                raise Stopped
            position = len(task.prompt) + reply.num_tokens - 1
            self._model.evaluate([token], position, wants_logits=True)

    def _describe(self, logprobs: LogProbabilities, token: int, text: str, count: int) -> Token:
        likeliest = most_likely(logprobs, count)
        chosen, *alternatives = [
            TokenLogprob(self._model.piece(each), float(logprobs[each]))
            for each in (token, *likeliest)
        ]
        return Token(text, chosen, alternatives)


def _cut_at_stop(reply: Generated, stop: Sequence[str]) -> bool:
    """Cut a reply before the first stop text in it; return whether there is one."""
    begins = [begin for each in stop if (begin := reply.text.find(each)) >= 0]
    if not begins:
        return False
    reply.text = reply.text[: min(begins)]
    reply.finish_reason = "stop"
    ends = list(accumulate(len(token.text) for token in reply.tokens))
    num_kept = sum(end <= len(reply.text) for end in ends)
    del reply.tokens[num_kept:]
    return True
