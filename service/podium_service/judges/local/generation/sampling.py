"""Turn the logits of one position into a token and into log-probabilities."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from podium_service.judges.local.generation.language_model import Logits

LogProbabilities = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sampling:
    """The rule that chooses a token: the likeliest one at temperature 0."""

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None


def log_softmax(logits: Logits) -> LogProbabilities:
    """Return the log-probabilities of the whole vocabulary, shape (V,).

    Raises:
        RuntimeError: If the model computed something that is no number.
    """
    shifted = logits.astype(np.float64)
    top = shifted.max()
    if not np.isfinite(top):
        raise RuntimeError(f"the model's largest logit is {top}: its file may be damaged")
    shifted -= top
    shifted -= np.log(np.exp(shifted).sum())
    return shifted


def most_likely(logprobs: LogProbabilities, count: int) -> list[int]:
    """Return the `count` likeliest tokens, the likeliest first; of equal ones the lowest first."""
    if not count:
        return []
    count = min(count, len(logprobs))
    least = np.partition(logprobs, -count)[-count]
    candidates = np.flatnonzero(logprobs >= least)
    order = np.argsort(-logprobs[candidates], kind="stable")
    return [int(token) for token in candidates[order[:count]]]


def choose(logprobs: LogProbabilities, sampling: Sampling, random: np.random.Generator) -> int:
    """Return a token drawn from the distribution, sharpened by the temperature, cut at top_p."""
    if sampling.temperature == 0:
        return int(logprobs.argmax())
    scaled = logprobs / sampling.temperature
    probabilities = np.exp(scaled - scaled.max())
    probabilities /= probabilities.sum()
    if sampling.top_p < 1:
        probabilities = _cut(probabilities, sampling.top_p)
    drawn = np.searchsorted(np.cumsum(probabilities), random.random(), side="right")
    return min(int(drawn), int(np.flatnonzero(probabilities)[-1]))


def _cut(probabilities: LogProbabilities, top_p: float) -> LogProbabilities:
    """Keep the fewest likeliest tokens whose probabilities reach `top_p`, scaled to sum to 1."""
    order = np.argsort(-probabilities, kind="stable")
    before = np.cumsum(probabilities[order]) - probabilities[order]
    kept = np.where(before < top_p, probabilities[order], 0.0)
    result = np.zeros_like(probabilities)
    result[order] = kept / kept.sum()
    return result
