"""What was asked, answered and paid, kept: the cache, the audit and the replay in one database.

Writes are queued and committed in groups by one task, so that many requests share a commit. The
queue is first in, first out: once a ranking is durable, so are the verdicts it rests on.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol
from uuid import uuid4

import orjson
import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from service.errors import ConfigError, StoreUnavailable
from service.judge import Call
from service.schemas import Ranking, Usage
from service.tables import BLOBS, CALL_BLOBS, CALLS, METADATA, RANKINGS
from service.verdict import Verdict

_BLOB_CHARS = 200
_SQLITE_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=10000")

log = structlog.get_logger(__name__)


class Store(Protocol):
    """The seam to persistence; passed in by constructor."""

    async def verdicts(self, key: str) -> dict[int, Verdict]: ...

    def add_call(self, key: str, pass_index: int, judge: str, call: Call, usage: Usage) -> None: ...

    async def add_ranking(self, key: str, ranking: Ranking, request: dict[str, Any]) -> None: ...


@dataclass(slots=True)
class _Write:
    """Rows that must be committed together, by table."""

    rows: list[tuple[sa.Table, list[dict[str, Any]]]]
    done: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class SQLStore:
    """A store in SQLite or PostgreSQL; open it with `open_store`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._queue: asyncio.Queue[_Write | None] = asyncio.Queue()
        self._closed = False
        dialect = postgresql if engine.dialect.name == "postgresql" else sqlite
        self._insert = {
            table: dialect.insert(table).on_conflict_do_nothing()
            for table in METADATA.sorted_tables
        }
        self._verdicts = sa.select(CALLS.c.pass_index, CALLS.c.verdict).where(
            CALLS.c.key == sa.bindparam("key"), CALLS.c.verdict.is_not(None)
        )

    async def verdicts(self, key: str) -> dict[int, Verdict]:
        """The verdicts at hand for a content key, by pass."""
        async with self._reading() as connection:
            rows = (await connection.execute(self._verdicts, {"key": key})).all()
        return {row.pass_index: Verdict(**orjson.loads(row.verdict)) for row in rows}

    def add_call(self, key: str, pass_index: int, judge: str, call: Call, usage: Usage) -> None:
        """Queue one judge call. It is durable before any ranking added later."""
        row = {
            "id": uuid4().hex,
            "key": key,
            "pass_index": pass_index,
            "created_at": time.time(),
            "judge": judge,
            "model": call.reply.model.replace("\0", ""),
            "reply": call.reply.text.encode(errors="replace"),
            "finish_reason": str(call.reply.finish_reason).replace("\0", ""),
            "verdict": orjson.dumps(call.verdict) if call.verdict else None,
            "fault": call.fault.encode(errors="replace") if call.fault else None,
            "usage": usage.model_dump_json().encode(),
            "latency_s": call.latency_s,
        }
        blobs: dict[bytes, bytes] = {}
        messages = [
            [role, [_stored_part(part, blobs) for part in parts]]
            for role, parts in call.prompt.messages
        ]
        row["prompt"] = orjson.dumps(messages)
        self._put(
            (BLOBS, [{"hash": hash_, "content": content} for hash_, content in blobs.items()]),
            (CALLS, [row]),
            (CALL_BLOBS, [{"call_id": row["id"], "hash": hash_} for hash_ in blobs]),
        )

    async def add_ranking(self, key: str, ranking: Ranking, request: dict[str, Any]) -> None:
        """Keep an answer, and return once it and all earlier writes are durable.

        Raises:
            StoreUnavailable: If the database does not take it.
        """
        row = {
            "id": ranking.id,
            "key": key,
            "created_at": time.time(),
            "answer": ranking.model_dump_json().encode(),
            "request": orjson.dumps(request),
        }
        await self._put((RANKINGS, [row])).done

    async def ranking(self, ranking_id: str) -> dict[str, Any] | None:
        """A past answer, what was asked (without texts), and its content key."""
        async with self._reading() as connection:
            query = sa.select(RANKINGS).where(RANKINGS.c.id == ranking_id)
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            return None
        return {
            "key": row.key,
            "created_at": row.created_at,
            "answer": orjson.loads(row.answer),
            "request": orjson.loads(row.request),
        }

    async def calls(self, key: str) -> list[dict[str, Any]]:
        """All calls for a content key, oldest first, with exact prompts and replies."""
        async with self._reading() as connection:
            query = sa.select(CALLS).where(CALLS.c.key == key).order_by(CALLS.c.created_at)
            rows = (await connection.execute(query)).all()
            ids = [row.id for row in rows]
            found = (await connection.execute(_blobs_of(ids))).all()
        blobs = {row.hash: row.content for row in found}
        return [_call_record(row, blobs) for row in rows]

    async def prune(self, older_than_s: float) -> dict[str, int]:
        """Delete what is older, and the texts that nothing shows any more; counts by table."""
        before = time.time() - older_than_s
        orphaned = CALL_BLOBS.c.call_id.not_in(sa.select(CALLS.c.id))
        unused = BLOBS.c.hash.not_in(sa.select(CALL_BLOBS.c.hash))
        doomed = {
            RANKINGS: RANKINGS.c.created_at < before,
            CALLS: CALLS.c.created_at < before,
            CALL_BLOBS: orphaned,
            BLOBS: unused,
        }
        async with self._engine.begin() as connection:
            return {
                table.name: (await connection.execute(sa.delete(table).where(rule))).rowcount
                for table, rule in doomed.items()
            }

    async def ping(self) -> None:
        """Raises StoreUnavailable unless the database answers."""
        async with self._reading() as connection:
            await connection.execute(sa.select(1))

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

    def _put(self, *rows: tuple[sa.Table, list[dict[str, Any]]]) -> _Write:
        write = _Write([entry for entry in rows if entry[1]])
        write.done.add_done_callback(_retrieved)
        if self._closed:
            write.done.set_exception(StoreUnavailable("the store is closed: restart the service"))
        self._queue.put_nowait(write)
        return write

    async def _commit(self, writes: Sequence[_Write]) -> None:
        try:
            async with self._engine.begin() as connection:
                await self._insert_all(connection, writes)
        except (sa.exc.SQLAlchemyError, OSError) as error:
            log.error("store_write_failed", writes=len(writes), detail=_one_line(error))
            failure: StoreUnavailable | None = _unavailable(error)
        else:
            failure = None
        for write in writes:
            if write.done.done():  # its waiter was cancelled
                continue
            if failure:
                write.done.set_exception(failure)
            else:
                write.done.set_result(None)

    async def _insert_all(self, connection: AsyncConnection, writes: Sequence[_Write]) -> None:
        by_table: dict[sa.Table, list[dict[str, Any]]] = {}
        for write in writes:
            for table, rows in write.rows:
                by_table.setdefault(table, []).extend(rows)
        for table, rows in by_table.items():
            await connection.execute(self._insert[table], rows)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.connect() as connection:
                yield connection
        except (sa.exc.SQLAlchemyError, OSError) as error:
            raise _unavailable(error) from error


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[SQLStore]:
    """Open (and make, if need be) the store at a database URL, and close it with all written.

    Raises:
        ConfigError: If the URL is none, or the database cannot be opened.
    """
    engine = _engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(METADATA.create_all)
    except (sa.exc.SQLAlchemyError, OSError) as error:
        await engine.dispose()
        shown = engine.url.render_as_string(hide_password=True)
        raise ConfigError(f"the store {shown} cannot be opened: {_one_line(error)}") from error
    store = SQLStore(engine)
    writer = asyncio.create_task(store.run_writer())
    try:
        yield store
    finally:
        store.stop_writer()
        try:
            await writer
        finally:
            await engine.dispose()


