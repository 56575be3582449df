"""The store's statements, synchronous: rows in, rows out, in SQLite or PostgreSQL."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from threading import Lock
from typing import Any, TypeVar

import orjson
import sqlalchemy as sa

from podium_service.errors import ConfigError
from podium_service.store.database.tables import (
    CALLS,
    METADATA,
    PAST_GROUPS,
    RANKINGS,
    TEXTS,
    TEXTS_LOCK,
)

# Larger pages than usual, of a new file: texts are long, and each page is a write of its own.
_SQLITE_PRAGMAS = (
    "busy_timeout=10000",
    "page_size=16384",
    "journal_mode=WAL",
    "synchronous=FULL",
)
_MAKING_TABLES = 0x706F6469756D  # the advisory lock of those who start on an empty PostgreSQL
_MOST_ROWS = 128
_PATIENCE = {"connect_timeout": 10, "tcp_user_timeout": 20_000}  # s, ms; with a PostgreSQL server
_IDLE_MS = 10_000
_DRIVERS = {
    "postgres:": "postgresql+psycopg:",
    "postgresql:": "postgresql+psycopg:",
}

Row = dict[str, Any]
T = TypeVar("T")


class CommitUnsure(sa.exc.SQLAlchemyError):
    """A commit failed, and may have gone through nevertheless."""


@dataclass(slots=True)
class Found:
    """What is there of a content key.

    Attributes:
        calls: pass, verdict and usage of each, newest first.
        complete: whether all verdicts that were wanted are there.
        noise: what was assumed of the judge then.
    """

    calls: list[tuple[int, bytes | None, bytes]] = field(default_factory=list)
    complete: bool = False
    noise: bytes | None = None


class Database:
    """One database, its tables made.

    Raises:
        ConfigError: From the constructor, if the URL is none or the database cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        self.is_postgres = self._engine.dialect.name == "postgresql"
        # What goes wrong with a cursor of the driver's comes as the driver has it.
        self.failures = (sa.exc.SQLAlchemyError, OSError, self._engine.dialect.loaded_dbapi.Error)
        # The threads of one process queue here; those of others poll SQLite's own lock.
        self._turn = nullcontext() if self.is_postgres else Lock()
        try:
            self._make_tables()
        except (sa.exc.SQLAlchemyError, OSError) as error:
            self.close()
            shown = without_secrets(self._engine.url)
            raise ConfigError(f"the store {shown} cannot be opened: {one_line(error)}") from error
        self._insert: dict[tuple[sa.Table, int], str] = {}
        # Seconds since the epoch by the one clock that all processes share.
        self.clock = (
            "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"
            if self.is_postgres
            else "((julianday('now') - 2440587.5) * 86400.0)"
        )
        # One statement, hence one moment: a prune may delete both meanwhile.
        self._recall = self.sql(
            "SELECT calls.key, pass_index, verdict, usage, judged.key IS NOT NULL, noise "
            "FROM calls LEFT JOIN judged ON judged.key = calls.key "
            "WHERE calls.key IN (SELECT value FROM {values}) ORDER BY calls.created_at DESC, id"
        )

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction that may read before it writes: in SQLite nobody else writes meanwhile.

        Raises:
            CommitUnsure: If the commit failed; anything else that is raised has left no trace.
        """
        with self._turn, self._engine.connect() as connection:
            connection.begin()  # or what a cursor of the driver's does would not be committed
            if not self.is_postgres:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            try:
                connection.commit()
            except sa.exc.SQLAlchemyError as error:
                raise CommitUnsure(one_line(error)) from error

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        """The driver's own, to read with: each group needs one, and its statements are few."""
        connection = self._engine.raw_connection()
        try:
            yield connection.cursor()
        finally:
            connection.close()

    @contextmanager
    def writing_cursor(self) -> Iterator[Any]:
        """The driver's own in a transaction like `writing`'s."""
        with self.writing() as connection:
            yield connection.connection.cursor()

    def insert(self, cursor: Any, rows: Mapping[sa.Table, Sequence[Row]]) -> None:
        """Insert all; rows whose key is there already are left as they are."""
        if self.is_postgres and rows.get(TEXTS):
            cursor.execute(f"SELECT pg_advisory_xact_lock_shared({TEXTS_LOCK})")
        for table, some in rows.items():
            values_of = itemgetter(*(column.name for column in table.columns))
            for part in _parts(some):
                values = chain.from_iterable(map(values_of, part))
                cursor.execute(self._insert_sql(table, len(part)), tuple(values))

    def sql(self, template: str) -> str:
        """A statement in the driver's own words: {value} takes one, {values} is a table of those
        that `values` makes one argument of."""
        if self.is_postgres:
            return template.format(value="%s", values="unnest(%s::text[]) AS given (value)")
        return template.format(value="?", values="json_each(?)")

    def values(self, each: Iterable[str]) -> list[str] | str:
        return list(each) if self.is_postgres else orjson.dumps(list(each)).decode()

    def recall(self, cursor: Any, keys: Iterable[str]) -> dict[str, Found]:
        """What is there of each content key."""
        found = {key: Found() for key in keys}
        rows = cursor.execute(self._recall, (self.values(found),)).fetchall()
        for key, pass_index, verdict, usage, complete, noise in rows:
            each = found[key]
            each.calls.append((pass_index, verdict, usage))
            each.complete, each.noise = bool(complete), noise
        return found

    def past_groups(self, judge_key: str, limit: int, *, has_residuals: bool) -> list[bytes]:
        """What the most recent groups told about a judge, oldest first; of those that tell its
        noise, or of the others."""
        query = (
            sa.select(PAST_GROUPS.c.past)
            .where(
                PAST_GROUPS.c.judge_key == judge_key, PAST_GROUPS.c.has_residuals == has_residuals
            )
            .order_by(PAST_GROUPS.c.created_at.desc())
            .limit(limit)
        )
        with self.reading() as connection:
            return [row.past for row in connection.execute(query)][::-1]

    def ranking(self, ranking_id: str) -> sa.Row[Any] | None:
        with self.reading() as connection:
            query = sa.select(RANKINGS).where(RANKINGS.c.id == ranking_id)
            return connection.execute(query).one_or_none()

    def calls(self, key: str) -> tuple[Sequence[sa.Row[Any]], dict[bytes, bytes]]:
        """The calls for a content key, oldest first, and the texts that they show, by hash."""
        with self._snapshot() as connection:
            query = sa.select(CALLS).where(CALLS.c.key == key).order_by(CALLS.c.created_at)
            rows = connection.execute(query).all()
            texts = connection.execute(sa.select(TEXTS).where(TEXTS.c.key == key))
            return rows, {row.hash: row.content for row in texts}

    def transaction(self, work: Callable[[sa.Connection], T]) -> T:
        """What `work` returns; committed unless it raises."""
        with self.writing() as connection:
            return work(connection)

    def read(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        with self.reading() as connection:
            return connection.execute(query).all()

    def ping(self) -> None:
        with self.reading() as connection:
            connection.execute(sa.select(1))

    def close(self) -> None:
        self._engine.dispose()

    def reading(self) -> sa.Connection:
        """A connection to use as a context."""
        return self._engine.connect()

    @contextmanager
    def _snapshot(self) -> Iterator[sa.Connection]:
        """A connection that sees the database as it was at its first look."""
        with self.reading() as connection:
            if self.is_postgres:
                connection.execution_options(isolation_level="REPEATABLE READ")
            else:
                connection.exec_driver_sql("BEGIN")
            yield connection

    def _insert_sql(self, table: sa.Table, num: int) -> str:
        """A statement that inserts so many rows."""
        if (table, num) not in self._insert:
            names = [column.name for column in table.columns]
            row = f"({', '.join(['{value}'] * len(names))})"
            self._insert[table, num] = self.sql(
                f"INSERT INTO {table.name} ({', '.join(names)}) VALUES {', '.join([row] * num)} "
                "ON CONFLICT DO NOTHING"
            )
        return self._insert[table, num]

    def _make_tables(self) -> None:
        """Make what is missing; several processes may start on an empty database at once."""
        if METADATA.tables.keys() <= set(sa.inspect(self._engine).get_table_names()):
            return
        with self.writing() as connection:
            if self.is_postgres:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MAKING_TABLES)))
            METADATA.create_all(connection)


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Cut into few sizes: a statement a part, and not many different ones. With a statement a row,
    the thread would give up the interpreter for each, and wait for the event loop's to let go."""
    start = 0
    while left := len(rows) - start:
        size = min(_MOST_ROWS, 1 << (left.bit_length() - 1))
        yield rows[start : start + size]
        start += size


