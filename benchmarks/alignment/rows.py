"""What arms answered -> the rows of a table: squared cosines, their price, ratios to RULER's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.alignment.arms import RULER_ADVANTAGES, Arm
from benchmarks.alignment.cosine import Alignment, Array, at_tokens, ratio_of
from benchmarks.alignment.measuring import PARTS, Entry
from benchmarks.ranking.report import Row
from podium_service.scoring.bootstrap import Measure

RULINGS_SHOWN = (2, 4, 8)


@dataclass(frozen=True)
class Baseline:
    """RULER in one part: the better of its two advantages, by the number of calls.

    Attributes:
        spent_M: tokens per group of 1, 2, ... M calls.
        values_M: squared cosines, (M,).
        squared_MR: the same for each resample, (M, R).
    """

    scheme: str
    spent_M: list[float]
    values_M: Array
    squared_MR: Array

    def at(self, tokens: float) -> tuple[float, Array]:
        """Return the squared cosine for so many tokens, and that of each resample."""
        value = at_tokens(tokens, self.spent_M, self.values_M)
        return float(value), at_tokens(tokens, self.spent_M, self.squared_MR)

    def per_token(self, tokens: float) -> tuple[float, Array]:
        """Return one call's squared cosine as if it grew with the tokens."""
        share = tokens / self.spent_M[0]
        return float(share * self.values_M[0]), share * self.squared_MR[0]


def baseline(entries: Sequence[Entry]) -> Baseline:
    """Return RULER with the advantages that suit it better at one call."""
    aligned = {
        scheme: [entry.align(scheme) for entry in entries] for scheme in RULER_ADVANTAGES
    }  # fmt: skip
    scheme = max(aligned, key=lambda each: aligned[each][0].squared.value or 0.0)
    return Baseline(
        scheme,
        [entry.tokens for entry in entries],
        np.array([each.squared.value for each in aligned[scheme]]),
        np.array([each.squared_R for each in aligned[scheme]]),
    )


def row(name: str, part: str, entry: Entry, scheme: str, against: Baseline) -> dict[str, Any]:
    """Return the row of one arm with one scheme of advantages in one part."""
    found = entry.align(scheme)
    thousands, value = entry.tokens / 1000, found.squared.value or 0.0
    return {
        "arm": name,
        "judge": part,
        "advantages": scheme,
        "cosine": found.cosine,
        "squared": found.squared,
        "tokens": entry.tokens,
        "calls": entry.calls,
        "squared per 1k tokens": value / thousands if thousands else None,
        "squared per call": value / entry.calls if entry.calls else None,
        "per token / RULER": _against(found, *against.per_token(entry.tokens)),
        "equal tokens / RULER": _against(found, *against.at(entry.tokens)),
    }


def _against(found: Alignment, value: float, squared_R: Array) -> Measure:
    ours = found.squared.value or 0.0
    ratio = ours / value if value > 0 else float("nan")
    return ratio_of(found.squared_R, squared_R, ratio, found.squared.groups)


def rows_of(
    arms: Mapping[str, Arm],
    entries: Mapping[str, Mapping[str, Entry]],
    ruled: Sequence[Mapping[str, Entry]],
    ruled_once: Mapping[str, Entry],
) -> list[Row]:
    """Return all rows of one set: RULER by advantages and calls, then the arms."""
    rows: list[Row] = []
    for part in PARTS[::-1]:
        by_calls = [each[part] for each in ruled]
        against = baseline(by_calls)
        named = [("RULER", by_calls[0], scheme) for scheme in RULER_ADVANTAGES]
        named += [
            (f"RULER, mean of {num}", by_calls[num - 1], against.scheme)
            for num in RULINGS_SHOWN
            if num <= len(by_calls)
        ]
        named.append(("RULER, equal answers once", ruled_once[part], against.scheme))
        named += [
            (name, entries[name][part], scheme)
            for name, arm in arms.items()
            for scheme in arm.advantages
        ]
        rows += [row(name, part, entry, scheme, against) for name, entry, scheme in named]
    return rows
