"""Rankings, calls and their ages, for the store's tests."""

import time
from typing import Any

import sqlalchemy as sa

from podium_service.schemas import Ranking, Usage
from podium_service.store.asks.ids import AskIds
from podium_service.store.asks.records import Ask
from podium_service.store.database.tables import CALLS
from podium_service.store.protocol import StoredVerdicts
from podium_service.store.store import SQLStore
from tests.service.helpers import LONG, call, request
from tests.service.postgres import engine_at

KEY, OTHER_KEY = "a" * 64, "b" * 64
ASK_IDS = AskIds()


def ranking(ranking_id: str = "rk_1", **fields: Any) -> Ranking:
    """Return a ranking without results."""
    return Ranking.model_validate(
        {
            "id": ranking_id,
            "group_id": "g\0 \U0001f3c6",
            "judge": "main",
            "model": "m",
            "method": "listwise",
            "passes": 1,
            "results": [],
            "reliability": None,
            "cached": False,
            "usage": Usage(),
            **fields,
        }
    )


def ask(key: str, answer: Ranking | None = None, **fields: Any) -> Ask:
    """Return a request for a ranking, which is `rk_1` unless said otherwise."""
    answer = answer or ranking()
    return Ask(ASK_IDS.next(), request("5", "6"), answer, answer.judge, key, **fields)


def add_call(store: SQLStore, key: str = KEY, pass_index: int = 0, text: str = LONG) -> None:
    """Queue a call with a verdict, whose prompt shows a text."""
    store.add_call(key, pass_index, "main", call(text), Usage(calls=1))


async def read_verdicts(store: SQLStore, key: str) -> StoredVerdicts:
    """Return what is stored of a key."""
    async with store.claim(key) as stored:
        return stored


async def set_age(store: SQLStore, key: str, age_s: float) -> None:
    """Date all calls of a key back."""
    update = sa.update(CALLS).where(CALLS.c.key == key).values(created_at=time.time() - age_s)
    await store.run_in_transaction(lambda connection: connection.execute(update) and None)


def execute(url: str, *statements: sa.Executable) -> None:
    """Execute statements, in a connection of their own."""
    with engine_at(url) as engine, engine.begin() as connection:
        for statement in statements:
            connection.execute(statement)


async def count_rows(url: str, table: sa.Table) -> int:
    """Count the rows of a table, in a connection of its own."""
    with engine_at(url) as engine, engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
