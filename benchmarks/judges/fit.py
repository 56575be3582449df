"""Recorded pairwise verdicts -> how noisy, biased and indifferent the judges behind them are.

    python -m benchmarks.judges.fit llmbar_recorded_pairwise.tsv [--json FILE]

A row is `subset idx judge method label winner_order12 winner_order21`: the outputs (1 or 2) that a
human and the judge preferred, the judge in both orders. `fitted.json` beside this file holds what
the command found, so that benchmarks need no records.

The model, per judge and prompt: a pair has a quality gap d ~ N(mean_gap, 1), positive where the
judge tends to agree with the human. Shown in one order, the judge takes the better output with
probability Phi((d + bias) / noise) if it stands first and Phi((d - bias) / noise) if second,
independently given d. Maximum likelihood over the four counts of (right, wrong) x two orders.

Rows of `Rating*` prompts compare two pointwise ratings and write a tie as slot 2: only the tie rate
comes from them. `Swap*` prompts look at both orders in each verdict: shown, never selected.
"""

import csv
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.optimize import minimize
from scipy.stats import norm

FITTED = Path(__file__).with_name("fitted.json")
MIN_NOISE, MAX_NOISE = 0.05, 20.0
MAX_BIAS = 60.0
# Equal slices of the normal density; the integrand is smooth down to `MIN_NOISE`.
STANDARD_GAPS = norm.ppf((np.arange(1001) + 0.5) / 1001)

Row = Mapping[str, str]
Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """One judge with one prompt.

    Attributes:
        pairs: pairs answered in both orders.
        noise, bias, mean_gap: the model's parameters, in standard deviations of the gap d.
        noise_sd: noise of one score, in standard deviations of the trajectories' truth.
        slot_bias: what slot 1 gains and slot 2 loses, in the same unit.
        accuracy: share of verdicts that agree with the human, over both orders.
        flip_rate: share of pairs where another output wins in the other order.
        slot_1_rate: share of verdicts for slot 1.
        tie_rate: share of ties between pointwise ratings; None where the judge gave none.
        malformed_rate: share of verdicts that name no winner.
    """

    judge: str
    method: str
    pairs: int
    noise: float
    bias: float
    mean_gap: float
    noise_sd: float
    slot_bias: float
    accuracy: float
    flip_rate: float
    slot_1_rate: float
    tie_rate: float | None
    malformed_rate: float

    def traits(self) -> dict[str, Any]:
        """Return the settings of a `SimulatedJudge` like this one.

        Ties are left to its grid; `grid=0, tie_rate=fit.tie_rate` takes the recorded rate instead.
        """
        return {
            "noise_sd": self.noise_sd,
            "slot_bias": self.slot_bias,
            "malformed_rate": self.malformed_rate,
        }


def fitted(path: Path = FITTED) -> dict[str, Fit]:
    """Return the fits kept beside this file, by `"JUDGE/best"` and `"JUDGE/median"`."""
    return {name: Fit(**values) for name, values in json.loads(path.read_text()).items()}


def fit_counts(counts_22: Counts) -> tuple[float, float, float]:
    """Fit the model to one judge's counts.

    Args:
        counts_22: pairs, shape (2, 2), indexed by whether the judge was right with the better
            output first (0 wrong, 1 right) and with it second.

    Returns:
        (noise, bias, mean_gap) in standard deviations of the gap. A judge whose two answers have
        nothing in common ends at `MAX_NOISE`.

    Raises:
        ValueError: If there are no counts.
    """
    if counts_22.sum() <= 0:
        raise ValueError("there are no counts to fit")

    def loss(point: NDArray[np.float64]) -> float:
        cells_22 = cell_probabilities(math.exp(point[0]), point[1], point[2])
        return -float((counts_22 * np.log(cells_22)).sum() / counts_22.sum())

    limits = [(math.log(MIN_NOISE), math.log(MAX_NOISE)), (-MAX_BIAS, MAX_BIAS), (-9.0, MAX_BIAS)]
    starts = [np.array([math.log(noise), 0.0, 0.5 * (1 + noise)]) for noise in (0.3, 1.0, 5.0)]
    found = [
        minimize(loss, start, method="Nelder-Mead", bounds=limits, options={"maxiter": 4000})
        for start in starts
    ]
    best = min(found, key=lambda each: float(each.fun))
    return math.exp(best.x[0]), float(best.x[1]), float(best.x[2])


def cell_probabilities(noise: float, bias: float, mean_gap: float) -> NDArray[np.float64]:
    """Return what `fit_counts` expects to see: shape (2, 2), summing to one, nowhere quite zero."""
    gaps = mean_gap + STANDARD_GAPS
    first, second = norm.cdf((gaps + bias) / noise), norm.cdf((gaps - bias) / noise)
    right = float((first * second).mean())
    right_first, right_second = float(first.mean()), float(second.mean())
    cells = [[1 - right_first - right_second + right, right_second - right],
             [right_first - right, right]]  # fmt: skip
    clipped = np.clip(np.array(cells), 1e-9, None)
    return np.asarray(clipped / clipped.sum())


