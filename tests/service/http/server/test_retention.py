"""Old requests are deleted while the service runs, by one process of those that share a store."""

import asyncio
from contextlib import suppress

import pytest
import sqlalchemy as sa

from podium_service.http.server.retention import prune_regularly
from podium_service.store.database.tables import ASKS
from podium_service.store.store import open_store
from tests.fakes import until
from tests.service.store.helpers import KEY, OTHER_KEY, ask, count_rows, execute, ranking

pytestmark = pytest.mark.anyio

TWO_DAYS = (2 * 86_400 * 10**6) << 11  # an ask's id holds its moment


async def test_a_service_deletes_what_is_older(url: str) -> None:
    async with open_store(url) as store:
        await store.add_ranking(ask(KEY))
        execute(url, sa.update(ASKS).values(id=ASKS.c.id - TWO_DAYS))
        await store.add_ranking(ask(OTHER_KEY, ranking("rk_2")))
        pruning = asyncio.create_task(prune_regularly(store, days=1))

        async def is_pruned() -> bool:
            return await count_rows(url, ASKS) == 1

        await until(is_pruned)
        pruning.cancel()
        with suppress(asyncio.CancelledError):
            await pruning
        assert await store.quotas.count("retention", 1, 3600.0) > 0  # no other process does it now
