"""Where judges answer: simulated ones made to measure, or one real endpoint.

To add a simulated judge: enter its traits in `SIMULATED`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.alignment.arms import Arm
from benchmarks.alignment.ruler import Ruler
from benchmarks.alignment.sets import GroupSet
from benchmarks.content import truth_by_case
from benchmarks.judges.fit import fitted
from benchmarks.judges.server import serving_apart
from benchmarks.judges.simulated import SimulatedJudge, by_case
from benchmarks.ranking.arms import at

# A standard deviation of truth is .12 points and a step of the grid .05, as in `ranking.methods`.
RULER_TOKENS = 1024  # of a reply; a small judge that loses its way would write on for minutes
SPREAD, GRID, GROWTH = 0.12, 0.05, 0.03
SLOW = {"concurrency": 1, "timeout_s": 600}  # as `podium judge serve` says of itself
NOISE_AS_SPREAD = {"noise_sd": 1.0, "slot_bias": 0.5}
SIMULATED: dict[str, dict[str, Any]] = {
    "noise 1": NOISE_AS_SPREAD,
    **{
        f"like {name.partition('/')[0]}": fitted()[name].traits() | {"noise_growth": GROWTH}
        for name in ("GPT-4/best", "ChatGPT/median", "Falcon/best")
    },
}


@dataclass(frozen=True)
class SimulatedEndpoints:
    """One simulated judge, once for each arm, reading and repetition, so that orders repeat."""

    urls: Mapping[str, str]
    repetitions: int
    rulings: int = 8
    folds: int = 2

    def judge(self, name: str, arm: Arm, repetition: int) -> dict[str, Any]:
        return at(self.urls[f"{arm.reading}{repetition}"], **arm.judge)

    def ruler(self, of: str, repetition: int) -> Ruler:
        return Ruler(self.urls[f"ruler{repetition}"])


@contextmanager
def simulated(
    traits: Mapping[str, Any], sets: Sequence[GroupSet], repetitions: int
) -> Iterator[SimulatedEndpoints]:
    """Serve a simulated judge that knows the truth of these sets."""
    groups = [group for each in sets for half in each.halves for group in half]
    judge = SimulatedJudge(by_case({}), spread=SPREAD, grid=GRID, **traits)
    judges = {
        f"{kind}{seed}": replace(judge, seed=seed, logprobs=kind == "probabilities")
        for kind in ("text", "probabilities", "ruler")
        for seed in range(repetitions)
    }
    with serving_apart(judges, truth_by_case(groups)) as urls:
        yield SimulatedEndpoints(urls, repetitions)


@dataclass(frozen=True)
class RealEndpoint:
    """An OpenAI-compatible endpoint, whatever it tells.

    Attributes:
        settings: of every arm's judge.
        folder: for RULER's replies.
    """

    url: str
    model: str
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=lambda: dict(SLOW))
    repetitions: int = 1
    rulings: int = 1
    folds: int = 1

    def judge(self, name: str, arm: Arm, repetition: int) -> dict[str, Any]:
        return {"model": self.model, "base_urls": [self.url], **self.settings, **arm.judge}

    def ruler(self, of: str, repetition: int) -> Ruler:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"ruler-{of}.jsonl"
        return Ruler(self.url, self.model, {"max_tokens": RULER_TOKENS}, file)
