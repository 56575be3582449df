"""Delete what is old from the store, a few rows in each transaction.

Calls, rankings, past groups and texts depend on each other; asks and transcripts have an age of
their own, so that a request for an old ranking is listed as long as any other. What a person
ordered stays with the texts of its group, because gold does not grow old.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from podium_service.store.asks.ids import first_ask_at
from podium_service.store.database.tables import (
    ASKS,
    CALLS,
    GOLD,
    GOLD_SETS,
    NOTES,
    PAST_GROUPS,
    RANKINGS,
    TEXTS,
    TEXTS_LOCK,
    TOUCH_S,
    TRANSCRIPTS,
)


def prune_some(connection: sa.Connection, before: float, limit: int) -> dict[str, int]:
    """Delete some calls, with the rankings, past groups and texts of them; some asks, and groups.

    Once no old call is left, old rankings and past groups without calls are deleted. A text stays
    while a newer call of its content key is left.

    Args:
        connection: in a transaction.
        before: rows made before this moment are old, in seconds since the epoch.
        limit: at most so many calls, asks, notes and transcripts.

    Returns:
        The number of deleted rows by table; all 0 when nothing old is left.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(TEXTS_LOCK)))
    query = sa.select(CALLS.c.id, CALLS.c.key).where(CALLS.c.created_at < before).limit(limit)
    calls = connection.execute(query).all()
    ids, keys = [row.id for row in calls], {row.key for row in calls}
    has_call = sa.select(CALLS.c.id).where(CALLS.c.key == TEXTS.c.key).exists()
    is_gold = sa.select(GOLD.c.transcript).where(GOLD.c.transcript == TRANSCRIPTS.c.key).exists()
    rules = {
        # A ranking without its calls goes, too: the group would be judged again under its id.
        RANKINGS: _depends_on(RANKINGS, RANKINGS.c.id, before, calls, limit),
        PAST_GROUPS: _depends_on(PAST_GROUPS, PAST_GROUPS.c.key, before, calls, limit),
        CALLS: CALLS.c.id.in_(ids),
        TEXTS: sa.and_(TEXTS.c.key.in_(keys), ~has_call),
        ASKS: _some(ASKS.c.id, ASKS.c.id < first_ask_at(before), limit),
        GOLD_SETS: GOLD_SETS.c.ask.in_(
            sa.select(GOLD_SETS.c.ask).where(GOLD_SETS.c.ask < first_ask_at(before)).limit(limit)
        ),
        NOTES: _some(NOTES.c.id, NOTES.c.id < first_ask_at(before), limit),
        TRANSCRIPTS: _some(
            TRANSCRIPTS.c.key,
            sa.and_(TRANSCRIPTS.c.used_at < before - TOUCH_S, ~is_gold),
            limit,
        ),
    }
    return {
        str(table.name): connection.execute(sa.delete(table).where(rule)).rowcount
        for table, rule in rules.items()
    }


def _depends_on(
    table: sa.Table, identity: sa.Column[str], before: float, calls: Sequence[Any], limit: int
) -> sa.ColumnElement[bool]:
    """Select the rows of a table with the keys of these calls; without calls, some old rows."""
    if calls:
        return table.c.key.in_({row.key for row in calls})
    return _some(identity, table.c.created_at < before, limit)


def _some(
    identity: sa.Column[Any], is_old: sa.ColumnElement[bool], limit: int
) -> sa.ColumnElement[bool]:
    """Select some of the rows that meet a condition."""
    return identity.in_(sa.select(identity).where(is_old).limit(limit))
