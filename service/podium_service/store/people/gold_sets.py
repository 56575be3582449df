"""Sets of groups that people are to put in order without a ranking in sight, and who has done so.

    sets = GoldSets(store)
    await sets.add("disputed", RankingFilters(max_agreement=0.3))
    await sets.list_members("disputed", person)

A group is in a set once, by its texts, under the ask that was chosen. It is left out once that ask
was pruned.
"""

import random
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from podium_service.errors import InvalidRequest
from podium_service.store.asks.ids import ask_name
from podium_service.store.database.tables import ASKS, GOLD, GOLD_SETS
from podium_service.store.history.filters import RankingFilters
from podium_service.store.people.person import Person
from podium_service.store.store import SQLStore

MAX_NAME_CHARS = 64
SAMPLE = 50  # groups that are added at once
_LOOKED_AT = 2000  # of the newest groups that meet the filters
_RANKINGS = 20_000


@dataclass(frozen=True, slots=True)
class GoldSet:
    """A set of groups; `ordered` of them have an order of one person."""

    name: str
    groups: int
    ordered: int


@dataclass(frozen=True, slots=True)
class Member:
    """A group of a set; `is_ordered` tells whether one person has ordered it."""

    ask: str
    transcript: bytes
    is_ordered: bool


@dataclass(frozen=True, slots=True)
class JudgedGold:
    """The newest ranking of a group of gold by one judge; `rewards` are in the group's order."""

    judge: str
    ask: str
    transcript: bytes
    group_id: str | None
    prompt: str | None
    rewards: list[float]
    cost_usd: float | None


class GoldSets:
    """The sets in one store; every method raises StoreUnavailable if it does not answer."""

    def __init__(self, store: SQLStore) -> None:
        self._store = store

    async def add(self, name: str, filters: RankingFilters, size: int = SAMPLE) -> int:
        """Add a random sample of the newest groups that meet filters, and return its size.

        Groups without texts, without a ranking or with one attempt are left out.

        Raises:
            InvalidRequest: If the name is none, or no group can be ordered.
        """
        name = name.strip()
        if not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
            raise InvalidRequest(
                f"the set's name {name[:MAX_NAME_CHARS]!r}: must be 1 to {MAX_NAME_CHARS} "
                "printable characters"
            )
        query = sa.select(ASKS.c.transcript, ASKS.c.id).where(*filters.conditions())
        query = query.where(ASKS.c.code.is_(None), ASKS.c.num_trajectories > 1)
        query = query.order_by(ASKS.c.id.desc()).limit(_LOOKED_AT)
        rows = await self._store.select(query)
        newest = {row.transcript: row.id for row in reversed(rows) if row.transcript is not None}
        if not newest:
            raise InvalidRequest("no group of these filters has a ranking, texts and two attempts")
        chosen = random.Random(name).sample(sorted(newest), min(size, len(newest)))
        values = [
            {"name": name, "transcript": each, "ask": newest[each], "added_at": time.time()}
            for each in chosen
        ]
        await self._store.run_in_transaction(lambda connection: _insert(connection, values))
        return len(values)

    async def remove(self, name: str) -> None:
        """Delete a set; the orders of its groups stay."""
        delete = sa.delete(GOLD_SETS).where(GOLD_SETS.c.name == name)
        await self._store.run_in_transaction(lambda connection: connection.execute(delete) and None)

    async def list_sets(self, person: Person) -> list[GoldSet]:
        """Return all sets by name, with what a person has ordered."""
        number = sa.func.count()
        query = (
            sa.select(GOLD_SETS.c.name, number.label("groups"), _is_ordered(person, total=True))
            .join(ASKS, ASKS.c.id == GOLD_SETS.c.ask)
            .group_by(GOLD_SETS.c.name)
            .order_by(GOLD_SETS.c.name)
        )
        rows = await self._store.select(query)
        return [GoldSet(row.name, row.groups, int(row.ordered)) for row in rows]

    async def list_members(self, name: str, person: Person) -> list[Member]:
        """Return the groups of a set, in an order that is random but the same for a person."""
        query = (
            sa.select(GOLD_SETS.c.ask, GOLD_SETS.c.transcript, _is_ordered(person))
            .join(ASKS, ASKS.c.id == GOLD_SETS.c.ask)
            .where(GOLD_SETS.c.name == name)
            .order_by(GOLD_SETS.c.transcript)
        )
        members = [
            Member(ask_name(row.ask), row.transcript, bool(row.ordered))
            for row in await self._store.select(query)
        ]
        random.Random(f"{name}/{person.api_key_id}").shuffle(members)
        return members

    async def list_judged(self, asks: Collection[int]) -> list[JudgedGold]:
        """Return the newest ranking by each judge of the groups of some asks.

        Args:
            asks: ids of asks, whose groups people ordered.
        """
        prompts = sa.select(ASKS.c.prompt_id).where(ASKS.c.id.in_(asks))
        texts = sa.select(ASKS.c.transcript).where(ASKS.c.id.in_(asks))
        names = ("id", "judge", "transcript", "group_id", "prompt", "rewards", "cost_usd", "cached")
        query = (
            sa.select(*(ASKS.c[name] for name in names))
            .where(ASKS.c.prompt_id.in_(prompts), ASKS.c.transcript.in_(texts))
            .where(ASKS.c.rewards.is_not(None), ASKS.c.again_of.is_(None))
            .order_by(ASKS.c.id.desc())
            .limit(_RANKINGS)
        )
        found: dict[tuple[str, bytes], JudgedGold] = {}
        for row in await self._store.select(query):
            found.setdefault((row.judge, row.transcript), _judged(row))
        return list(found.values())


def _is_ordered(person: Person, *, total: bool = False) -> sa.Label[Any]:
    """Return whether a person has ordered a group of a set, or how many of them."""
    has_order = (
        sa.select(GOLD.c.transcript)
        .where(GOLD.c.transcript == GOLD_SETS.c.transcript)
        .where(GOLD.c.api_key_id == person.api_key_id)
        .exists()
    )
    one = sa.case((has_order, 1), else_=0)
    return (sa.func.sum(one) if total else one).label("ordered")


def _insert(connection: sa.Connection, values: list[dict[str, Any]]) -> None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(dialect.insert(GOLD_SETS).on_conflict_do_nothing(), values)


def _judged(row: sa.Row[Any]) -> JudgedGold:
    return JudgedGold(
        row.judge,
        ask_name(row.id),
        row.transcript,
        row.group_id,
        row.prompt,
        orjson.loads(row.rewards),
        None if row.cached else row.cost_usd,
    )
