"""The operations on quotas: each changes rows of one table, and holds its result afterwards."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import sqlalchemy as sa

from podium_service.store.database.tables import BUCKETS, SPENDING, WINDOWS
from podium_service.store.quotas import rules
from podium_service.store.quotas.spend import SpendAccount


@dataclass(slots=True)
class Page:
    """The rows of one table while operations change them.

    Attributes:
        now: the moment, by the database's clock.
        rows: Window, Bucket or Spending by name.
    """

    now: float
    rows: dict[str, Any]


class Operation(Protocol):
    """A change of some rows of one table, which may hold a result for its caller afterwards."""

    table: ClassVar[sa.Table]

    @property
    def names(self) -> Iterable[str]:
        """The names of the rows that it changes."""

    def apply(self, page: Page) -> None:
        """Change the rows; an operation may be applied again if its transaction failed."""


@dataclass(slots=True, eq=False)
class Count:
    """Count one request; afterwards `wait_s` is 0.0 if it passes."""

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
        counted = rules.count(window, self.limit, self.window_s, page.now)
        page.rows[self.name], self.wait_s = counted


@dataclass(slots=True, eq=False)
class Take:
    """Take an amount from a bucket; afterwards `wait_s` is 0.0 if it was there."""

    table: ClassVar = BUCKETS
    name: str
    per_minute: float
    amount: float
    wait_s: float = 0.0

    @property
    def names(self) -> Iterable[str]:
        return (self.name,)

    def apply(self, page: Page) -> None:
        taken = rules.take(page.rows[self.name], self.per_minute, self.amount, page.now)
        page.rows[self.name], self.wait_s = taken


@dataclass(slots=True, eq=False)
class GiveBack:
    """Return an amount to a bucket."""

    table: ClassVar = BUCKETS
    name: str
    per_minute: float
    amount: float

    @property
    def names(self) -> Iterable[str]:
        return (self.name,)

    def apply(self, page: Page) -> None:
        bucket = page.rows[self.name]
        page.rows[self.name] = rules.give_back(bucket, self.per_minute, self.amount, page.now)


@dataclass(slots=True, eq=False)
class Reserve:
    """Reserve a worst case on all accounts or on none.

    Attributes:
        accounts: each with the name of its row.
        micro: the worst case, micro-dollars.
        refused: afterwards the first account without room for it, if one has none.
    """

    table: ClassVar = SPENDING
    accounts: Sequence[tuple[str, SpendAccount]]
    micro: int
    refused: SpendAccount | None = None

    @property
    def names(self) -> Iterable[str]:
        return [name for name, _ in self.accounts]

    def apply(self, page: Page) -> None:
        self.refused = None  # an earlier try in a transaction that failed may have set it
        rows = {name: page.rows[name] for name in self.names}
        for name, account in self.accounts:
            row = rules.reserve(rows[name], account.limit_usd, self.micro)
            if row is None:
                self.refused = account
                return
            rows[name] = row
        page.rows.update(rows)


@dataclass(slots=True, eq=False)
class Settle:
    """Turn a reserved amount into the amount spent, in several rows."""

    table: ClassVar = SPENDING
    names: Sequence[str]
    reserved_micro: int
    spent_micro: int

    def apply(self, page: Page) -> None:
        for name in self.names:
            page.rows[name] = rules.settle(page.rows[name], self.reserved_micro, self.spent_micro)
