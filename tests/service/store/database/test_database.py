"""Statements that must see one moment of the database, whatever a prune deletes meanwhile."""

import time
from collections.abc import Callable
from typing import Any, cast

import pytest
import sqlalchemy as sa

from podium_service.scoring.noise import EMPTY_PAST_GROUP
from podium_service.store.database.tables import CALLS, TEXTS
from podium_service.store.pruning import prune_some
from podium_service.store.store import open_store
from tests.service.helpers import LONG, VERDICT
from tests.service.store.helpers import KEY, add_call, read_verdicts, set_age

pytestmark = pytest.mark.anyio


async def test_a_replay_sees_one_moment_of_the_store(url: str) -> None:
    async with open_store(url) as store:
        add_call(store, KEY, 0, LONG)
        await store.flush()
        with store._database.reading_snapshot() as connection:
            assert connection.execute(sa.select(CALLS.c.id)).all()
            assert (await store.prune(-1.0))["calls"] == 1
            assert connection.execute(sa.select(TEXTS.c.hash)).all()
        assert not await store.read_calls(KEY)


class Interrupted:
    """A connection that does something before each statement but the first."""

    def __init__(self, connection: sa.Connection, interrupt: Callable[[], object]) -> None:
        self._connection = connection
        self._interrupt = interrupt
        self._num_executed = 0

    def execute(self, *statement: Any) -> Any:
        if self._num_executed:
            self._interrupt()
        self._num_executed += 1
        return self._connection.execute(*statement)


async def test_the_rows_of_a_key_are_read_as_of_one_moment(url: str) -> None:
    async with open_store(url) as store:
        add_call(store)
        store.add_past_group(KEY, "j", EMPTY_PAST_GROUP, None)
        await store.flush()
        await set_age(store, KEY, 100.0)
        add_call(store, KEY, 1)
        await store.flush()
        database = store._database

        def prune() -> None:
            with database.writing() as connection:
                prune_some(connection, time.time() - 50.0, 9)

        with database.reading() as connection:
            interrupted = cast(sa.Connection, Interrupted(connection, prune))
            rows = database.read_keys(interrupted, [KEY])[KEY]
        assert rows.complete
        assert len(rows.calls) == 2
        prune()
        stored = await read_verdicts(store, KEY)
        assert not stored.complete
        assert stored.verdicts == {1: VERDICT}
