"""Sum up the asks of a run, step by step, in the database."""

from collections import defaultdict
from collections.abc import Sequence
from math import sqrt
from typing import Any

import orjson
import sqlalchemy as sa

from podium_service.schemas.history import RunDetail, RunStep, RunSummary
from podium_service.store.asks.ids import asked_at
from podium_service.store.asks.records import step_of
from podium_service.store.database.tables import ASKS

_A = ASKS.c
# Whether a run learns by a group: those with a kind measure, and people ask for some again.
_IS_LEARNT = _A.kind.is_(None) & _A.again_of.is_(None)
_FAILED = sa.func.count(_A.code)
_COUNTS = (
    sa.func.count().label("groups"),
    _FAILED.label("failed"),
    sa.func.sum(_A.cost_usd).label("cost_usd"),
    sa.func.sum(_A.tokens).label("tokens"),
    sa.func.min(_A.id).label("first"),
    sa.func.max(_A.id).label("last"),
)


def _share(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[float]:
    """Return the share of the ranked rows of a run that meet a condition."""
    left_out = _A.code.is_not(None) | ~_IS_LEARNT
    return sa.func.avg(sa.case((left_out, None), (condition, 1.0), else_=0.0))


def _mean(column: sa.Column[Any]) -> sa.ColumnElement[float]:
    """Return the mean of a column over the groups that the run learns by."""
    return sa.func.avg(sa.case((_IS_LEARNT, column)))


def list_query(last: int | None, limit: int) -> sa.Select[Any]:
    """Select a summary of each run, the last active one first, from a cursor on."""
    newest = sa.func.max(_A.id)
    query = (
        sa.select(_A.run, sa.func.max(_A.step).label("last_step"), *_COUNTS)
        .where(_A.run.is_not(None))
        .group_by(_A.run)
        .order_by(newest.desc())
        .limit(limit)
    )
    return query if last is None else query.having(newest < last)


def steps_query(run: str) -> sa.Select[Any]:
    """Select the statistics of each step of a run."""
    is_counted = _A.truncated.is_not(None) & _IS_LEARNT
    num_sent = sa.func.sum(sa.case((is_counted, _A.num_trajectories)))
    num_cut = sa.func.sum(sa.case((is_counted, _A.truncated)))
    return (
        sa.select(
            _A.step,
            *_COUNTS,
            sa.func.sum(sa.case((_A.cached, 1), else_=0)).label("cached"),
            _mean(_A.reliability).label("reliability"),
            _share(_A.spread > 0).label("with_signal"),
            _mean(_A.ties).label("ties"),
            _share(_A.flags.is_not(None)).label("flagged"),
            (1.0 * num_cut / sa.func.nullif(num_sent, 0)).label("truncated"),
            _mean(_A.mean_score).label("mean_score"),
            _mean(_A.mean_length).label("mean_length"),
            _mean(_A.verified).label("verified"),
            sa.func.count(_A.win_rate).label("compared"),
            sa.func.avg(_A.win_rate).label("win_rate"),
            sa.func.avg(_A.win_rate * _A.win_rate).label("win_rate_square"),
            sa.func.avg(_A.latency_s).label("latency_s"),
        )
        .where(_A.run == run)
        .group_by(_A.step)
        .order_by(_A.step)
    )


def newest_query(run: str) -> sa.Select[Any]:
    """Select the metadata of the newest group of a run's last step."""
    query = sa.select(_A.metadata).where(_A.run == run, _IS_LEARNT)
    return query.order_by(_A.step.desc(), _A.id.desc()).limit(1)


def prompts_query(run: str, limit: int) -> sa.Select[Any]:
    """Select the prompts that a run was given most often."""
    number = sa.func.count().label("groups")
    return (
        sa.select(
            _A.prompt_id,
            number,
            sa.func.max(_A.prompt).label("prompt"),
            sa.func.min(_A.step).label("first_step"),
            sa.func.max(_A.step).label("last_step"),
        )
        .where(_A.run == run, _A.prompt_id.is_not(None), _IS_LEARNT)
        .group_by(_A.prompt_id)
        .order_by(number.desc(), _A.prompt_id)
        .limit(limit)
    )


def codes_query(run: str) -> sa.Select[Any]:
    """Select how often each problem came up in each step of a run."""
    query = sa.select(_A.step, _A.code, sa.func.count().label("number"))
    return query.where(_A.run == run, _A.code.is_not(None)).group_by(_A.step, _A.code)


def summary_of(row: sa.Row[Any]) -> RunSummary:
    """Return a row of `list_query` as clients see it."""
    return RunSummary(
        run=row.run,
        first_at=asked_at(row.first),
        last_at=asked_at(row.last),
        last_step=row.last_step,
        groups=row.groups,
        failed=row.failed,
        cost_usd=row.cost_usd,
        tokens=int(row.tokens),
    )


def detail_of(
    run: str,
    steps: Sequence[sa.Row[Any]],
    codes: Sequence[sa.Row[Any]],
    newest: Sequence[sa.Row[Any]],
) -> RunDetail:
    """Return a run, given the rows of its steps, of their problems, and of its newest group."""
    failures: defaultdict[int | None, dict[str, int]] = defaultdict(dict)
    for row in codes:
        failures[row.step][row.code] = row.number
    costs = [row.cost_usd for row in steps if row.cost_usd is not None]
    summary = RunSummary(
        run=run,
        first_at=min(asked_at(row.first) for row in steps),
        last_at=max(asked_at(row.last) for row in steps),
        last_step=max((row.step for row in steps if row.step is not None), default=None),
        groups=sum(row.groups for row in steps),
        failed=sum(row.failed for row in steps),
        cost_usd=sum(costs) if costs else None,
        tokens=int(sum(row.tokens for row in steps)),
        planned_steps=next((_planned(row.metadata) for row in newest), None),
    )
    return RunDetail(summary=summary, steps=[_step_of(row, failures[row.step]) for row in steps])


def _planned(metadata: bytes | None) -> int | None:
    """Return the number of steps that a group's metadata say are planned."""
    return step_of(orjson.loads(metadata).get("steps")) if metadata else None


def _step_of(row: sa.Row[Any], failures: dict[str, int]) -> RunStep:
    fields = dict(row._mapping)
    last = fields.pop("last")
    fields.pop("first")
    fields |= {
        "at": asked_at(last),
        "ranked": row.groups - row.failed,
        "failures": failures,
        "win_rate_stderr": _stderr(row.win_rate, fields.pop("win_rate_square"), row.compared),
    }
    return RunStep.model_validate(fields)


def _stderr(mean: float | None, square: float | None, number: int) -> float | None:
    """Return the standard error of a mean, given the mean of the squares; None for one value."""
    if mean is None or square is None or number < 2:
        return None
    return sqrt(max(0.0, square - mean * mean) / (number - 1))
