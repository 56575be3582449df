"""Asks and transcripts; each ranking so far becomes an ask, by what its request told.

Revision 0002. What a ranking's request told is in its ask then, and no longer beside the ranking.
"""

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

import orjson
import sqlalchemy as sa
from alembic import op

from podium_service.store.asks.ids import AskIds
from podium_service.store.asks.records import name_of, step_of, storable
from podium_service.store.asks.statistics import check_disagrees, share_of_ties

revision = "0002"
down_revision = "0001"

_AT_ONCE = 500
_RANKINGS = sa.table(
    "rankings",
    *(sa.column(name) for name in ("id", "key", "created_at", "answer", "request", "ask")),
)
_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the tables, and make an ask of each ranking."""
    op.add_column("rankings", sa.Column("ask", sa.BigInteger))
    _fill(_create_asks())
    transcripts = op.create_table(
        "transcripts",
        sa.Column("key", sa.LargeBinary(32), primary_key=True),
        sa.Column("used_at", sa.Double, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_transcripts_used_at", transcripts.name, ["used_at"])
    op.create_index("asks_by_run", "asks", ["run", "step", "id"])
    op.create_index("asks_by_judge", "asks", ["judge", "id"])
    op.create_index("asks_by_group", "asks", ["group_id", "id"])
    op.create_index("asks_by_prompt", "asks", ["prompt_id", "id"])
    failed = sa.text("code IS NOT NULL")
    op.create_index(
        "asks_by_code", "asks", ["code", "id"], sqlite_where=failed, postgresql_where=failed
    )
    op.drop_column("rankings", "request")


def _create_asks() -> sa.Table:
    return op.create_table(
        "asks",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("ranking_id", sa.String(64), nullable=False),
        *(sa.Column(name, sa.Text) for name in ("run", "group_id", "prompt_id", "model", "method")),
        sa.Column("step", sa.BigInteger),
        sa.Column("judge", sa.Text, nullable=False),
        sa.Column("code", sa.String(64)),
        sa.Column("cached", sa.Boolean, nullable=False),
        *(
            sa.Column(name, sa.Float)
            for name in (
                "reliability", "spread", "ties", "agreement", "mean_score", "mean_length",
                "latency_s", "cost_usd",
            )
        ),
        sa.Column("truncated", sa.Integer),
        sa.Column("longest_wins", sa.Boolean),
        sa.Column("check_disagrees", sa.Boolean),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.Column("num_trajectories", sa.Integer, nullable=False),
        sa.Column("passes", sa.Integer),
        sa.Column("api_key_id", sa.String(16)),
        sa.Column("request_id", sa.String(64)),
        sa.Column("prompt", sa.Text),
        sa.Column("flags", sa.Text),
        sa.Column("ids", sa.LargeBinary, nullable=False),
        *(
            sa.Column(name, sa.LargeBinary)
            for name in ("rewards", "lengths", "problem", "metadata", "calls", "answer")
        ),
        sa.Column("transcript", sa.LargeBinary(32)),
    )  # fmt: skip


def _fill(asks: sa.Table) -> None:
    """Make an ask of each ranking, and name it there."""
    connection, ids = op.get_bind(), AskIds()
    for rows in _read_rankings(connection):
        found = [_ask_of(row, ids.next(row.created_at)) for row in rows]
        connection.execute(sa.insert(asks), found)
        connection.execute(
            sa.update(_RANKINGS)
            .where(_RANKINGS.c.id == sa.bindparam("ranking"))
            .values(ask=sa.bindparam("first")),
            [{"ranking": each["ranking_id"], "first": each["id"]} for each in found],
        )


def _read_rankings(connection: sa.Connection) -> Iterator[Sequence[sa.Row[Any]]]:
    """Yield all rankings, oldest first, some at once."""
    order = sa.tuple_(_RANKINGS.c.created_at, _RANKINGS.c.id)
    last = (float("-inf"), "")
    query = sa.select(_RANKINGS).order_by(_RANKINGS.c.created_at, _RANKINGS.c.id).limit(_AT_ONCE)
    rows = connection.execute(query).all()
    while rows:
        yield rows
        last = rows[-1].created_at, rows[-1].id
        rows = connection.execute(query.where(order > sa.tuple_(*last))).all()


def _ask_of(row: sa.Row[Any], ask: int) -> dict[str, Any]:
    """Return the ask of a ranking; what its request did not tell is null."""
    answer, request = orjson.loads(row.answer), orjson.loads(row.request)
    metadata, results, usage = request.get("metadata") or {}, answer["results"], answer["usage"]
    rewards = [each["reward"] for each in results]
    scores = [each["score"] for each in results if each["score"] is not None]
    taus = [each["agreement"] for each in answer.get("jurors", []) if each["agreement"] is not None]
    flags = [each.get("flags", []) for each in results]
    verified = request.get("verified_rewards") or [None] * len(results)
    ids = request.get("ids") or [each["id"] for each in results]
    model = answer["model"]
    return {
        "id": ask,
        "ranking_id": row.id,
        "run": name_of(metadata.get("run")),
        "step": step_of(metadata.get("step")),
        "group_id": name_of(request.get("group_id")),
        "prompt_id": name_of(metadata.get("prompt_id")),
        "judge": answer["judge"],
        "cached": answer["cached"],
        "reliability": answer["reliability"],
        "spread": max(rewards) - min(rewards) if rewards else None,
        "ties": share_of_ties(rewards),
        "agreement": fmean(taus) if taus else None,
        "mean_score": fmean(scores) if scores else None,
        "check_disagrees": check_disagrees(verified, rewards),
        "cost_usd": usage["cost_usd"],
        "tokens": usage["prompt_tokens"] + usage["completion_tokens"],
        "num_trajectories": len(results),
        "model": storable(model) if model else None,
        "method": answer["method"],
        "passes": answer["passes"],
        "flags": storable(orjson.dumps(flags).decode()) if any(flags) else None,
        "ids": orjson.dumps(ids),
        "rewards": orjson.dumps(rewards),
        "metadata": orjson.dumps(metadata) if metadata else None,
        # Which trajectories its calls showed is not known any more.
        "calls": orjson.dumps(dict.fromkeys(request.get("call_keys", [row.key]))),
    }
