"""What was asked, answered and paid, kept: the cache, the audit and the replay in one database.

Writes are queued and committed in groups by one task, so that many requests share a commit. The
queue is first in, first out: once a ranking is durable, so are the verdicts it rests on. The
database is spoken to in threads: a group costs two hand-overs, a read and a share of a commit,
where an async driver makes one for every statement.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import orjson
import sqlalchemy as sa
import structlog

from service.database import Database, Row, one_line
from service.errors import StoreUnavailable
from service.judge import Call
from service.schemas import Ranking, Usage
from service.statistics.noise import JudgeNoise, PastGroup
from service.tables import BLOBS, CALL_BLOBS, CALLS, JUDGED, RANKINGS
from service.verdict import Verdict

_BLOB_CHARS = 200
_THREADS = 4

T = TypeVar("T")
Rows = dict[sa.Table, list[Row]]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Recalled:
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

    async def verdicts(self, key: str) -> Recalled: ...

    async def past_groups(self, judge_key: str, limit: int) -> list[PastGroup]: ...

    def add_judged(
        self, key: str, judge_key: str, past: PastGroup, noise: JudgeNoise | None
    ) -> None: ...

    def add_call(self, key: str, pass_index: int, judge: str, call: Call, usage: Usage) -> None: ...

    async def flush(self) -> None: ...

    async def add_ranking(
        self, key: str, ranking: Ranking, request: dict[str, Any], rests_on: Sequence[str]
    ) -> None: ...


@dataclass(slots=True, eq=False)
class _Write:
    """Rows that must be committed together: a call's, of one pass, or a ranking's (None), which
    rests on the calls of some keys."""

    rows: Rows
    key: str
    pass_index: int | None
    rests_on: tuple[str, ...] = ()
    done: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class SQLStore:
    """A store in SQLite or PostgreSQL; open it with `open_store`."""

    def __init__(self, database: Database, threads: Executor) -> None:
        self._database = database
        self._threads = threads
        self._queue: asyncio.Queue[_Write | None] = asyncio.Queue()
        self._closed = False
        self._lost: set[tuple[str, int]] = set()  # passes by key, whose calls could not be written

    async def verdicts(self, key: str) -> Recalled:
        """The verdicts at hand for a content key, and how they were used before."""
        rows, judged = await self._in_thread(lambda: self._database.verdicts(key))
        found = {row.pass_index: row.verdict for row in rows if row.verdict}  # the oldest of each
        self._lost.difference_update([(key, index) for index in found])
        spent = [orjson.loads(row.usage) for row in rows]
        return Recalled(
            verdicts={index: Verdict(**orjson.loads(each)) for index, each in found.items()},
            calls=len(rows),
            tokens=sum(each["prompt_tokens"] + each["completion_tokens"] for each in spent),
            complete=judged is not None,
            noise=(
                JudgeNoise.from_json(orjson.loads(judged.noise))
                if judged is not None and judged.noise
                else None
            ),
        )

    async def past_groups(self, judge_key: str, limit: int) -> list[PastGroup]:
        """What the most recent groups told about a judge, oldest first: at most `limit` of those
        that tell its noise, and as many of the others."""

        def read() -> list[bytes]:
            kinds = (False, True)
            find = self._database.past_groups
            return [past for kind in kinds for past in find(judge_key, limit, tells_noise=kind)]

        return [PastGroup(**orjson.loads(past)) for past in await self._in_thread(read)]

    def add_judged(
        self, key: str, judge_key: str, past: PastGroup, noise: JudgeNoise | None
    ) -> None:
        """Queue what a group, judged to the end, told about its judge."""
        row = {
            "key": key,
            "judge_key": judge_key,
            "tells_noise": past.tells_noise,
            "created_at": time.time(),
            "past": orjson.dumps(past),
            "noise": orjson.dumps(noise.to_json()) if noise else None,
        }
        self._put(_Write({JUDGED: [row]}, key, None, (key,)))

    def add_call(self, key: str, pass_index: int, judge: str, call: Call, usage: Usage) -> None:
        """Queue one judge call. It is durable before any ranking added later."""
        blobs: dict[bytes, bytes] = {}
        messages = [
            [role, [_stored_part(part, blobs) for part in parts]]
            for role, parts in call.prompt.messages
        ]
        row = {
            "id": uuid4().hex,
            "key": key,
            "pass_index": pass_index,
            "created_at": time.time(),
            "judge": judge,
            "model": call.reply.model.replace("\0", ""),
            "prompt": orjson.dumps(messages),
            "reply": call.reply.text.encode(errors="replace"),
            "finish_reason": str(call.reply.finish_reason).replace("\0", ""),
            "verdict": orjson.dumps(call.verdict) if call.verdict else None,
            "fault": call.fault.encode(errors="replace") if call.fault else None,
            "usage": usage.model_dump_json().encode(),
            "latency_s": call.latency_s,
        }
        shown = [{"call_id": row["id"], "hash": hash_} for hash_ in blobs]
        contents = [{"hash": hash_, "content": content} for hash_, content in blobs.items()]
        self._put(_Write({BLOBS: contents, CALLS: [row], CALL_BLOBS: shown}, key, pass_index))

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
        write = _Write({RANKINGS: [row]}, key, None, tuple(rests_on) or (key,))
        self._put(write)
        await write.done

    async def flush(self) -> None:
        """Return once all that was queued is committed, or known to be lost."""
        write = _Write({}, "", None)
        self._put(write)
        with suppress(StoreUnavailable):
            await write.done

    async def ranking(self, ranking_id: str) -> dict[str, Any] | None:
        """A past answer, what was asked (without texts), and its content key."""
        row = await self._in_thread(lambda: self._database.ranking(ranking_id))
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

    async def calls(self, key: str) -> list[dict[str, Any]]:
        """All calls for a content key, oldest first, with exact prompts and replies."""
        rows, blobs = await self._in_thread(lambda: self._database.calls(key))
        return [_call_record(row, blobs) for row in rows]

    async def prune(self, older_than_s: float) -> dict[str, int]:
        """Delete what is older, and the texts that nothing shows any more; counts by table."""
        before = time.time() - older_than_s
        return await self._in_thread(lambda: self._database.prune(before))

    async def ping(self) -> None:
        """Raises StoreUnavailable unless the database answers and writes are taken."""
        if self._closed:
            raise StoreUnavailable("the store is closed: restart the service")
        await self._in_thread(self._database.ping)

    async def run_writer(self) -> None:
        """Commit queued writes, all that are waiting in one transaction, until `None` comes."""
        closing = False
        try:
            while not closing:
                writes = [await self._queue.get()]
                while not self._queue.empty():
                    writes.append(self._queue.get_nowait())
                closing = None in writes
                await self._commit([write for write in writes if write])
        finally:
            self._closed = True

    def stop_writer(self) -> None:
        self._queue.put_nowait(None)

    def _put(self, write: _Write) -> None:
        write.done.add_done_callback(_retrieved)
        if self._closed:
            write.done.set_exception(StoreUnavailable("the store is closed: restart the service"))
        self._queue.put_nowait(write)

    async def _commit(self, writes: Sequence[_Write]) -> None:
        """Commit all writes, but for rankings whose calls were lost in an earlier commit."""
        calls = {(write.key, write.pass_index) for write in writes if write.pass_index is not None}
        lost_keys = {key for key, _ in self._lost - calls}
        orphans = [each for each in writes if lost_keys.intersection(each.rests_on)]
        kept = [write for write in writes if write not in orphans]
        failure: StoreUnavailable | None = None
        try:
            await self._in_thread(lambda: self._database.insert(_together(kept)))
            self._lost -= calls
        except StoreUnavailable as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - the writer must outlive any one write
            failure = StoreUnavailable(f"the store cannot write ({one_line(error)})")
        if failure:
            self._lost |= calls
            log.error("store_write_failed", writes=len(writes), detail=str(failure))
        _settle(kept, failure)
        _settle(orphans, StoreUnavailable("verdicts could not be written: ask again"))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (sa.exc.SQLAlchemyError, OSError) as error:
            raise StoreUnavailable(
                f"the store does not answer ({one_line(error)}): check its disk and its server"
            ) from error


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[SQLStore]:
    """Open (and make, if need be) the store at a database URL, and close it with all written.

    Raises:
        ConfigError: If the URL is none, or the database cannot be opened.
    """
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="store") as threads:
        database = await asyncio.get_running_loop().run_in_executor(threads, Database, url)
        store = SQLStore(database, threads)
        writer = asyncio.create_task(store.run_writer())
        try:
            yield store
        finally:
            store.stop_writer()
            try:
                await writer
            finally:
                database.close()


def _settle(writes: Sequence[_Write], failure: StoreUnavailable | None) -> None:
    for write in writes:
        if write.done.done():  # its waiter was cancelled
            continue
        if failure:
            write.done.set_exception(failure)
        else:
            write.done.set_result(None)


def _together(writes: Sequence[_Write]) -> Rows:
    """The rows of all writes, by table; a table without rows is left out."""
    rows: Rows = {}
    for write in writes:
        for table, some in write.rows.items():
            if some:
                rows.setdefault(table, []).extend(some)
    return rows


def _stored_part(part: str, blobs: dict[bytes, bytes]) -> str | dict[str, str]:
    if len(part) <= _BLOB_CHARS:
        return part
    content = part.encode()
    digest = sha256(content)
    blobs[digest.digest()] = content
    return {"blob": digest.hexdigest()}


def _call_record(row: sa.Row[Any], blobs: dict[bytes, bytes]) -> dict[str, Any]:
    messages = [
        {"role": role, "content": "".join(_part_text(part, blobs) for part in parts)}
        for role, parts in orjson.loads(row.prompt)
    ]
    return {
        "pass_index": row.pass_index,
        "created_at": row.created_at,
        "judge": row.judge,
        "model": row.model,
        "messages": messages,
        "reply": row.reply.decode(),
        "finish_reason": row.finish_reason,
        "verdict": orjson.loads(row.verdict) if row.verdict else None,
        "fault": row.fault.decode() if row.fault else None,
        "usage": orjson.loads(row.usage),
        "latency_s": row.latency_s,
    }


def _part_text(part: str | dict[str, str], blobs: dict[bytes, bytes]) -> str:
    return part if isinstance(part, str) else blobs[bytes.fromhex(part["blob"])].decode()


def _retrieved(future: asyncio.Future[None]) -> None:
    """Mark a failure as seen: `_commit` has logged it, and calls are written without a waiter."""
    if not future.cancelled():
        future.exception()
