"""Long texts of calls: stored once for each content key, and compressed once."""

import pytest
import sqlalchemy as sa
import zstandard

from podium_service.schemas import Usage
from podium_service.store.call_records import call_rows, compress_texts
from podium_service.store.database.tables import TEXTS
from podium_service.store.store import open_store
from tests.service.helpers import LONG, call
from tests.service.store.helpers import KEY, add_call

pytestmark = pytest.mark.anyio


async def test_a_long_text_is_stored_once_and_small(url: str) -> None:
    async with open_store(url) as store:
        for pass_index in (0, 1):
            add_call(store, KEY, pass_index, LONG)
        await store.flush()
        [stored] = await store.select(sa.select(TEXTS.c.content))
    assert len(stored.content) < len(LONG.encode()) / 5


def test_texts_of_an_earlier_try_are_not_compressed_again() -> None:
    rows = call_rows(KEY, 0, "main", call(LONG), Usage(calls=1))
    compress_texts(rows)
    once = rows[TEXTS][0]["content"]
    compress_texts(rows)
    assert rows[TEXTS][0]["content"] is once
    assert zstandard.ZstdDecompressor().decompress(once) == LONG.encode()
