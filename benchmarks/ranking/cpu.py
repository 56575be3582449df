"""Section `cpu`: what planning, aggregating and rewarding one group of 64 costs."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.ranking.report import Report, Row
from podium_service.judges.limits import Passes
from podium_service.prompts.verdict import Verdict
from podium_service.ranking.methods import METHODS, Plan, Situation
from podium_service.scoring.bootstrap import Array
from podium_service.scoring.jury import Juror, combine
from podium_service.scoring.noise import JudgeNoise, learn_noise
from podium_service.scoring.rewards import compute_rewards

SIZE, MOST_MS = 64, 5.0
NOISE, SPREAD = 1.0, 0.08
ARMS: dict[str, tuple[str, Passes]] = {
    "listwise": ("listwise", Passes(min=4, max=4)),
    "listwise, adaptive": ("listwise", Passes(min=1, max=8)),
    "subsets": ("subsets", Passes(min=4, max=4)),
    "pairwise, choices": ("pairwise", Passes(min=1, max=1)),
    "pairwise, logprobs": ("pairwise", Passes(min=1, max=1)),
    "pointwise": ("pointwise", Passes(min=2, max=2)),
    "best of": ("best_of", Passes(min=4, max=4)),
    "yes or no": ("yes_no", Passes(min=1, max=1)),
}


async def run(report: Report) -> None:
    rows: list[Row] = []
    num = report.settings.num(30, 3)
    for name, (method, passes) in ARMS.items():
        rng = np.random.default_rng(8)
        past, spent, calls, estimate = [], [], 0, None
        noise: JudgeNoise | None = None
        for seed in range(num + 25):
            situation = Situation(SIZE, seed, passes, noise, verdicts={})
            cost_ms, calls, estimate = _judge(method, name, situation, rng)
            if estimate.past_group:
                past.append(estimate.past_group)
            if seed == 24:  # from here on the judge is known
                noise = learn_noise(past, METHODS[method].call_size(situation))
            elif seed > 24:
                spent.append(cost_ms)
        rows.append(_row(report, name, spent, calls))
    rows.append(_row(report, "jury of 3, combined", [_jury_ms(seed) for seed in range(num)], 0))
    report.table(f"CPU of planning and aggregating, a group of {SIZE}", rows)


def _row(report: Report, name: str, spent: Sequence[float], calls: int) -> Row:
    mean = float(np.mean(spent))
    report.target(f"CPU ms, {name}", mean, most=MOST_MS)
    return {"method": name, "CPU ms": mean, "worst": max(spent), "calls": float(calls)}


def _judge(method: str, arm: str, situation: Situation, rng: np.random.Generator) -> Any:
    """Return CPU ms of all plans, the estimate and the rewards; calls; the estimate."""
    truth = rng.standard_normal(SIZE)
    verdicts: dict[int, Verdict] = {}
    spent = 0.0
    while True:
        started = time.process_time()
        plan = METHODS[method].plan(situation)
        spent += time.process_time() - started
        if not plan:
            break
        verdicts |= _answers(plan, truth, arm, rng)
        situation = situation.with_verdicts(verdicts, float("inf"))
    started = time.process_time()
    estimate = METHODS[method].estimate(situation)
    compute_rewards(estimate, "win_probability")
    spent += time.process_time() - started
    return 1000 * spent, len(verdicts), estimate


def _answers(
    plan: Plan,
    truth: Array,
    arm: str,
    rng: np.random.Generator,
) -> dict[int, Verdict]:
    found = {}
    for index, order in plan.items():
        seen = truth[order] + NOISE * rng.standard_normal(len(order))
        scores = np.clip(0.5 + SPREAD * seen, 0, 1).round(2).tolist()
        if arm == "pairwise, choices":
            scores = [1.0, 0.0] if seen[0] > seen[1] else [0.0, 1.0]
        elif arm == "pairwise, logprobs":
            first = float(np.clip(0.5 + 0.2 * (seen[0] - seen[1]), 0.01, 0.99))
            scores = [first, 1 - first]
        found[index] = Verdict(list(order), [""] * len(order), scores, [""] * len(order))
    return found


def _jury_ms(seed: int) -> float:
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(SIZE)
    jurors = [
        Juror(f"{n}", (0.5 + SPREAD * (truth + rng.standard_normal(SIZE) / 2)).tolist(), 0.04, 0.8)
        for n in range(3)
    ]
    started = time.process_time()
    combine(jurors)
    return 1000 * (time.process_time() - started)
