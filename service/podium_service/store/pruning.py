"""What is old of the store -> deleted, a little at a time."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from podium_service.store.database.tables import CALLS, PAST_GROUPS, RANKINGS, TEXTS, TEXTS_LOCK


def prune_some(connection: sa.Connection, before: float, most: int) -> dict[str, int]:
    """Delete at most so many calls made before a moment (seconds since the epoch), what rests on
    them, and their texts, unless a later call of the same content is left; else as many rankings as
    old. Counts by table; all 0 when there is no more."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(TEXTS_LOCK)))
    calls = sa.select(CALLS.c.id, CALLS.c.key).where(CALLS.c.created_at < before).limit(most)
    old = connection.execute(calls).all()
    ids, keys = [row.id for row in old], {row.key for row in old}
    shown = sa.select(CALLS.c.id).where(CALLS.c.key == TEXTS.c.key).exists()
    doomed = {
        # Those without their calls, too: the content is judged anew under the same id.
        RANKINGS: _old(RANKINGS, RANKINGS.c.id, before, old, most),
        PAST_GROUPS: _old(PAST_GROUPS, PAST_GROUPS.c.key, before, old, most),
        CALLS: CALLS.c.id.in_(ids),
        TEXTS: sa.and_(TEXTS.c.key.in_(keys), ~shown),
    }
    return {
        str(table.name): connection.execute(sa.delete(table).where(rule)).rowcount
        for table, rule in doomed.items()
    }


def _old(
    table: sa.Table, identity: sa.Column[str], before: float, calls: Sequence[Any], most: int
) -> sa.ColumnElement[bool]:
    """What rests on these calls; without calls, some of what is old."""
    if calls:
        return table.c.key.in_({row.key for row in calls})
    return identity.in_(sa.select(identity).where(table.c.created_at < before).limit(most))
