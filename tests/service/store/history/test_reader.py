"""What a store tells about the past: nothing, while it is empty."""

import pytest

from podium_service.errors import InvalidRequest
from podium_service.store.history.filters import RankingFilters
from podium_service.store.history.reader import HistoryReader
from podium_service.store.store import open_store

pytestmark = pytest.mark.anyio


async def test_an_empty_store_has_no_rankings_and_no_runs(url: str) -> None:
    filters = RankingFilters(run="r", step=0, outcome="failed", flag="f", signal=False, q="q%")
    async with open_store(url) as store:
        reader = HistoryReader(store)
        assert (await reader.list_rankings()).model_dump() == {"rankings": [], "next": None}
        assert not (await reader.list_rankings(filters, "0" * 16, 1)).rankings
        assert not (await reader.list_runs("0" * 16)).runs
        assert await reader.read_ranking("rk_1") is None
        assert await reader.read_calls("rk_" + "0" * 16) is None
        assert await reader.read_run("r") is None


async def test_a_cursor_that_is_none_is_refused(url: str) -> None:
    async with open_store(url) as store:
        with pytest.raises(InvalidRequest, match="cursor"):
            await HistoryReader(store).list_rankings(cursor="g" * 16)
