"""One cell of the grid, and the row of figures that it gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.load.usage import Usage


@dataclass(frozen=True)
class Cell:
    """Load of one measurement: groups in flight, their size, and seconds of the judge.

    `window_s` and `rounds` are the least that each worker counts.
    """

    in_flight: int
    delay_s: float
    group_kb: int = 95
    window_s: float = 8.0
    rounds: int = 4

    @property
    def ideal(self) -> float | None:
        """Groups a second by Little's law, if nothing but the judge took time."""
        return self.in_flight / self.delay_s if self.delay_s else None


@dataclass(frozen=True)
class Spent:
    """CPU seconds while a row was measured.

    Attributes:
        ranker: of each of its processes. RULER is ranker and load in one: its `load` is 0.
        others: of everything else on the machine.
    """

    ranker: list[float]
    judge: float
    load: float
    others: float


@dataclass(frozen=True)
class Row:
    """Figures that a cell gave.

    Attributes:
        what: who ranked.
        groups: counted; p50, p99 and groups_per_s are of these.
        ideal_share: groups_per_s as a share of Little's ideal.
        p50_added_ms: latency less the judge's delay.
        cpu_ms: of the ranker, all processes and threads, a group.
        ranker_cores: CPU seconds a second: near 1 a process of one event loop can do no more.
        rss_mb: of the ranker at the end, all processes.
        load_heavy: whether judge and load together took more CPU than the ranker did.
        disturbed: whether something else kept more than a fifth of a core busy.
        failures: how often what went wrong.
    """

    what: str
    cell: Cell
    groups: int
    groups_per_s: float
    ideal_share: float | None
    p50_added_ms: float
    p99_added_ms: float
    cpu_ms: float
    ranker_cores: float
    judge_cores: float
    load_cores: float
    others_cores: float
    spent: Spent
    rss_mb: float
    load_heavy: bool
    disturbed: bool
    failures: dict[str, int]
    versions: dict[str, str]


def row(what: str, cell: Cell, said: Mapping[str, Any], spent: Spent, after: Usage) -> Row:
    """Make a row of what the load said at its end, and what was spent meanwhile.

    Raises:
        RuntimeError: If not one group was ranked.
    """
    if not said["groups"]:
        raise RuntimeError(f"{what} ranked nothing: {said['faults']}")
    ranker = sum(spent.ranker)
    return Row(
        what=what,
        cell=cell,
        groups=said["groups"],
        groups_per_s=said["groups_per_s"],
        ideal_share=said["groups_per_s"] / cell.ideal if cell.ideal else None,
        p50_added_ms=said["p50_ms"] - 1000 * cell.delay_s,
        p99_added_ms=said["p99_ms"] - 1000 * cell.delay_s,
        cpu_ms=1000 * ranker / max(1, said["answered"]),
        ranker_cores=ranker / said["wall_s"],
        judge_cores=spent.judge / said["wall_s"],
        load_cores=spent.load / said["wall_s"],
        others_cores=spent.others / said["wall_s"],
        spent=spent,
        rss_mb=after.rss_mb,
        load_heavy=spent.judge + spent.load > ranker,
        disturbed=spent.others / said["wall_s"] > 0.2,
        failures=said["faults"],
        versions=said.get("versions", {}),
    )
