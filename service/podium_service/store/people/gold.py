"""Keep how people order the attempts of a group, as gold that judges are measured by.

    gold = GoldOrders(store)
    await gold.put(summary.ask, [["b"], ["a", "c"]], person, is_blind=True)
    orders = await gold.list_of(summary.ask)    # all people's, for this group
    orders = await gold.list_newest(limit=500)  # all groups, the newest first
    await gold.remove(summary.ask, person)

An order is of the group's texts, under whatever ids they were sent: it counts for every ask with
the same transcript, and a person's next order of that group takes its place. So a group of which no
texts are kept cannot be ordered. Retention keeps the texts of a group as long as it has an order;
the ask may be gone before. `evaluation.stored.gold` reads the groups with labels, for
`podium calibrate --gold`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from podium_service.errors import InvalidRequest, NotFound
from podium_service.store.asks.ids import ask_name, parse_ask
from podium_service.store.asks.records import storable
from podium_service.store.database.tables import ASKS, GOLD
from podium_service.store.people.person import Person
from podium_service.store.store import SQLStore

_KEY = [GOLD.c.transcript, GOLD.c.api_key_id]


@dataclass(frozen=True, slots=True)
class GoldOrder:
    """The order in which one person put the attempts of a group.

    Attributes:
        transcript: the key of the group's texts, as in `asks.transcript`.
        ids: of the attempts, in the order of the request.
        tiers: ids, best first; those of one tier are equal.
        ask: the id of the ask on whose page it was given, as `RankingSummary.ask`.
        at: when, in seconds since the epoch.
        is_blind: whether no judge's ranking of the group was in sight.
    """

    transcript: bytes
    person: Person
    ids: list[str]
    tiers: list[list[str]]
    ask: str
    group_id: str | None
    at: float
    is_blind: bool

    @property
    def ranks(self) -> list[float]:
        """The rank of each attempt, in the order of `ids`: 1 is best, ties share the mean rank."""
        ranks: dict[str, float] = {}
        before = 0
        for tier in self.tiers:
            ranks |= dict.fromkeys(tier, before + (len(tier) + 1) / 2)
            before += len(tier)
        return [ranks[name] for name in self.ids]


class GoldOrders:
    """The orders in one store; every method raises StoreUnavailable if it does not answer."""

    def __init__(self, store: SQLStore) -> None:
        self._store = store

    async def put(
        self, ask: str, tiers: Sequence[Sequence[str]], person: Person, *, is_blind: bool
    ) -> GoldOrder:
        """Keep a person's order of the group of an ask, in place of an earlier one.

        Args:
            ask: as `RankingSummary.ask`.
            tiers: the ids of all attempts, best first; those of one tier are equal.
            person: who gave it.
            is_blind: whether no judge's ranking of the group was in sight.

        Raises:
            NotFound: If there is no such ask.
            InvalidRequest: If its texts are not kept, or the tiers do not hold each id once.
        """
        row = await self._find(ask)
        ids: list[str] = orjson.loads(row.ids)
        placed = [name for tier in tiers for name in tier]
        require_each_once(ids, placed)
        index = {name: place for place, name in enumerate(ids)}
        values = {
            "transcript": row.transcript,
            "api_key_id": person.api_key_id,
            "person": storable(person.name),
            "made_at": time.time(),
            "ask": row.id,
            "group_id": row.group_id,
            "ids": row.ids,
            "tiers": orjson.dumps([[index[name] for name in tier] for tier in tiers if tier]),
            "is_blind": is_blind,
        }
        await self._store.run_in_transaction(lambda connection: _upsert(connection, values))
        orders = await self.list_of(ask)
        return next(each for each in orders if each.person.api_key_id == person.api_key_id)

    async def list_of(self, ask: str) -> list[GoldOrder]:
        """Return all orders of the group of an ask, the newest first; none if it is not there.

        Their ids are those of this ask.
        """
        query = (
            sa.select(GOLD, ASKS.c.ids.label("ids_of_ask"))
            .join(ASKS, ASKS.c.transcript == GOLD.c.transcript)
            .where(ASKS.c.id == parse_ask(ask))
        )
        rows = await self._store.select(query.order_by(GOLD.c.made_at.desc(), *_KEY))
        return [_order_of(row, orjson.loads(row.ids_of_ask)) for row in rows]

    async def list_newest(self, limit: int, before: float | None = None) -> list[GoldOrder]:
        """Return the newest orders of all groups, at most `limit`.

        Args:
            before: only orders from before this moment, in seconds since the epoch.
        """
        query = sa.select(GOLD).limit(limit)
        if before is not None:
            query = query.where(GOLD.c.made_at < before)
        rows = await self._store.select(query.order_by(GOLD.c.made_at.desc(), *_KEY))
        return [_order_of(row, orjson.loads(row.ids)) for row in rows]

    async def remove(self, ask: str, person: Person) -> bool:
        """Delete a person's order of the group of an ask; return whether there was one."""
        transcript = sa.select(ASKS.c.transcript).where(ASKS.c.id == parse_ask(ask))
        delete = sa.delete(GOLD).where(
            GOLD.c.transcript == transcript.scalar_subquery(),
            GOLD.c.api_key_id == person.api_key_id,
        )
        return await self._store.run_in_transaction(
            lambda connection: connection.execute(delete).rowcount > 0
        )

    async def _find(self, ask: str) -> sa.Row[Any]:
        query = sa.select(ASKS.c.id, ASKS.c.group_id, ASKS.c.ids, ASKS.c.transcript)
        for row in await self._store.select(query.where(ASKS.c.id == parse_ask(ask))):
            if row.transcript is None:
                raise InvalidRequest(
                    "the texts of this group are not kept, so that no judge could be measured by "
                    "its order: order groups of a service without --no-texts"
                )
            return row
        raise NotFound(f"no ranking {ask[:64]!r}: it was never made, or pruned")


