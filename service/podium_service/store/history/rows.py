"""Turn rows of asks into what clients are told."""

from typing import Any

import orjson
import sqlalchemy as sa

from podium_service.schemas import Problem
from podium_service.schemas.history import RankingSummary, SentGroup
from podium_service.store.asks.ids import ask_name, asked_at
from podium_service.store.asks.sent import read_transcript
from podium_service.store.database.tables import ASKS

_SAME = (
    "run", "step", "group_id", "prompt_id", "judge", "code", "cached", "reliability", "latency_s",
    "cost_usd", "tokens", "num_trajectories", "model", "method", "passes", "api_key_id", "prompt",
    "truncated", "kind", "mean_score", "win_rate", "verified", "flip_order",
)  # fmt: skip
_LISTED = (
    "id", "ranking_id", "ids", "rewards", "flags", "lengths", "problem", "again_of", *_SAME
)  # fmt: skip
LISTED = [ASKS.c[name] for name in _LISTED]  # the columns of a summary


def distinct_query(column: sa.Column[Any], limit: int) -> sa.Select[Any]:
    """Select the values of a column with an index, in order, each by one step through that index.

    `SELECT DISTINCT` would go through all rows.
    """
    first = sa.select(sa.func.min(column).label("value")).cte("found", recursive=True)
    following = sa.select(sa.func.min(column)).where(column > first.c.value).scalar_subquery()
    found = first.union_all(sa.select(following).where(first.c.value.is_not(None)))
    return sa.select(found.c.value).where(found.c.value.is_not(None)).limit(limit)


def summary_of(row: sa.Row[Any]) -> RankingSummary:
    """Return one ask as lists show it."""
    problem = orjson.loads(row.problem) if row.problem else {}
    return RankingSummary.model_construct(
        id=row.ranking_id,
        ask=ask_name(row.id),
        at=asked_at(row.id),
        outcome="failed" if row.code else "ranked",
        detail=problem.get("detail"),
        ids=orjson.loads(row.ids),
        rewards=orjson.loads(row.rewards) if row.rewards else None,
        flags=orjson.loads(row.flags) if row.flags else None,
        lengths=orjson.loads(row.lengths) if row.lengths else None,
        again_of=ask_name(row.again_of) if row.again_of else None,
        **{name: getattr(row, name) for name in _SAME},
    )


def problem_of(row: sa.Row[Any]) -> Problem | None:
    """Return why a group was not ranked; None if it was."""
    if not row.problem:
        return None
    problem = orjson.loads(row.problem)
    return Problem.model_validate(problem | {"request_id": row.request_id})


def sent_group(row: sa.Row[Any], content: bytes) -> SentGroup:
    """Return the group of an ask as it was sent, given the transcript that the store keeps."""
    ids, transcript = orjson.loads(row.ids), read_transcript(content)
    trajectories = [
        {"id": name, **each} for name, each in zip(ids, transcript["trajectories"], strict=True)
    ]
    fields = {**transcript, "trajectories": trajectories}
    return SentGroup.model_validate(
        {
            "group_id": row.group_id,
            "judge": row.judge,
            "flip_order": row.flip_order,
            **fields,
        }
    )
