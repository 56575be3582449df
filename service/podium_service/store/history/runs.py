"""Sum up the asks of a run, step by step, in the database."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from podium_service.schemas.history import RunDetail, RunStep, RunSummary
from podium_service.store.asks.ids import asked_at
from podium_service.store.database.tables import ASKS

_A = ASKS.c
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
    """Return the share of the ranked rows that meet a condition."""
    counted = sa.case((_A.code.is_not(None), None), (condition, 1.0), else_=0.0)
    return sa.func.avg(counted)


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
    num_sent = sa.func.sum(sa.case((_A.truncated.is_not(None), _A.num_trajectories)))
    return (
        sa.select(
            _A.step,
            *_COUNTS,
            sa.func.sum(sa.case((_A.cached, 1), else_=0)).label("cached"),
            sa.func.avg(_A.reliability).label("reliability"),
            _share(_A.spread > 0).label("with_signal"),
            sa.func.avg(_A.ties).label("ties"),
            _share(_A.flags.is_not(None)).label("flagged"),
            (1.0 * sa.func.sum(_A.truncated) / sa.func.nullif(num_sent, 0)).label("truncated"),
            sa.func.avg(_A.mean_score).label("mean_score"),
            sa.func.avg(_A.mean_length).label("mean_length"),
            sa.func.avg(_A.latency_s).label("latency_s"),
        )
        .where(_A.run == run)
        .group_by(_A.step)
        .order_by(_A.step)
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


def detail_of(run: str, steps: Sequence[sa.Row[Any]], codes: Sequence[sa.Row[Any]]) -> RunDetail:
    """Return a run, given the rows of its steps and of their problems."""
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
    )
    return RunDetail(summary=summary, steps=[_step_of(row, failures[row.step]) for row in steps])


def _step_of(row: sa.Row[Any], failures: dict[str, int]) -> RunStep:
    fields = dict(row._mapping)
    last = fields.pop("last")
    fields.pop("first")
    return RunStep.model_validate(
        fields | {"at": asked_at(last), "ranked": row.groups - row.failed, "failures": failures}
    )
