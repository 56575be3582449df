"""Read the replies that were no verdict."""

from typing import Any

import sqlalchemy as sa

from podium_service.store.database.tables import CALLS
from podium_service.store.store import SQLStore

_LOOKED_AT = 5000  # calls; no index knows the faults, which are rare


async def list_faults(store: SQLStore, limit: int = 50) -> list[dict[str, Any]]:
    """Return the replies without a verdict among the last calls, newest first.

    Each has `judge`, `model`, `at` in seconds since the epoch, `fault` and `reply`.

    Raises:
        StoreUnavailable: If the database does not answer.
    """
    last = (
        sa.select(CALLS.c.id, CALLS.c.fault)
        .order_by(CALLS.c.created_at.desc())
        .limit(_LOOKED_AT)
        .subquery()
    )
    query = (
        sa.select(CALLS.c.judge, CALLS.c.model, CALLS.c.created_at, CALLS.c.fault, CALLS.c.reply)
        .where(CALLS.c.id.in_(sa.select(last.c.id).where(last.c.fault.is_not(None))))
        .order_by(CALLS.c.created_at.desc())
        .limit(limit)
    )
    return [
        {
            "judge": row.judge,
            "model": row.model,
            "at": row.created_at,
            "fault": row.fault.decode(),
            "reply": row.reply.decode(),
        }
        for row in await store.select(query)
    ]
