"""Known truth -> a judge that sees it through noise, bias and a coarse grid, as real ones do.

    judge = SimulatedJudge(by_case({"1f3a9c": 0.7, "20bd11": -1.2}), noise_sd=1.0, slot_bias=0.5)
    judge.reply(chat_request)  # a chat completion

`server` puts it behind HTTP. Quality is in standard deviations of the trajectories' truth:
perceived = truth + slot effect + length_bias * log2(length / mean length) + noise. Noise is drawn
anew for each call, from the seed, the truths in the order shown and how often just these were
shown: a run in one order of calls repeats exactly.
"""

import json
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from itertools import pairwise
from statistics import NormalDist
from typing import Any

from benchmarks.judges.pleas import pleas
from benchmarks.judges.reading import NothingShown, Question, Shown, read_question
from benchmarks.judges.replies import chat_completion
from benchmarks.judges.slots import slot_effects

TruthOf = Callable[[str], float | None]

# Whatever a defence puts in the place of spaces.
CASE = re.compile(r"\bcase[\W_]{1,3}([0-9a-f]{12})(?![0-9a-f])")
MALFORMED = "All of them have their merits, and I would rather not put a number on it."
EXPLANATION = "Simulated: weighed against the others."
REFERENCE_CHARS = 1000
OBEYED = 0.98
_NORMAL = NormalDist()


def by_case(truth: Mapping[str, float]) -> TruthOf:
    """Find a trajectory's truth by the first `case 0123456789ab` in its text that is known."""

    def truth_of(text: str) -> float | None:
        keys = (found[1] for found in CASE.finditer(text))
        return next((truth[key] for key in keys if key in truth), None)

    return truth_of


