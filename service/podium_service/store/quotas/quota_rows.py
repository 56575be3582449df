"""Apply many quota operations to their rows in one transaction, under locks; synchronous.

To add a quota:

1. write its row and its arithmetic in `rules`;
2. add its table to `tables`, and both to `_ROW` below;
3. write the method of `QuotaService` that queues its operation.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from podium_service.store.database.database import Database
from podium_service.store.database.engine import one_line
from podium_service.store.database.tables import BUCKETS, SPENDING, WINDOWS
from podium_service.store.quotas import rules
from podium_service.store.quotas.rules import Bucket, Spending, Window

_ROW: dict[sa.Table, type[Any]] = {WINDOWS: Window, BUCKETS: Bucket, SPENDING: Spending}
# A younger row may still be a running window, a bucket that fills, or calls to be settled.
_MIN_AGE_S = 86_400.0

Rows = dict[str, Any]  # Window, Bucket or Spending by name


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """A change of some rows of one table.

    Attributes:
        change: replaces rows, given the moment by the database's clock, and returns the result for
            its caller; it runs again if a transaction failed.
    """

    table: sa.Table
    names: Sequence[str]
    change: Callable[[Rows, float], Any]


class QuotaRows:
    """The quota rows of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = {
            table: sa.select(table, database.now.label("now"))
            .where(table.c.name.in_(sa.bindparam("names", expanding=True)))
            .order_by(table.c.name)
            .with_for_update()
            for table in _ROW
        }
        self._update = {
            table: sa.update(table)
            .where(table.c.name == sa.bindparam("old"))
            .values({each.name: sa.bindparam(each.name) for each in table.c if each.name != "name"})
            for table in _ROW
        }

    def apply(self, operations: Sequence[Operation]) -> list[Any]:
        """Apply all operations, in their order, in one transaction; return their results.

        Raises:
            OverflowError: If an amount is too large for its row; nothing is changed.
        """
        names: dict[sa.Table, set[str]] = {}
        for operation in operations:
            names.setdefault(operation.table, set()).update(operation.names)
        # All processes lock in one order, so that no two of them wait for each other.
        ordered = {table: sorted(names[table]) for table in _ROW if names.get(table)}
        while (results := self._try_apply(operations, ordered)) is None:
            new = {
                table: [asdict(_ROW[table](name)) for name in names]
                for table, names in ordered.items()
            }
            # Rows are inserted in a transaction of their own, which holds no locks on other rows.
            with self._database.writing() as connection:
                self._database.insert(connection, new)
        return results

    def _try_apply(
        self, operations: Sequence[Operation], ordered: dict[sa.Table, list[str]]
    ) -> list[Any] | None:
        """Apply all operations; or change nothing and return None if a row is missing."""
        with self._database.writing() as connection:
            rows: dict[sa.Table, Rows] = {table: {} for table in _ROW}
            now = dict.fromkeys(_ROW, 0.0)
            for table, names in ordered.items():
                locked_rows = connection.execute(self._lock[table], {"names": names}).all()
                if len(locked_rows) < len(names):
                    return None
                rows[table] = {row.name: _ROW[table](*row[:-1]) for row in locked_rows}
                now[table] = max(row.now for row in locked_rows)
            before = {table: dict(rows[table]) for table in ordered}
            results = [each.change(rows[each.table], now[each.table]) for each in operations]
            for table, old in before.items():
                changed = [row for name, row in rows[table].items() if row is not old[name]]
                if changed:
                    values = [{"old": row.name, **asdict(row)} for row in changed]
                    try:
                        connection.execute(self._update[table], values)
                    except sa.exc.DataError as error:  # as SQLite's driver says it
                        raise OverflowError(one_line(error)) from error
        return results

    def read_spending(self, names: Sequence[str]) -> dict[str, Spending]:
        """Return the spending rows by name; an empty one where there is no row."""
        rows = self._database.select(sa.select(SPENDING).where(SPENDING.c.name.in_(names)))
        spending = {row.name: Spending(*row) for row in rows}
        return {name: spending.get(name, Spending(name)) for name in names}

    def prune(self, older_than_s: float) -> dict[str, int]:
        """Delete rows that ended at least so long ago, and at least a day; return counts by table.

        These are windows, buckets that owe nothing where one a minute or more flows in, and
        spending periods.
        """
        age_s = max(_MIN_AGE_S, older_than_s)
        now = self._database.now
        unused_s = now - BUCKETS.c.at
        ended = {
            WINDOWS: WINDOWS.c.opened_at < now - age_s,
            BUCKETS: (unused_s > age_s) & (BUCKETS.c.level + unused_s / 60 > 0),
        }
        with self._database.writing() as connection:
            deleted = {
                str(table.name): connection.execute(_delete_unlocked(table, rule)).rowcount
                for table, rule in ended.items()
            }
            ended_before = connection.execute(sa.select(now)).scalar_one() - age_s
            names = sorted(connection.execute(sa.select(SPENDING.c.name)).scalars())
            periods = [{"old": name} for name in names if rules.period_end(name) < ended_before]
            if periods:
                of_name = sa.delete(SPENDING).where(SPENDING.c.name == sa.bindparam("old"))
                connection.execute(of_name, periods)
        return {**deleted, str(SPENDING.name): len(periods)}


def _delete_unlocked(table: sa.Table, rule: sa.ColumnElement[bool]) -> sa.Delete:
    """Delete the rows that fit, but those that another transaction has locked.

    Waiting for one row while holding others could make two transactions wait for each other.
    """
    unlocked = sa.select(table.c.name).where(rule).with_for_update(skip_locked=True)
    return sa.delete(table).where(table.c.name.in_(unlocked))