def mean_labels(ranks: Sequence[Sequence[float]]) -> list[float]:
    """Return the share of the other attempts that each one is better than, as the mean of people.

    Args:
        ranks: of G >= 1 attempts, by person; ties share the mean rank.

    Returns:
        G labels in [0, 1]; an attempt that is equal to another is better than half of it.
    """
    number = len(ranks[0])
    return [(number - fmean(of_one)) / max(1, number - 1) for of_one in zip(*ranks, strict=True)]


def require_each_once(ids: Sequence[str], placed: Sequence[str]) -> None:
    """Raise InvalidRequest unless an order places each id once, and no other."""
    missing = [name for name in ids if name not in placed]
    unknown = [name for name in placed if name not in ids]
    if missing:
        raise InvalidRequest(f"the order lacks {missing[0][:64]!r}: place each attempt once")
    if unknown:
        raise InvalidRequest(f"the order holds {unknown[0][:64]!r}, which is no attempt")
    if len(placed) > len(ids):
        twice = next(name for name in ids if placed.count(name) > 1)
        raise InvalidRequest(f"the order holds {twice[:64]!r} twice: place each attempt once")


def _upsert(connection: sa.Connection, values: dict[str, Any]) -> None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(GOLD).values(values)
    changed = {name: insert.excluded[name] for name in values if GOLD.c[name] not in set(_KEY)}
    connection.execute(insert.on_conflict_do_update(index_elements=_KEY, set_=changed))


def _order_of(row: sa.Row[Any], ids: list[str]) -> GoldOrder:
    return GoldOrder(
        transcript=row.transcript,
        person=Person(row.api_key_id, row.person),
        ids=ids,
        tiers=[[ids[place] for place in tier] for tier in orjson.loads(row.tiers)],
        ask=ask_name(row.ask),
        group_id=row.group_id,
        at=row.made_at,
        is_blind=row.is_blind,
    )
