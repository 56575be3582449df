"""Turn a step into rows of numbers: its metrics and its timings."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields

from podium_trainer.records.metrics import Row
from podium_trainer.update.groups import RankedGroup
from podium_trainer.update.update import UpdateStats

UPDATE_FIELDS = [field.name for field in fields(UpdateStats)]


@dataclass
class Clock:
    """Seconds per phase of one step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, phase: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - started
            self.seconds[phase] = self.seconds.get(phase, 0.0) + spent


@dataclass
class Gathered:
    """The groups of one step.

    Attributes:
        kept: the groups with signal, which are trained on.
        seen: all groups that were rolled out.
    """

    kept: list[RankedGroup] = field(default_factory=list)
    seen: list[RankedGroup] = field(default_factory=list)


def metrics_row(
    gathered: Gathered, stats: UpdateStats | None, held_out: float | None, version: int
) -> Row:
    """Return the numbers of a step that do not depend on the machine's speed."""
    ranked = [group for group in gathered.seen if group.is_ranked]
    attempts = [attempt for group in gathered.seen for attempt in group.attempts]
    lengths = [sum(s.num_loss_tokens for s in attempt.samples) for attempt in attempts]
    return {
        "policy_version": version,
        "reward_mean": mean([r for group in ranked for r in group.rewards]),
        "reward_std": mean([statistics.pstdev(group.rewards) for group in ranked]),
        "held_out": held_out,
        "groups": len(gathered.seen),
        "groups_failed": len(gathered.seen) - len(ranked),
        "groups_tied": len(ranked) - len(gathered.kept),
        "groups_trained": len(gathered.kept),
        "signal_share": len(gathered.kept) / len(gathered.seen) if gathered.seen else None,
        "reliability": mean([r for r in map(reliability, ranked) if r is not None]),
        "completion_tokens": mean(lengths),
        "truncated_share": mean([float(a.finish_reason == "length") for a in attempts]),
        "turns": mean([float(a.num_turns) for a in attempts]),
        "restarted_samples": sum(len(a.samples) - 1 for a in attempts),
        **(dict.fromkeys(UPDATE_FIELDS) if stats is None else asdict(stats)),
    }


def timings_row(gathered: Gathered, clock: Clock) -> Row:
    """Return the seconds of a step, its tokens per second and the judge's usage."""
    attempts = [attempt for group in gathered.seen for attempt in group.attempts]
    tokens = sum(s.num_loss_tokens for attempt in attempts for s in attempt.samples)
    rollout_s = clock.seconds.get("rollout", 0.0)
    usages = [g.answer.ranking.usage for g in gathered.seen if g.answer.ranking]
    reported = [usage for usage in usages if usage is not None]
    return {
        **{f"{phase}_s": round(seconds, 4) for phase, seconds in clock.seconds.items()},
        "tokens_per_s": round(tokens / rollout_s, 1) if rollout_s else None,
        "judge_calls": sum(usage.calls for usage in reported),
        "judge_tokens": sum(usage.prompt_tokens + usage.completion_tokens for usage in reported),
        "judge_cost_usd": sum(usage.cost_usd or 0.0 for usage in reported),
    }


def reliability(group: RankedGroup) -> float | None:
    return group.answer.ranking.reliability if group.answer.ranking else None


def mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None