def open_engine(url: str) -> sa.Engine:
    """An engine for a file's path, `sqlite://` or `postgresql://`; nothing is connected yet.

    Raises:
        ConfigError: If `url` is none of these.
    """
    if "://" not in url:
        url = f"sqlite:///{url}"
    for plain, driver in _DRIVERS.items():
        if url.startswith(plain):
            url = driver + url.removeprefix(plain)
    try:
        engine = _engine(sa.make_url(url))
    except (sa.exc.SQLAlchemyError, ImportError, ValueError, TypeError) as error:
        raise ConfigError(
            "the store's URL must be a file's path, sqlite:///FILE or postgresql://HOST/NAME: "
            f"{one_line(error)}"
        ) from error
    if "@" in (engine.url.host or ""):  # it would be shown as a part of the host
        raise ConfigError("the store's URL has an @ in its password: write it as %40")
    return engine


def without_secrets(url: sa.URL) -> str:
    """A store's URL as it may be shown."""
    secret = [name for name in url.query if "password" in name.lower()]
    return url.difference_update_query(secret).render_as_string(hide_password=True)


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "postgresql":
        patience = {key: value for key, value in _PATIENCE.items() if key not in url.query}
        engine = sa.create_engine(url, pool_size=16, pool_pre_ping=True, connect_args=patience)
        sa.event.listen(engine, "connect", _set_idle_timeout)
        return engine
    # In autocommit, that is: transactions begin where we say so.
    engine = sa.create_engine(url, pool_size=16, connect_args={"isolation_level": None})
    sa.event.listen(engine, "connect", _set_pragmas)
    return engine


def one_line(error: Exception) -> str:
    """What the driver said, without the statement and its values."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())}"[:300]


def _set_idle_timeout(connection: Any, _: Any) -> None:
    """Whoever freezes in a transaction, or vanishes with its machine, gives its locks back."""
    connection.execute(f"SET idle_in_transaction_session_timeout = {_IDLE_MS}")
    connection.commit()


def _set_pragmas(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    for pragma in _SQLITE_PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
