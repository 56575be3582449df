"""Section `left_out`: what is not offered, and what it would buy, on judges drawn with numpy.

*Replies*: several replies to one list prompt, whose tokens are paid once. Half of a score's noise
is drawn with the reply, as in `judges.simulated`; the other half comes with the reading.

*Worst*: after "which is best" the letter of the worst one, in place of another order; for a judge
as noisy as the truth, and for one like GPT-4.

*Shrinking again*: advantages times a power of the group's reliability, see `bound`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from benchmarks.ranking import figures
from benchmarks.ranking.bound import shrinking_again
from benchmarks.ranking.report import Cell, Report, Row
from podium_service.scoring.bootstrap import Array
from podium_service.scoring.estimate import NATS_PER_SCORE

SIZE, TOKEN_SHARE, SLOT_BIAS = 8, 0.5, 0.5
# A reply to a list of eight without explanations: `{"K": 0.75, ...}`.
REPLY_TOKENS = 66
COMPLETION_PRICE = 8.0  # of a prompt token; the dearer of the usual ratios, 4 to 8
# Prompt tokens of RULER's call on recorded groups, see `results/alignment.json`.
PROMPTS = {"addition": 450, "GSM8K": 600, "InterCode SQL": 1100, "tau-bench": 9700}
THOUGHT_TOKENS = 600  # of a judge that reasons first
WAYS = {
    "1 reply": (1, 1),
    "2 replies": (1, 2),
    "4 replies": (1, 4),
    "2 passes": (2, 1),
    "1 reply, the likeliest": (1, None),
}
NOISE_SDS = (1.0, 0.2)
# How often each question is asked, in so many orders.
QUESTIONS = {
    "best, 2 orders": (2, 0),
    "best and worst, 1 order": (1, 1),
    "best, 4 orders": (4, 0),
    "best and worst, 2 orders": (2, 2),
}


@dataclass(frozen=True)
class Groups:
    """Truths of groups, shape (groups, trajectories), and what draws noise for them."""

    truth_GN: Array
    rng: np.random.Generator

    def noise(self, variance: float) -> Array:
        return self.rng.normal(0.0, np.sqrt(variance), self.truth_GN.shape)

    def squared_cosines(self, values_GN: Array) -> list[float | None]:
        a = values_GN - values_GN.mean(axis=1, keepdims=True)
        b = self.truth_GN - self.truth_GN.mean(axis=1, keepdims=True)
        norms = (a**2).sum(axis=1) * (b**2).sum(axis=1)
        squares = (a * b).sum(axis=1) ** 2
        return [float(s / n) if n else 0.0 for s, n in zip(squares, norms, strict=True)]

    def taus(self, values_GN: Array) -> list[float | None]:
        pairs = zip(values_GN, self.truth_GN, strict=True)
        return [figures.tau(values.tolist(), truth.tolist()) for values, truth in pairs]


async def run(report: Report) -> None:
    rng = np.random.default_rng(13)
    groups = Groups(rng.normal(size=(report.settings.num(4_000, 500), SIZE)), rng)
    about = f"N={SIZE}, noise 1, {len(groups.truth_GN)} groups"
    report.table(f"Replies to one list prompt: {about}", _replies(groups))
    for noise_sd in NOISE_SDS:
        about = f"N={SIZE}, noise {noise_sd:g}, {len(groups.truth_GN)} groups"
        title = f"The worst as a second question: {about}, slot bias of half the noise"
        report.table(title, _questions(groups, noise_sd))
    title = f"Advantages times a power of the group's reliability: N={SIZE}"
    report.table(title, [row for passes in (1, 2, 4) for row in _shrunk_again(passes)])


def _shrunk_again(passes: int) -> Iterator[Row]:
    for power, share, cosine in shrinking_again(passes, SIZE):
        yield {"passes": str(passes), "power": power, "equals earn": share, "cosine": cosine}


def _replies(groups: Groups) -> list[Row]:
    rows: list[Row] = []
    for name, (passes, replies) in WAYS.items():
        values_GN = sum((_pass(groups, replies) for _ in range(passes)), np.zeros(1)) / passes
        found = figures.mean(groups.squared_cosines(values_GN))
        row: dict[str, Cell] = {"way": name, "cosine²": found}
        for kind, prompt_tokens in PROMPTS.items():
            row[f"{kind}, $"] = _dollars(passes, replies or 1, prompt_tokens, REPLY_TOKENS)
        row["tau-bench, reasoning, $"] = _dollars(
            passes, replies or 1, PROMPTS["tau-bench"], REPLY_TOKENS + THOUGHT_TOKENS
        )
        rows.append(row)
    return rows


def _pass(groups: Groups, replies: int | None) -> Array:
    """Return the mean score of so many replies to one prompt; None is the likeliest reply."""
    read_GN = groups.truth_GN + groups.noise(1 - TOKEN_SHARE)
    return read_GN + groups.noise(TOKEN_SHARE / replies) if replies else read_GN


def _dollars(passes: int, replies: int, prompt_tokens: int, reply_tokens: int) -> float:
    """Return the price, in that of one call with one reply."""
    paid = COMPLETION_PRICE * reply_tokens
    return passes * (prompt_tokens + replies * paid) / (prompt_tokens + paid)


def _questions(groups: Groups, noise_sd: float) -> list[Row]:
    rows: list[Row] = []
    for name, (best, worst) in QUESTIONS.items():
        orders = [_order(groups, index) for index in range(max(best, worst))]
        asked = [(1, orders[index]) for index in range(best)]
        asked += [(-1, orders[index]) for index in range(worst)]
        row: dict[str, Cell] = {"questions": name, "calls": float(best + worst)}
        for reading in ("probabilities", "letters"):
            values_GN = sum((_ask(groups, noise_sd, *each, reading) for each in asked), np.zeros(1))
            row[f"cosine², {reading}"] = figures.mean(groups.squared_cosines(values_GN))
            row[f"tau, {reading}"] = figures.mean(groups.taus(values_GN))
        rows.append(row)
    return rows


def _order(groups: Groups, index: int) -> Array:
    """Return the slot of each trajectory, in an order of its own or in the reverse of the last."""
    slots_GN = np.random.default_rng(index // 2).permuted(
        np.tile(np.arange(SIZE), (len(groups.truth_GN), 1)), axis=1
    )
    return slots_GN if index % 2 == 0 else SIZE - 1 - slots_GN


def _ask(groups: Groups, noise_sd: float, sign: int, slots_GN: Array, reading: str) -> Array:
    """Return what one call tells: log-probabilities, or one for the trajectory named."""
    effects_N = np.linspace(1, -1, SIZE)
    effects_N *= SLOT_BIAS * noise_sd / effects_N.std()
    noise_GN = groups.noise(noise_sd**2 * (1 - TOKEN_SHARE))
    scale = noise_sd * np.sqrt(6 * TOKEN_SHARE) / np.pi
    logits_GN = (sign * groups.truth_GN + effects_N[slots_GN] + noise_GN) / scale
    if reading == "probabilities":
        logprobs_GN = logits_GN - logsumexp(logits_GN, axis=1, keepdims=True)
        return np.asarray(sign * np.maximum(logprobs_GN, -NATS_PER_SCORE))
    named_G = (logits_GN + groups.rng.gumbel(size=logits_GN.shape)).argmax(axis=1)
    return np.asarray(sign * np.eye(SIZE)[named_G])