def _engine(url: str) -> AsyncEngine:
    """Plain `sqlite://` and `postgresql://` URLs, or a path, with the async drivers put in."""
    if "://" not in url:
        url = f"sqlite:///{url}"
    for plain, driver in (
        ("sqlite:", "sqlite+aiosqlite:"),
        ("postgresql:", "postgresql+asyncpg:"),
        ("postgres:", "postgresql+asyncpg:"),
    ):
        if url.startswith(plain):
            url = driver + url.removeprefix(plain)
    try:
        engine = create_async_engine(url)
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ValueError) as error:
        raise ConfigError(
            "the store's URL must be a file's path, sqlite:///FILE or postgresql://HOST/NAME: "
            f"{_one_line(error)}"
        ) from error
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine.sync_engine, "connect", _set_pragmas)
    return engine


def _set_pragmas(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    for pragma in _SQLITE_PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _stored_part(part: str, blobs: dict[bytes, bytes]) -> str | dict[str, str]:
    if len(part) <= _BLOB_CHARS:
        return part
    content = part.encode()
    digest = sha256(content)
    blobs[digest.digest()] = content
    return {"blob": digest.hexdigest()}


def _blobs_of(call_ids: Sequence[str]) -> sa.Select[tuple[bytes, bytes]]:
    shown = sa.select(CALL_BLOBS.c.hash).where(CALL_BLOBS.c.call_id.in_(call_ids))
    return sa.select(BLOBS.c.hash, BLOBS.c.content).where(BLOBS.c.hash.in_(shown))


def _call_record(row: Any, blobs: dict[bytes, bytes]) -> dict[str, Any]:
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


def _unavailable(error: Exception) -> StoreUnavailable:
    return StoreUnavailable(f"the store does not answer ({_one_line(error)}): check its disk")


def _one_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())}"[:300]


def _retrieved(future: asyncio.Future[None]) -> None:
    """Mark a failure as seen: `_commit` has logged it, and calls are written without a waiter."""
    if not future.cancelled():
        future.exception()
