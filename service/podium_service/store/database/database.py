"""Run the store's statements, in SQLite or PostgreSQL: rows in, rows out.

All is synchronous but `Database.run`, which runs such work in a thread.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from podium_service.errors import ConfigError, StoreUnavailable
from podium_service.store.database.engine import one_line, open_engine, sqlite_file, without_secrets
from podium_service.store.database.tables import (
    CALLS,
    METADATA,
    PAST_GROUPS,
    TEXTS,
    TEXTS_LOCK,
    TOUCH_S,
    TRANSCRIPTS,
)

_MIGRATION_S = 3600
_TABLES_LOCK = 0x706F6469756D  # PostgreSQL's advisory lock of the process that creates the tables

Row = dict[str, Any]
Rows = dict[sa.Table, list[Row]]
T = TypeVar("T")

# One statement, which sees one moment, because a prune may delete calls and past groups in between.
_READ_KEYS = (
    sa.select(
        CALLS.c.key,
        CALLS.c.pass_index,
        CALLS.c.verdict,
        CALLS.c.usage,
        PAST_GROUPS.c.key.is_not(None),
        PAST_GROUPS.c.noise,
    )
    .join_from(CALLS, PAST_GROUPS, PAST_GROUPS.c.key == CALLS.c.key, isouter=True)
    .where(CALLS.c.key.in_(sa.bindparam("keys", expanding=True)))
    .order_by(CALLS.c.created_at.desc(), CALLS.c.id)
)


class CommitUnsure(sa.exc.SQLAlchemyError):
    """A commit failed, and may have gone through nevertheless."""


@dataclass(slots=True)
class KeyRows:
    """The rows of one content key: pass, verdict and usage of each call, newest first."""

    calls: list[tuple[int, bytes | None, bytes]] = field(default_factory=list)
    complete: bool = False
    noise: bytes | None = None


def require_store(url: str) -> None:
    """Raise ConfigError unless there is a store: a command that only reads must not create one."""
    engine = open_engine(url)
    shown = without_secrets(engine.url)
    missing = ConfigError(f"the store {shown} does not exist: see --store, PODIUM_STORE")
    if engine.dialect.name == "sqlite" and not sqlite_file(engine.url).exists():
        raise missing
    try:
        tables = set(sa.inspect(engine).get_table_names())
    except (sa.exc.SQLAlchemyError, OSError) as error:
        raise ConfigError(f"the store {shown} cannot be opened: {one_line(error)}") from error
    finally:
        engine.dispose()
    if tables.isdisjoint(METADATA.tables):
        raise missing


class Database:
    """One database; `run` runs in `threads`, or in the event loop's own.

    Open it with `migrations.schema.open_database`, which prepares its tables.

    Raises:
        ConfigError: If the URL is none.
    """

    def __init__(self, url: str, threads: Executor | None = None) -> None:
        self._engine = open_engine(url)
        self._threads = threads
        self.is_postgres = self._engine.dialect.name == "postgresql"
        # Threads of this process wait here; other processes poll SQLite's own lock.
        self._write_lock = nullcontext() if self.is_postgres else Lock()
        self._inserts = {
            table: self.insert_into(table).on_conflict_do_nothing()
            for table in METADATA.sorted_tables
        }
        self._inserts[TRANSCRIPTS] = self._insert_or_touch()

    async def run(self, work: Callable[[], T]) -> T:
        """Return the result of `work`, which runs in a thread.

        Raises:
            StoreUnavailable: If the database does not answer.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (sa.exc.SQLAlchemyError, OSError) as error:
            raise StoreUnavailable(
                f"the store does not answer ({one_line(error)}): check its disk and its server"
            ) from error

    @property
    def now(self) -> sa.ColumnElement[float]:
        """Seconds since the epoch by the one clock that all processes share."""
        if self.is_postgres:
            return sa.extract("epoch", sa.func.clock_timestamp()).cast(sa.Double)
        return (sa.func.julianday("now", type_=sa.Double) - 2440587.5) * 86400.0

    def insert_into(self, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
        """Return an insert that can say what to do about a row that is there."""
        return postgresql.insert(table) if self.is_postgres else sqlite.insert(table)

    def reading(self) -> sa.Connection:
        """Return a connection to read with, to be used as a context; it waits for no writer."""
        return self._engine.connect()

    @contextmanager
    def reading_snapshot(self) -> Iterator[sa.Connection]:
        """Open a connection that sees the database as it was at its first statement."""
        with self.reading() as connection:
            if self.is_postgres:
                connection.execution_options(isolation_level="REPEATABLE READ")
            else:
                connection.exec_driver_sql("BEGIN")
            yield connection

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[sa.Connection]:
        """Open a transaction that may read before it writes: in SQLite it is the only writer.

        Args:
            durable: whether it must outlast a loss of power. In SQLite others need not wait for
                the disk; the database is whole nevertheless.

        Raises:
            CommitUnsure: If the commit failed; any other error has left no trace.
        """
        with self._write_lock, self._engine.connect() as connection:
            if not self.is_postgres:
                level = "FULL" if durable else "NORMAL"  # said each time, because it stays
                connection.exec_driver_sql(f"PRAGMA synchronous={level}")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            try:
                connection.commit()
            except sa.exc.SQLAlchemyError as error:
                raise CommitUnsure(one_line(error)) from error

    def insert(self, connection: sa.Connection, rows: Mapping[sa.Table, Sequence[Row]]) -> None:
        """Insert all rows but those whose primary key is there already."""
        if self.is_postgres and rows.get(TEXTS):
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock_shared(TEXTS_LOCK)))
        for table, some in rows.items():
            connection.execute(self._inserts[table], some)

    def _insert_or_touch(self) -> postgresql.Insert | sqlite.Insert:
        """Insert transcripts; those that are there are needed until later, to within an hour.

        A row is rewritten once an hour at most, because it is large.
        """
        insert = self.insert_into(TRANSCRIPTS)
        used_at = insert.excluded.used_at
        return insert.on_conflict_do_update(
            index_elements=[TRANSCRIPTS.c.key],
            set_={"used_at": used_at},
            where=TRANSCRIPTS.c.used_at < used_at - TOUCH_S,
        )

    def read_keys(self, connection: sa.Connection, keys: Iterable[str]) -> dict[str, KeyRows]:
        """Return the rows of each content key, as of one moment."""
        rows_by_key = {key: KeyRows() for key in keys}
        rows = connection.execute(_READ_KEYS, {"keys": list(rows_by_key)})
        for key, pass_index, verdict, usage, complete, noise in rows:
            each = rows_by_key[key]
            each.calls.append((pass_index, verdict, usage))
            each.complete, each.noise = complete, noise
        return rows_by_key

    def read_past_groups(self, judge_key: str, limit: int) -> list[bytes]:
        """Return what the most recent groups told about a judge, oldest first.

        These are at most `limit` groups that do not tell the judge's noise, then as many that do.
        """
        newest = (
            sa.select(PAST_GROUPS.c.past)
            .where(PAST_GROUPS.c.judge_key == judge_key)
            .order_by(PAST_GROUPS.c.created_at.desc())
            .limit(limit)
        )
        pasts: list[bytes] = []
        for has_residuals in (False, True):
            rows = self.select(newest.where(PAST_GROUPS.c.has_residuals == has_residuals))
            pasts += [row.past for row in reversed(rows)]
        return pasts

    def read_calls(self, key: str) -> tuple[Sequence[sa.Row[Any]], dict[bytes, bytes]]:
        """Return the calls for a content key, oldest first, and their texts by hash."""
        with self.reading_snapshot() as connection:
            query = sa.select(CALLS).where(CALLS.c.key == key).order_by(CALLS.c.created_at)
            rows = connection.execute(query).all()
            texts = connection.execute(sa.select(TEXTS).where(TEXTS.c.key == key))
            return rows, {row.hash: row.content for row in texts}

    def select(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """Return all rows of a query."""
        with self.reading() as connection:
            return connection.execute(query).all()

    @property
    def shown(self) -> str:
        """The file or the URL, without passwords."""
        return without_secrets(self._engine.url)

    def close(self) -> None:
        """Close the pooled connections."""
        self._engine.dispose()

    @contextmanager
    def writing_alone(self) -> Iterator[sa.Connection]:
        """Open a transaction that has the tables alone; others wait for it, minutes if need be."""
        with self._engine.connect() as connection:
            if self.is_postgres:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_TABLES_LOCK)))
            else:
                connection.exec_driver_sql(f"PRAGMA busy_timeout={1000 * _MIGRATION_S}")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.commit()
            finally:
                connection.invalidate()  # the pool must not keep its settings
