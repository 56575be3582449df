"""What was asked, answered and paid, kept: the cache, the audit and the replay in one database.

The database is spoken to in threads, and what many groups want at the same moment goes together: a
new group takes a share of one read that claims it, too (see `claims`), and of one commit (see
`writer`), where an async driver makes a hand-over for every statement.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import orjson
import sqlalchemy as sa

from podium_service.errors import StoreUnavailable
from podium_service.prompts.call import Call
from podium_service.prompts.verdict import Verdict
from podium_service.schemas import Ranking, Usage
from podium_service.scoring.noise import JudgeNoise, PastGroup
from podium_service.store.call_records import call_record, call_rows, pack
from podium_service.store.claims.claim_rows import ClaimRows
from podium_service.store.claims.claims import Claims
from podium_service.store.database.database import Database, KeyRows
from podium_service.store.database.executor import ThreadExecutor
from podium_service.store.database.tables import PAST_GROUPS, RANKINGS
from podium_service.store.pruning import prune_some
from podium_service.store.quotas.quota_rows import QuotaRows
from podium_service.store.quotas.quota_service import QuotaService
from podium_service.store.write_queue import WriteQueue
from podium_service.store.writes import Rows, Write

_THREADS = 8
_PRUNED_AT_ONCE = 200  # calls; some MB of texts

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredVerdicts:
    """What is there of a content key.

    Attributes:
        verdicts: by question.
        calls, tokens: what it has cost so far, replies that were no verdicts included.
        complete: whether the group was judged to the end.
        noise: what was assumed of the judge then.
    """

    verdicts: dict[int, Verdict]
    calls: int = 0
    tokens: int = 0
    complete: bool = False
    noise: JudgeNoise | None = None


class Store(Protocol):
    """The seam to persistence; passed in by constructor."""

    def claim(self, key: str) -> AbstractAsyncContextManager[StoredVerdicts]: ...

    async def read_past_groups(self, judge_key: str, limit: int) -> list[PastGroup]: ...

    def add_past_group(
        self, key: str, judge_key: str, past: PastGroup, noise: JudgeNoise | None
    ) -> None: ...

    def add_call(self, key: str, pass_index: int, judge: str, call: Call, usage: Usage) -> None: ...

    async def flush(self) -> None: ...

    async def add_ranking(
        self, key: str, ranking: Ranking, request: dict[str, Any], rests_on: Sequence[str]
    ) -> None: ...


class SQLStore:
    """A store in SQLite or PostgreSQL; open it with `open_store`."""

    def __init__(
        self, database: Database, threads: Executor, beat_s: float, dead_after_s: float
    ) -> None:
        self._database = database
        self._in_thread = ThreadExecutor(threads)
        self.quotas = QuotaService(QuotaRows(database), self._in_thread)
        claim_rows = ClaimRows(database)

        def commit(rows: Rows, released: list[str]) -> None:
            pack(rows)  # before others wait for us
            with database.writing() as connection:
                database.insert(connection, rows)
                claim_rows.release(connection, released)

        self.write_queue = WriteQueue(lambda *write: self._in_thread(lambda: commit(*write)))
        self.claims = Claims(
            claim_rows, self._in_thread, self.write_queue, beat_s=beat_s, dead_after_s=dead_after_s
        )

    async def read_verdicts(self, key: str) -> StoredVerdicts:
        """The verdicts at hand for a content key, and how they were used before."""

        def read() -> KeyRows:
            with self._database.reading() as connection:
                return self._database.read_keys(connection, [key])[key]

        return self._recalled(key, await self._in_thread(read))

    @asynccontextmanager
    async def claim(self, key: str) -> AsyncIterator[StoredVerdicts]:
        """Wait until nobody asks about a content key, and be the one who does, unless it is judged
        to the end: in all processes of this store. Whoever comes next finds what was kept.

        Raises:
            StoreUnavailable: If the database does not answer.
        """
        async with self.claims.held(key) as found:
            yield self._recalled(key, found)

    async def read_past_groups(self, judge_key: str, limit: int) -> list[PastGroup]:
        """What the most recent groups told about a judge, oldest first: at most `limit` of those
        that tell its noise, and as many of the others."""

        def read() -> list[bytes]:
            kinds = (False, True)
            find = self._database.read_past_groups
            return [past for kind in kinds for past in find(judge_key, limit, has_residuals=kind)]

        return [PastGroup(**orjson.loads(past)) for past in await self._in_thread(read)]

    def add_past_group(
        self, key: str, judge_key: str, past: PastGroup, noise: JudgeNoise | None
    ) -> None:
        """Queue what a group, judged to the end, told about its judge."""
        row = {
            "key": key,
            "judge_key": judge_key,
            "has_residuals": past.has_residuals,
            "created_at": time.time(),
            "past": orjson.dumps(past),
            "noise": orjson.dumps(noise.to_json()) if noise else None,
        }
        self.write_queue.put(Write({PAST_GROUPS: [row]}, key, None, (key,)))

    def add_call(self, key: str, pass_index: int, judge: str, call: Call, usage: Usage) -> None:
        """Queue one judge call. It is durable before any ranking added later."""
        rows = call_rows(key, pass_index, judge, call, usage)
        self.write_queue.put(Write(rows, key, pass_index))

    async def add_ranking(
        self, key: str, ranking: Ranking, request: dict[str, Any], rests_on: Sequence[str] = ()
    ) -> None:
        """Keep an answer, and return once it and all earlier writes are durable.

        Args:
            key: of the content, by its judge.
            ranking: the answer.
            request: what is kept of the question.
            rests_on: the keys of the calls behind it where these are others: a jury's.

        Raises:
            StoreUnavailable: If the database does not take it, or did not take the calls behind it.
        """
        row = {
            "id": ranking.id,
            "key": key,
            "created_at": time.time(),
            "answer": ranking.model_dump_json().encode(),
            "request": orjson.dumps({**request, "call_keys": rests_on} if rests_on else request),
        }
        write = Write({RANKINGS: [row]}, key, None, tuple(rests_on) or (key,))
        self.write_queue.put(write)
        await write.done

    async def flush(self) -> None:
        """Return once all that was queued is committed, or known to be lost."""
        write = Write({}, "", None)
        self.write_queue.put(write)
        with suppress(StoreUnavailable):
            await write.done

    async def read_ranking(self, ranking_id: str) -> dict[str, Any] | None:
        """A past answer, what was asked (without texts), and its content key."""
        row = await self._in_thread(lambda: self._database.read_ranking(ranking_id))
        if row is None:
            return None
        request = orjson.loads(row.request)
        return {
            "key": row.key,
            "call_keys": request.pop("call_keys", [row.key]),
            "created_at": row.created_at,
            "answer": orjson.loads(row.answer),
            "request": request,
        }

    async def read_calls(self, key: str) -> list[dict[str, Any]]:
        """All calls for a content key, oldest first, with exact prompts and replies."""
        rows, texts = await self._in_thread(lambda: self._database.read_calls(key))
        return [call_record(row, texts) for row in rows]

    async def prune(self, older_than_s: float) -> dict[str, int]:
        """Delete what is older, with the texts of content that no call is left of; counts by table.

        A little at a time, and as long a pause after each: a service on the same store goes on.
        """
        before = time.time() - older_than_s
        deleted: Counter[str] = Counter()
        while True:
            started = time.monotonic()
            some = await self.run_in_transaction(
                lambda database: prune_some(database, before, _PRUNED_AT_ONCE)
            )
            deleted.update(some)
            if not any(some.values()):
                return dict(deleted)
            await asyncio.sleep(time.monotonic() - started)

    async def run_in_transaction(self, work: Callable[[sa.Connection], T]) -> T:
        """What `work`, in a thread, returns of the database; committed unless it raises.

        Raises:
            StoreUnavailable: If the database does not take it.
        """
        return await self._in_thread(lambda: self._database.run_in_transaction(work))

    async def select(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """What a query finds; nobody who writes waits for it, and it waits for nobody.

        Raises:
            StoreUnavailable: If the database does not answer.
        """
        return await self._in_thread(lambda: self._database.select(query))

    async def ping(self) -> None:
        """Raises StoreUnavailable unless the database answers and writes are taken."""
        if self.write_queue.closed:
            raise StoreUnavailable("the store is closed: restart the service")
        await self.select(sa.select(1))

    def _recalled(self, key: str, found: KeyRows) -> StoredVerdicts:
        verdicts = {index: verdict for index, verdict, _ in found.calls if verdict}  # the oldest
        self.write_queue.forget_lost((key, index) for index in verdicts)
        spent = [orjson.loads(usage) for _, _, usage in found.calls]
        return StoredVerdicts(
            verdicts={index: Verdict(**orjson.loads(each)) for index, each in verdicts.items()},
            calls=len(spent),
            tokens=sum(each["prompt_tokens"] + each["completion_tokens"] for each in spent),
            complete=found.complete,
            noise=JudgeNoise.from_json(orjson.loads(found.noise)) if found.noise else None,
        )


@asynccontextmanager
async def open_store(
    url: str, *, beat_s: float = 2.0, dead_after_s: float = 10.0
) -> AsyncIterator[SQLStore]:
    """Open (and make, if need be) the store at a database URL, and close it with all written.

    Args:
        url: the database's.
        beat_s: how often this process tells the others that it lives.
        dead_after_s: the silence after which another process counts as dead.

    Raises:
        ConfigError: If the URL is none, or the database cannot be opened.
    """
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="store") as threads:
        database = await asyncio.get_running_loop().run_in_executor(threads, Database, url)
        store = SQLStore(database, threads, beat_s, dead_after_s)
        writer = asyncio.create_task(store.write_queue.run())

        async def written() -> None:
            store.write_queue.stop()
            await writer

        async with AsyncExitStack() as closing:  # each though the one before it failed; upwards
            closing.callback(database.close)
            closing.callback(threads.shutdown)  # who left while one worked has its connection open
            closing.push_async_callback(store.claims.close)
            closing.push_async_callback(written)
            closing.push_async_callback(store.quotas.close)
            yield store
