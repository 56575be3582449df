"""What a real judge says when it is asked as RULER asks, and how much more a token of ours buys."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.alignment.endpoints import RULER_TOKENS
from benchmarks.alignment.ruler import Ruler
from benchmarks.content import Labelled
from benchmarks.ranking.report import Report
from benchmarks.real_judge.asking import Answered, Clock, Readings
from benchmarks.real_judge.passes import signal_ratio
from benchmarks.real_judge.ways import CHEAP

RULER = "RULER"
LEAST_BY_RULER = 2.0


async def ask_ruler(
    url: str, model: str, groups: Sequence[Labelled], folder: Path, clock: Clock
) -> Readings:
    """Ask once about each group; what was paid is kept in the folder."""
    extra = {"max_tokens": RULER_TOKENS, "temperature": 0.0}
    ruler = Ruler(url, model, extra, folder / "ruler.jsonl")
    num_kept, started = len(ruler.kept()), time.perf_counter()
    ruled = await ruler.rule([group.group for group in groups], repeat=0)
    if len(ruler.kept()) > num_kept:
        clock.add(RULER, started)
    return {
        1: [
            Answered(
                values=each.scores,
                prompt_tokens=each.tokens - each.completion_tokens,
                completion_tokens=each.completion_tokens,
                replies=1,
                useless=not each.scores,
            )
            for each in ruled
        ]
    }


def compare_with_ruler(
    report: Report, name: str, readings: Mapping[str, Readings], groups: Sequence[Labelled]
) -> None:
    """Say how many times RULER's squared tau a token of each cheap way buys, in all its passes."""
    if RULER not in readings:
        return
    for way in CHEAP:
        if way in readings:
            ours = readings[way][max(readings[way])]
            found = signal_ratio(ours, readings[RULER][1], groups)
            what = f"{name}: squared tau per token of {way}, by RULER's"
            report.target(what, found, least=LEAST_BY_RULER)
