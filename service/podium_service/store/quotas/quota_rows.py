"""Rows of accounts, changed by many operations in one transaction, under locks.

To add a quota: its row and arithmetic in `rules`, its table in `tables` and in
`_ROW` below, and an operation.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

import sqlalchemy as sa

from podium_service.store.database.database import Database
from podium_service.store.database.engine import one_line
from podium_service.store.database.tables import BUCKETS, SPENDING, WINDOWS
from podium_service.store.quotas import rules
from podium_service.store.quotas.rules import Bucket, Spending, Window
from podium_service.store.quotas.spend import SpendAccount

_ROW: dict[sa.Table, type[Any]] = {WINDOWS: Window, BUCKETS: Bucket, SPENDING: Spending}
# What is younger may still be a running window, a bucket that fills, or calls to be settled.
_KEPT_S = 86_400.0


@dataclass(slots=True)
class Page:
    """The rows of one table while operations change them: Window, Bucket or Spending by name."""

    now: float
    rows: dict[str, Any]


class Operation(Protocol):
    """A change of some rows; what it finds, it keeps for whoever asked for it."""

    table: ClassVar[sa.Table]

    @property
    def names(self) -> Iterable[str]: ...

    def apply(self, page: Page) -> None: ...


@dataclass(slots=True, eq=False)
class Count:
    """One request more; `wait_s` is 0.0 if it passes."""

    table: ClassVar = WINDOWS
    name: str
    limit: int
    window_s: float
    wait_s: float = 0.0

    @property
    def names(self) -> Iterable[str]:
        return (self.name,)

    def apply(self, page: Page) -> None:
        window = page.rows[self.name]
        counted = rules.counted(window, self.limit, self.window_s, page.now)
        page.rows[self.name], self.wait_s = counted


@dataclass(slots=True, eq=False)
class Take:
    """So much less in a bucket; `wait_s` is 0.0 if it is taken."""

    table: ClassVar = BUCKETS
    name: str
    per_minute: float
    amount: float
    wait_s: float = 0.0

    @property
    def names(self) -> Iterable[str]:
        return (self.name,)

    def apply(self, page: Page) -> None:
        taken = rules.taken(page.rows[self.name], self.per_minute, self.amount, page.now)
        page.rows[self.name], self.wait_s = taken


@dataclass(slots=True, eq=False)
class GiveBack:
    """So much more in a bucket."""

    table: ClassVar = BUCKETS
    name: str
    per_minute: float
    amount: float

    @property
    def names(self) -> Iterable[str]:
        return (self.name,)

    def apply(self, page: Page) -> None:
        bucket = page.rows[self.name]
        page.rows[self.name] = rules.given_back(bucket, self.per_minute, self.amount, page.now)


@dataclass(slots=True, eq=False)
class Reserve:
    """A worst case reserved on all holds, by the names of their rows, or else on none: then
    `refused` is the first without room."""

    table: ClassVar = SPENDING
    holds: Sequence[tuple[str, SpendAccount]]
    micro: int
    refused: SpendAccount | None = None

    @property
    def names(self) -> Iterable[str]:
        return [name for name, _ in self.holds]

    def apply(self, page: Page) -> None:
        self.refused = None  # it may have been tried before, beside others
        rows = {name: page.rows[name] for name in self.names}
        for name, hold in self.holds:
            row = rules.reserved(rows[name], hold.limit_usd, self.micro)
            if row is None:
                self.refused = hold
                return
            rows[name] = row
        page.rows.update(rows)


@dataclass(slots=True, eq=False)
class Settle:
    """What was reserved in some rows becomes what was spent."""

    table: ClassVar = SPENDING
    names: Sequence[str]
    reserved_micro: int
    spent_micro: int

    def apply(self, page: Page) -> None:
        for name in self.names:
            page.rows[name] = rules.settled(page.rows[name], self.reserved_micro, self.spent_micro)


class QuotaRows:
    """The rows of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._locked = {
            table: sa.select(table, database.now.label("now"))
            .where(table.c.name.in_(sa.bindparam("names", expanding=True)))
            .order_by(table.c.name)
            .with_for_update()
            for table in _ROW
        }
        self._update = {
            table: sa.update(table).where(table.c.name == sa.bindparam("old"))
            .values({column: sa.bindparam(column) for column in _columns(table)})
            for table in _ROW
        }  # fmt: skip

    def apply(self, operations: Sequence[Operation]) -> None:
        """All operations, in their order, in one transaction.

        Raises:
            OverflowError: If an amount is one that no row holds; nothing is changed.
        """
        wanted: dict[sa.Table, set[str]] = {}
        for operation in operations:
            wanted.setdefault(operation.table, set()).update(operation.names)
        # Everybody locks in one order, so that nobody waits for one who waits for him.
        ordered = {table: sorted(wanted[table]) for table in _ROW if wanted.get(table)}
        while not self._applied(operations, ordered):
            new = {
                table: [asdict(_ROW[table](name)) for name in names]
                for table, names in ordered.items()
            }
            with self._database.writing() as connection:  # apart: it must hold no other rows
                self._database.insert(connection, new)

    def _applied(self, operations: Sequence[Operation], wanted: dict[sa.Table, list[str]]) -> bool:
        """Whether all rows were there; if not, nothing is changed."""
        with self._database.writing() as connection:
            pages: dict[sa.Table, Page] = {}
            for table, names in wanted.items():
                found = connection.execute(self._locked[table], {"names": names}).all()
                if len(found) < len(names):
                    return False
                rows = {row.name: _ROW[table](*row[:-1]) for row in found}
                pages[table] = Page(max(row.now for row in found), rows)
            before = {table: dict(page.rows) for table, page in pages.items()}
            for operation in operations:
                if page := pages.get(operation.table):
                    operation.apply(page)
            for table, page in pages.items():
                old = before[table]
                changed = [row for name, row in page.rows.items() if row is not old[name]]
                if changed:
                    values = [{"old": row.name, **asdict(row)} for row in changed]
                    _execute(connection, self._update[table], values)
        return True

    def spending(self, names: Sequence[str]) -> dict[str, Spending]:
        """What was spent, by name; nothing where there is no row."""
        query = sa.select(SPENDING).where(SPENDING.c.name.in_(names))
        with self._database.reading() as connection:
            found = {row.name: Spending(*row) for row in connection.execute(query)}
        return {name: found.get(name, Spending(name)) for name in names}

    def prune(self, older_than_s: float) -> dict[str, int]:
        """Delete what is over for so long, at least a day: windows, buckets that owe nothing (where
        one a minute or more flows in), and periods; counts by table."""
        age_s = max(_KEPT_S, older_than_s)
        now = self._database.now
        untouched_s = now - BUCKETS.c.at
        over = {
            WINDOWS: WINDOWS.c.opened_at < now - age_s,
            BUCKETS: (untouched_s > age_s) & (BUCKETS.c.level + untouched_s / 60 > 0),
        }
        with self._database.writing() as connection:
            deleted = {
                str(table.name): connection.execute(_delete_free(table, rule)).rowcount
                for table, rule in over.items()
            }
            ended_before = connection.execute(sa.select(now)).scalar_one() - age_s
            names = sorted(connection.execute(sa.select(SPENDING.c.name)).scalars())
            ended = [{"old": name} for name in names if rules.period_end(name) < ended_before]
            if ended:
                of_name = sa.delete(SPENDING).where(SPENDING.c.name == sa.bindparam("old"))
                connection.execute(of_name, ended)
        return {**deleted, str(SPENDING.name): len(ended)}


def _execute(connection: sa.Connection, update: sa.Update, values: list[dict[str, Any]]) -> None:
    """SQLite's driver has its own word for a number that is too large."""
    try:
        connection.execute(update, values)
    except sa.exc.DataError as error:
        raise OverflowError(one_line(error)) from error


def _delete_free(table: sa.Table, rule: sa.ColumnElement[bool]) -> sa.Delete:
    """Of the rows that fit, those that nobody changes right now: waiting for one while holding
    others could make a circle with him."""
    free = sa.select(table.c.name).where(rule).with_for_update(skip_locked=True)
    return sa.delete(table).where(table.c.name.in_(free))


def _columns(table: sa.Table) -> list[str]:
    return [column.name for column in table.columns if column.name != "name"]