@dataclass
class SimulatedJudge:
    """A judge made to measure.

    Attributes:
        truth_of: from a trajectory's text to its truth; None where the text is no trajectory.
        noise_sd: of one trajectory's perceived quality in a list of up to two.
        noise_growth: added to that, as a share of it, per further trajectory of the list.
        slot_bias, slot_shape: standard deviation over the slots, and shape (`slots.SHAPES`).
        length_bias: per doubling of a trajectory's length.
        grid: step of the scores; 0 for none.
        spread: score points per unit of perceived quality around .5.
        tie_rate: in lists, how often a trajectory takes the score of the next better one; in pairs,
            how often "=" is the answer where truth has standard deviation 1.
        malformed_rate, dropped_rate: replies without a verdict; lists with one id left out.
        obeys: by kind (`pleas.Kind`), how often a plea gets what it asks for.
        canary_truth: of the one trajectory in a list that `truth_of` does not know, which is taken
            for a planted bad one.
        token_share: the share of the noise's variance that lies in sampling the answer's token, so
            that its probabilities tell more than the token does.
        logprobs: whether it tells them.
    """

    truth_of: TruthOf
    noise_sd: float = 1.0
    noise_growth: float = 0.0
    slot_bias: float = 0.0
    slot_shape: str = "linear"
    length_bias: float = 0.0
    grid: float = 0.25
    spread: float = 0.25
    tie_rate: float = 0.0
    malformed_rate: float = 0.0
    dropped_rate: float = 0.0
    obeys: Mapping[str, float] = field(default_factory=dict)
    canary_truth: float = -4.0
    token_share: float = 0.5
    logprobs: bool = True
    seed: int = 0
    _shown_before: Counter[tuple[Any, ...]] = field(
        default_factory=Counter, init=False, repr=False, compare=False
    )

    def settings(self) -> dict[str, Any]:
        """Return all but the truth, as JSON can hold it."""
        names = [each.name for each in fields(self) if each.init and each.name != "truth_of"]
        return {name: getattr(self, name) for name in names}

    def reply(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one chat request.

        Raises:
            NothingShown: If it shows trajectories whose truth is not known, other than one canary.
        """
        question = read_question(request)
        truths = self._truths(question)
        rng = self._rng(question, truths)
        if rng.random() < self.malformed_rate:
            return chat_completion(request, MALFORMED)
        favoured = self._obeyed(question, rng)
        qualities = self._qualities(question.shown, truths)
        if question.form == "scores":
            return chat_completion(request, self._scores(question, qualities, favoured, rng))
        probabilities = self._probabilities(question, qualities, favoured, rng)
        token = rng.choices(list(probabilities), list(probabilities.values()))[0]
        if not self.logprobs:
            return chat_completion(request, token)
        return chat_completion(request, token, probabilities)

    def _probabilities(
        self, question: Question, qualities: list[float], favoured: set[int], rng: random.Random
    ) -> dict[str, float]:
        """Return the probability of each label that may answer."""
        if question.form == "choice":
            return self._choice(question, qualities, favoured, rng)
        if question.form == "best":
            return self._best(question, qualities, favoured, rng)
        if question.form == "yes_no":
            return self._yes_no(qualities, favoured, rng)
        return self._rating(qualities, favoured, rng)

    def _truths(self, question: Question) -> list[float]:
        """Return truths by slot; text pushed out of its fence may hold a trajectory's key."""
        found = [self.truth_of(shown.text) for shown in question.shown]
        unknown = found.count(None)
        if unknown > 1 or unknown == len(found) or (unknown and question.form != "scores"):
            raise NothingShown(f"{unknown} of {len(found)} trajectories have no known truth")
        return [self.canary_truth if truth is None else truth for truth in found]

    def _rng(self, question: Question, truths: list[float]) -> random.Random:
        lengths = [len(shown.body) for shown in question.shown]
        key = (question.form, *truths, *lengths)
        self._shown_before[key] += 1
        return random.Random(f"{self.seed}/{key}/{self._shown_before[key]}")

    def _obeyed(self, question: Question, rng: random.Random) -> set[int]:
        """Return the slots that a plea gets the top for."""
        if not any(self.obeys.values()):
            return set()
        return {
            plea.slot for plea in pleas(question) if rng.random() < self.obeys.get(plea.kind, 0.0)
        }

    def _noise(self, num_shown: int) -> float:
        return self.noise_sd * (1 + self.noise_growth * max(0, num_shown - 2))

    def _qualities(self, shown: list[Shown], truths: list[float]) -> list[float]:
        """Return what the judge would perceive without noise."""
        effects = slot_effects(self.slot_shape, len(shown), self.slot_bias, self.seed)
        doublings = [math.log2(max(1, len(each.body)) / REFERENCE_CHARS) for each in shown]
        usual = sum(doublings) / len(shown) if len(shown) > 1 else 0.0
        return [
            truth + effect + self.length_bias * (length - usual)
            for truth, effect, length in zip(truths, effects, doublings, strict=True)
        ]

    def _scores(
        self, question: Question, qualities: list[float], favoured: set[int], rng: random.Random
    ) -> str:
        noise = self._noise(len(qualities))
        perceived = [quality + rng.gauss(0, noise) for quality in qualities]
        best_first = sorted(range(len(perceived)), key=lambda slot: -perceived[slot])
        if self.tie_rate:
            for better, slot in pairwise(best_first):
                if rng.random() < self.tie_rate:
                    perceived[slot] = perceived[better]
        scores = [self._on_grid(0.5 + self.spread * each) for each in perceived]
        if favoured:
            below = 1 - (self.grid or 0.01)
            scores = [1.0 if s in favoured else min(score, below) for s, score in enumerate(scores)]
        verdict: dict[str, Any] = {
            shown.id: {"explanation": EXPLANATION, "score": score} if question.explained else score
            for shown, score in zip(question.shown, scores, strict=True)
        }
        if rng.random() < self.dropped_rate:
            del verdict[rng.choice(list(verdict))]
        return json.dumps(verdict)

    def _on_grid(self, score: float) -> float:
        steps = round(score / self.grid) * self.grid if self.grid else score
        return round(min(1.0, max(0.0, steps)), 6)

    def _choice(
        self, question: Question, qualities: list[float], favoured: set[int], rng: random.Random
    ) -> dict[str, float]:
        """Return the probability of each answer to a pair, as its last layer would have it."""
        if len(qualities) != 2:
            raise NothingShown(f"a choice needs two trajectories, {len(qualities)} are shown")
        noise = self._noise(2) * math.sqrt(2)
        gap = qualities[0] - qualities[1] + rng.gauss(0, noise * math.sqrt(1 - self.token_share))
        sampling = max(noise * math.sqrt(self.token_share), 1e-6)
        tied_within = _NORMAL.inv_cdf((1 + self.tie_rate) / 2) * math.hypot(math.sqrt(2), noise)
        first = _NORMAL.cdf((gap - tied_within) / sampling)
        second = _NORMAL.cdf((-gap - tied_within) / sampling)
        if len(favoured) == 1:
            first, second = (OBEYED, 1 - OBEYED) if 0 in favoured else (1 - OBEYED, OBEYED)
        one, other = (shown.id for shown in question.shown)
        return {one: first, other: second, "=": max(0.0, 1 - first - second)}

    def _best(
        self, question: Question, qualities: list[float], favoured: set[int], rng: random.Random
    ) -> dict[str, float]:
        """Return the probability of each letter: a multinomial logit of the perceived qualities.

        Its noise has a Gumbel distribution with the variance of the token's share of the noise.
        """
        noise = self._noise(len(qualities))
        read_sd = noise * math.sqrt(1 - self.token_share)
        scale = max(noise * math.sqrt(6 * self.token_share) / math.pi, 1e-6)
        perceived = [quality + rng.gauss(0, read_sd) for quality in qualities]
        weights = [math.exp((each - max(perceived)) / scale) for each in perceived]
        total = sum(weights)
        chances = [weight / total for weight in weights]
        if favoured:
            obeyed = [OBEYED / len(favoured) * (slot in favoured) for slot in range(len(chances))]
            chances = [(1 - OBEYED) * c + o for c, o in zip(chances, obeyed, strict=True)]
        return {shown.id: c for shown, c in zip(question.shown, chances, strict=True)}

    def _yes_no(
        self, qualities: list[float], favoured: set[int], rng: random.Random
    ) -> dict[str, float]:
        """Return the probability of a yes: a logistic function of the perceived quality."""
        if favoured:
            return {"yes": OBEYED, "no": 1 - OBEYED}
        noise = self._noise(1)
        perceived = qualities[0] + rng.gauss(0, noise * math.sqrt(1 - self.token_share))
        scale = max(noise * math.sqrt(3 * self.token_share) / math.pi, 1e-6)
        yes = (1 + math.tanh(perceived / scale / 2)) / 2
        return {"yes": yes, "no": 1 - yes}

    def _rating(
        self, qualities: list[float], favoured: set[int], rng: random.Random
    ) -> dict[str, float]:
        """Return the probability of each digit: a rounded normal around the perceived quality."""
        if favoured:
            return {"9": OBEYED, "8": 1 - OBEYED}
        noise = self._noise(1)
        perceived = qualities[0] + rng.gauss(0, noise * math.sqrt(1 - self.token_share))
        middle = 9 * (0.5 + self.spread * perceived)
        sampling = max(9 * self.spread * noise * math.sqrt(self.token_share), 1e-6)
        below = [_NORMAL.cdf((digit - 0.5 - middle) / sampling) for digit in range(10)]
        bounds = [0.0, *below[1:], 1.0]
        return {str(digit): bounds[digit + 1] - bounds[digit] for digit in range(10)}
