"""The grid: groups in flight x the judge's delay, by one process, by more, and by the peers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.measuring import plain, podium, ruler
from benchmarks.load.row import Cell, Row
from benchmarks.processes import Running, judge_server


@dataclass(frozen=True)
class Grid:
    """Cells to run, ordered by the judge's delay, each delay with a judge of its own."""

    in_flight: Sequence[int]
    delays_s: Sequence[float]
    group_kb: int
    workers: Sequence[int]
    peers: Sequence[tuple[int, float]]
    ruler_python: Path | None
    window_s: float
    rounds: int

    def cell(self, in_flight: int, delay_s: float) -> Cell:
        """Return a cell; three rounds of a slow judge are long enough."""
        rounds = self.rounds if delay_s < 4 else min(3, self.rounds)
        return Cell(in_flight, delay_s, self.group_kb, self.window_s, rounds)

    def run(self) -> Iterator[Row | str]:
        """Yield rows as they are measured, and lines that say what was left out."""
        if self.peers and self.ruler_python is None:
            yield "left out: RULER (name an environment that has it by --ruler-python)"
        for delay_s in self.delays_s:
            with judge_server(delay_s) as judge:
                for in_flight in self.in_flight:
                    yield from self._row(self.cell(in_flight, delay_s), judge)

    def _row(self, cell: Cell, judge: Running) -> Iterator[Row]:
        for workers in self.workers:
            yield podium(cell, judge, workers=workers)
        if (cell.in_flight, cell.delay_s) in self.peers:
            yield plain(cell, judge)
            if self.ruler_python:
                yield ruler(self.ruler_python, cell, judge)
