"""Keep what every paid call cost, summed by UTC day, API key, judge and run.

The sums are written with the calls, in the same transaction. They stay when the calls are pruned,
and count calls of groups that failed or whose caller left.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import orjson
import sqlalchemy as sa

from podium_service.store.database.database import Database, Row
from podium_service.store.database.tables import CALLS, LEDGER

_KEY = tuple(column.name for column in LEDGER.primary_key)
_FIND_CALLS = sa.select(CALLS.c.id).where(CALLS.c.id.in_(sa.bindparam("ids", expanding=True)))


class Ledger:
    """The sums in one database.

    Its statements are built once, because that takes longer than running them.
    """

    def __init__(self, database: Database) -> None:
        insert = database.insert_into(LEDGER)
        new = insert.excluded
        updated = {
            "calls": LEDGER.c.calls + new.calls,
            "tokens": LEDGER.c.tokens + new.tokens,
            "cost_usd": sa.func.coalesce(
                LEDGER.c.cost_usd + new.cost_usd, LEDGER.c.cost_usd, new.cost_usd
            ),
        }
        self._add = insert.on_conflict_do_update(index_elements=_KEY, set_=updated)

    def select_new(self, connection: sa.Connection, calls: Sequence[Row]) -> list[Row]:
        """Return the rows of calls that are not in the database; the others are counted already.

        A transaction is tried again though its first commit may have gone through.
        """
        if not calls:
            return []
        ids = [row["id"] for row in calls]
        found = set(connection.execute(_FIND_CALLS, {"ids": ids}).scalars())
        return [row for row in calls if row["id"] not in found]

    def add_calls(self, connection: sa.Connection, calls: Iterable[Row]) -> None:
        """Add what calls cost; it must be in the transaction that inserts the calls."""
        if sums := sum_calls(calls):
            connection.execute(self._add, sums)


def sum_calls(calls: Iterable[Row]) -> list[Row]:
    """Return rows of the ledger for rows of calls, in one order everywhere.

    Two processes that lock the same rows would otherwise wait for each other.
    """
    sums: dict[tuple[str, ...], Row] = {}
    for call in calls:
        usage = orjson.loads(call["usage"])
        if not usage["calls"]:  # an answer from elsewhere, which was paid there
            continue
        key = (_day(call["created_at"]), call["api_key_id"], call["judge"], call["run"])
        row = sums.setdefault(
            key, {**dict(zip(_KEY, key, strict=True)), "calls": 0, "tokens": 0, "cost_usd": None}
        )
        row["calls"] += usage["calls"]
        row["tokens"] += usage["prompt_tokens"] + usage["completion_tokens"]
        if usage["cost_usd"] is not None:
            row["cost_usd"] = (row["cost_usd"] or 0.0) + usage["cost_usd"]
    return [sums[key] for key in sorted(sums)]


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
