"""Store what was asked, answered and paid: cache, audit and replay in one database.

The database is used synchronously, from threads. What many groups need at the same moment shares
one transaction: claims (see `claims`), writes (see `write_queue`) and quotas (see `quotas`). An
async driver would switch between tasks for every statement instead.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import orjson
import sqlalchemy as sa

from podium_service.errors import StoreUnavailable
from podium_service.prompts.call import Call
from podium_service.prompts.verdict import Verdict
from podium_service.schemas import Usage
from podium_service.scoring.noise import EMPTY_PAST_GROUP, JudgeNoise, PastGroup
from podium_service.store.asks.records import Ask, write_asks
from podium_service.store.call_records import call_record, call_rows, compress_texts
from podium_service.store.claims.claim_rows import ClaimRows
from podium_service.store.claims.claims import Claims
from podium_service.store.database.database import Database, KeyRows, Rows
from podium_service.store.database.tables import ASKS, CALLS, PAST_GROUPS, RANKINGS
from podium_service.store.migrations.schema import open_database
from podium_service.store.protocol import StoredVerdicts
from podium_service.store.pruning import prune_some
from podium_service.store.quotas.ledger import Ledger
from podium_service.store.quotas.payer import NOBODY, Payer
from podium_service.store.quotas.quota_service import QuotaService
from podium_service.store.write_queue import Write, WriteQueue

_THREADS = 8
_PRUNE_CALLS = 200  # in one transaction; their texts are some MB

T = TypeVar("T")


class SQLStore:
    """A store in SQLite or PostgreSQL; open it with `open_store`.

    Each method that waits raises StoreUnavailable if the database does not answer.
    """

    def __init__(
        self,
        database: Database,
        heartbeat_s: float,
        expire_after_s: float,
        *,
        keep_texts: bool = True,
    ) -> None:
        self._database = database
        self.keeps_texts = keep_texts
        self.quotas = QuotaService(database)
        claim_rows, ledger = ClaimRows(database), Ledger(database)

        def commit(rows: Rows, released: list[str]) -> None:
            # Before the transaction, because other writers wait for that.
            rows = write_asks(rows, keep_texts=keep_texts)
            compress_texts(rows)
            with database.writing() as connection:
                paid = ledger.select_new(connection, rows.get(CALLS, ()))
                database.insert(connection, rows)
                ledger.add_calls(connection, paid)
                claim_rows.release(connection, released)

        self.write_queue = WriteQueue(lambda *write: database.run(lambda: commit(*write)))
        self.claims = Claims(claim_rows, self.write_queue, heartbeat_s, expire_after_s)

    @asynccontextmanager
    async def claim(self, key: str) -> AsyncIterator[StoredVerdicts]:
        """Claim a content key among all processes of this store, and yield what is stored of it.

        This waits until no other caller holds the claim, unless the group was ranked to the end:
        then there is nothing to claim. The next holder reads what is added meanwhile.
        """
        async with self.claims.hold(key) as rows:
            yield self._parse(key, rows)

    @asynccontextmanager
    async def claim_question(self, key: str) -> AsyncIterator[Verdict | None]:
        """Claim a question that several groups may ask, and yield its verdict if it has one."""
        async with self.claim(key) as stored:
            yield stored.verdicts.get(0)

    async def read_past_groups(self, judge_key: str, limit: int) -> list[PastGroup]:
        """Return what the most recent groups told about a judge, oldest first.

        These are at most `limit` groups that tell the judge's noise, and as many of the others.
        """
        read = partial(self._database.read_past_groups, judge_key, limit)
        return [PastGroup(**orjson.loads(past)) for past in await self._database.run(read)]

    def add_past_group(
        self, key: str, judge_key: str, past: PastGroup, noise: JudgeNoise | None
    ) -> None:
        """Queue what a group that was ranked to the end told about its judge."""
        row = {
            "key": key,
            "judge_key": judge_key,
            "has_residuals": past.has_residuals,
            "created_at": time.time(),
            "past": orjson.dumps(past),
            "noise": orjson.dumps(noise.to_json()) if noise else None,
        }
        self.write_queue.put(Write({PAST_GROUPS: [row]}, key, None, (key,)))

    def add_call(
        self,
        key: str,
        pass_index: int,
        judge: str,
        call: Call,
        usage: Usage,
        payer: Payer = NOBODY,
    ) -> None:
        """Queue one judge call. It is durable before any ranking that is added later."""
        rows = call_rows(key, pass_index, judge, call, usage, payer, keep_texts=self.keeps_texts)
        self.write_queue.put(Write(rows, key, pass_index))

    def add_answer(self, key: str, judge: str, call: Call) -> None:
        """Queue the answer to a question that several groups may ask; another call counts its cost.

        The question is complete then, so that it need not be claimed again.
        """
        self.add_call(key, 0, judge, call, Usage())
        self.add_past_group(key, "", EMPTY_PAST_GROUP, None)

    async def add_ranking(self, ask: Ask, rests_on: Sequence[str] = ()) -> None:
        """Store a request and its answer, and return once these and all earlier writes are durable.

        Args:
            ask: a request that was answered with a ranking; it has a content key.
            rests_on: the content keys of the calls behind it, where they differ: a jury's.

        Raises:
            StoreUnavailable: Also if the database did not take the calls behind it.
        """
        assert ask.key is not None
        rows: Rows = {ASKS: [{"id": ask.id, "ask": ask}]}
        write = Write(rows, ask.key, None, tuple(rests_on) or (ask.key,))
        self.write_queue.put(write)
        await write.done

    def add_failure(self, ask: Ask) -> None:
        """Queue a request whose group could not be ranked; it is lost if the database is away."""
        self.write_queue.put(Write({ASKS: [{"id": ask.id, "ask": ask}]}, "", None))

    async def flush(self) -> None:
        """Return once each earlier write is committed or has failed."""
        write = Write({}, "", None)
        self.write_queue.put(write)
        with suppress(StoreUnavailable):
            await write.done

    async def read_ranking(self, ranking_id: str) -> dict[str, Any] | None:
        """Return a past answer as its first caller got it, with its content key."""
        rows = await self.select(sa.select(RANKINGS).where(RANKINGS.c.id == ranking_id))
        if not rows:
            return None
        [row] = rows
        return {"key": row.key, "created_at": row.created_at, "answer": orjson.loads(row.answer)}

    async def read_calls(self, key: str) -> list[dict[str, Any]]:
        """Return all calls for a content key, oldest first, with exact prompts and replies."""
        rows, texts = await self._database.run(lambda: self._database.read_calls(key))
        return [call_record(row, texts) for row in rows]

    async def prune(self, older_than_s: float) -> dict[str, int]:
        """Delete what is older than an age, and return the number of deleted rows by table.

        The texts of a content key go with its last call, and a group as it was sent an hour after
        the last request for it. Each transaction deletes a few calls, and
        a pause of the same length follows, so that a service on the same store goes on.
        """
        before = time.time() - older_than_s
        total: Counter[str] = Counter()
        while True:
            started = time.monotonic()
            deleted = await self.run_in_transaction(
                lambda connection: prune_some(connection, before, _PRUNE_CALLS)
            )
            total.update(deleted)
            if not any(deleted.values()):
                return dict(total)
            await asyncio.sleep(time.monotonic() - started)

    async def run_in_transaction(self, work: Callable[[sa.Connection], T]) -> T:
        """Return the result of `work`, which runs in a thread; commit unless it raises."""

        def run() -> T:
            with self._database.writing() as connection:
                return work(connection)

        return await self._database.run(run)

    async def select(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """Return the rows of a query; no writer waits for it, and it waits for no writer."""
        return await self._database.run(lambda: self._database.select(query))

    async def ping(self) -> None:
        """Raise StoreUnavailable unless the database answers and writes are taken."""
        if self.write_queue.closed:
            raise StoreUnavailable("the store is closed: restart the service")
        await self.select(sa.select(1))

    def _parse(self, key: str, rows: KeyRows) -> StoredVerdicts:
        # The oldest verdict of a pass counts, because it overwrites newer ones, which come first.
        verdicts = {index: verdict for index, verdict, _ in rows.calls if verdict}
        self.write_queue.forget_lost((key, index) for index in verdicts)
        usages = [orjson.loads(usage) for _, _, usage in rows.calls]
        return StoredVerdicts(
            verdicts={index: Verdict(**orjson.loads(each)) for index, each in verdicts.items()},
            calls=len(usages),
            tokens=sum(each["prompt_tokens"] + each["completion_tokens"] for each in usages),
            complete=rows.complete,
            noise=JudgeNoise.from_json(orjson.loads(rows.noise)) if rows.noise else None,
        )


@asynccontextmanager
async def open_store(
    url: str,
    *,
    heartbeat_s: float = 2.0,
    expire_after_s: float = 10.0,
    keep_texts: bool = True,
) -> AsyncIterator[SQLStore]:
    """Open the store at a path or database URL, creating it if need be; close it with all written.

    Args:
        heartbeat_s: how often this process records that it lives, in seconds.
        expire_after_s: the silence after which another process counts as dead, in seconds.
        keep_texts: whether what trajectories and judges say is kept: groups, prompts, replies,
            explanations and the details of problems.

    Raises:
        ConfigError: If the URL is none, or the database cannot be opened.
    """
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="store") as threads:
        database = await asyncio.get_running_loop().run_in_executor(
            threads, open_database, url, threads
        )
        store = SQLStore(database, heartbeat_s, expire_after_s, keep_texts=keep_texts)
        writing = asyncio.create_task(store.write_queue.run())

        async def finish_writing() -> None:
            store.write_queue.stop()
            await writing

        # Closed in reverse order, each even if another one raises.
        async with AsyncExitStack() as closing:
            closing.callback(database.close)
            closing.callback(threads.shutdown)  # first, because a thread may use a connection
            closing.push_async_callback(store.claims.close)
            closing.push_async_callback(finish_writing)
            closing.push_async_callback(store.quotas.close)
            yield store
