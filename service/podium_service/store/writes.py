"""What the store writes: rows that are committed together, and the rows of many such writes."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from time import monotonic
from typing import Any

import sqlalchemy as sa

from podium_service.store.database.database import Row
from podium_service.store.database.tables import CALLS, PAST_GROUPS, RANKINGS, TEXTS

Rows = dict[sa.Table, list[Row]]

# The tables in the order in which they are written, with the primary key of a row.
_PRIMARY_KEY: dict[sa.Table, Callable[[Row], Any]] = {
    table: itemgetter(*(column.name for column in table.primary_key))
    for table in (TEXTS, CALLS, PAST_GROUPS, RANKINGS)
}


@dataclass(slots=True, eq=False)
class Write:
    """Rows that must be committed together.

    Attributes:
        rows: rows by table.
        key: the content key.
        pass_index: the pass of a judge call; None for any other write.
        rests_on: the content keys whose calls must be durable before.
        releases: whether the claim on the key ends with this write.
        put_at: when it was queued, by the monotonic clock.
        done: tells when it is durable, or why it will not be.
    """

    rows: Rows
    key: str
    pass_index: int | None
    rests_on: tuple[str, ...] = ()
    releases: bool = False
    put_at: float = field(default_factory=monotonic)
    done: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


def merge_rows(writes: Sequence[Write]) -> Rows:
    """Return the rows of all writes by table, each row once, without empty tables.

    Tables and rows have one order everywhere, because two processes that write the same rows would
    otherwise wait for each other. It also keeps the rows of a key together on the disk.
    """
    merged: dict[sa.Table, dict[Any, Row]] = {}
    for write in writes:
        for table, rows in write.rows.items():
            by_key = merged.setdefault(table, {})
            for row in rows:
                by_key.setdefault(_PRIMARY_KEY[table](row), row)
    return {
        table: [merged[table][key] for key in sorted(merged[table])]
        for table in _PRIMARY_KEY
        if merged.get(table)
    }