def fit_rows(rows: Iterable[Row], tie_rates: Mapping[str, float]) -> Iterator[Fit]:
    """Yield one fit per judge and prompt, pointwise prompts left out."""
    by_prompt: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if not row["method"].startswith("Rating"):
            by_prompt.setdefault((row["judge"], row["method"]), []).append(row)
    for (judge, method), its_rows in by_prompt.items():
        yield _fit_prompt(judge, method, its_rows, tie_rates.get(judge))


def _fit_prompt(judge: str, method: str, rows: list[Row], tie_rate: float | None) -> Fit:
    given = [(row["label"], row["winner_order12"], row["winner_order21"]) for row in rows]
    answered = [each for each in given if "None" not in each]
    counts_22 = np.zeros((2, 2))
    for label, winner_12, winner_21 in answered:
        # Output 1 stands first in order 12, output 2 in order 21.
        first, second = (winner_12, winner_21) if label == "1" else (winner_21, winner_12)
        counts_22[int(first == label), int(second == label)] += 1
    noise, bias, mean_gap = fit_counts(counts_22)
    pairs = len(answered)
    gap_rms = math.hypot(1, mean_gap)
    verdicts = [winner for each in given for winner in each[1:]]
    return Fit(
        judge=judge,
        method=method,
        pairs=pairs,
        noise=noise,
        bias=bias,
        mean_gap=mean_gap,
        # A gap is the difference of two truths and its noise that of two noises: the same root of
        # two in both. The bias is one difference, shared by two slots.
        noise_sd=noise / gap_rms,
        slot_bias=bias / gap_rms / math.sqrt(2),
        accuracy=float(counts_22[1].sum() + counts_22[:, 1].sum()) / (2 * pairs),
        flip_rate=float(counts_22[0, 1] + counts_22[1, 0]) / pairs,
        slot_1_rate=sum((w12 == "1") + (w21 == "2") for _, w12, w21 in answered) / (2 * pairs),
        tie_rate=tie_rate,
        malformed_rate=verdicts.count("None") / len(verdicts),
    )


def tie_rates(rows: Iterable[Row]) -> dict[str, float]:
    """Return per judge how often two pointwise ratings were equal: slot 2 in both orders."""
    seen: Counter[str] = Counter()
    tied: Counter[str] = Counter()
    for row in rows:
        if row["method"].startswith("Rating"):
            seen[row["judge"]] += 1
            tied[row["judge"]] += (row["winner_order12"], row["winner_order21"]) == ("2", "1")
    return {judge: tied[judge] / seen[judge] for judge in seen}


def selected(fits: Iterable[Fit]) -> dict[str, Fit]:
    """Return per judge the prompt with the best accuracy and the one with the (lower) median."""
    by_judge: dict[str, list[Fit]] = {}
    for each in fits:
        if not each.method.startswith("Swap"):
            by_judge.setdefault(each.judge, []).append(each)
    chosen: dict[str, Fit] = {}
    for judge, its_fits in by_judge.items():
        its_fits.sort(key=lambda each: (each.accuracy, each.method))
        chosen[f"{judge}/best"] = its_fits[-1]
        chosen[f"{judge}/median"] = its_fits[(len(its_fits) - 1) // 2]
    return chosen


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def show(fits: Iterable[Fit], chosen: Mapping[str, Fit]) -> None:
    names = {(fit.judge, fit.method): name.partition("/")[2] for name, fit in chosen.items()}
    columns = "judge prompt chosen pairs noise_sd slot_bias accuracy flips slot_1 ties malformed"
    table = Table()
    for name in columns.split():
        table.add_column(name, justify="left" if name in ("judge", "prompt") else "right")
    for each in sorted(fits, key=lambda fit: (fit.judge, -fit.accuracy)):
        rates = (each.accuracy, each.flip_rate, each.slot_1_rate, each.tie_rate)
        table.add_row(
            each.judge, each.method, names.get((each.judge, each.method), ""), str(each.pairs),
            f"{each.noise_sd:.2f}", f"{each.slot_bias:+.2f}",
            *("" if rate is None else f"{rate:.3f}" for rate in rates),
            f"{each.malformed_rate:.4f}",
        )  # fmt: skip
    Console(width=130).print(table)


def main(
    path: Annotated[Path, typer.Argument(help="The recorded verdicts, tab-separated.")],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Takes the best and median prompts' fits.")
    ] = None,
) -> None:
    """Fit every judge and prompt, print them all, keep two a judge."""
    rows = read_rows(path)
    fits = list(fit_rows(rows, tie_rates(rows)))
    chosen = selected(fits)
    show(fits, chosen)
    if json_file:
        kept: dict[str, Any] = {name: _rounded(asdict(each)) for name, each in chosen.items()}
        json_file.write_text(json.dumps(kept, indent=1) + "\n")


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}


if __name__ == "__main__":
    typer.run(main)
