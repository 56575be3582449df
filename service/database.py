"""The store's statements, synchronous: rows in, rows out, in SQLite or PostgreSQL."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from operator import itemgetter
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import orjson
import sqlalchemy as sa

from service.errors import ConfigError
from service.tables import BLOBS, CALL_BLOBS, CALLS, JUDGED, METADATA, RANKINGS

# Larger pages than usual, of a new file: texts are long, and each page is a write of its own.
_SQLITE_PRAGMAS = (
    "busy_timeout=10000",
    "page_size=16384",
    "journal_mode=WAL",
    "synchronous=NORMAL",
)
_MAKING_TABLES = 0x706F6469756D  # the advisory lock of those who start on an empty PostgreSQL
_PATIENCE = {"connect_timeout": 10, "tcp_user_timeout": 20_000}  # s, ms; with a PostgreSQL server
_DRIVERS = {
    "postgres:": "postgresql+psycopg:",
    "postgresql:": "postgresql+psycopg:",
}

Row = dict[str, Any]
T = TypeVar("T")


class CommitUnsure(sa.exc.SQLAlchemyError):
    """A commit failed, and may have gone through nevertheless."""


class Found(NamedTuple):
    """What is there of a content key: pass, verdict and usage of each call, newest first; whether
    all verdicts that were wanted are there, and what was assumed of the judge then."""

    calls: list[tuple[int, bytes | None, bytes]]
    complete: bool
    noise: bytes | None


class Database:
    """One database, its tables made.

    Raises:
        ConfigError: From the constructor, if the URL is none or the database cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        self.is_postgres = self._engine.dialect.name == "postgresql"
        # The threads of one process queue here; those of others poll SQLite's own lock.
        self._turn = nullcontext() if self.is_postgres else Lock()
        try:
            self._make_tables()
        except (sa.exc.SQLAlchemyError, OSError) as error:
            self.close()
            shown = self._engine.url.render_as_string(hide_password=True)
            raise ConfigError(f"the store {shown} cannot be opened: {one_line(error)}") from error
        self._insert = {table: self._insert_sql(table) for table in METADATA.sorted_tables}
        # Seconds since the epoch by the one clock that all processes share.
        self.clock: sa.ColumnElement[float] = (
            sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double)
            if self.is_postgres
            else (sa.func.julianday("now", type_=sa.Double) - sa.literal(2440587.5)) * 86400.0
        )
        self._calls = self.sql(
            "SELECT key, pass_index, verdict, usage FROM calls "
            "WHERE key IN (SELECT value FROM {values}) ORDER BY created_at DESC, id"
        )
        self._judged = self.sql(
            "SELECT key, noise FROM judged WHERE key IN (SELECT value FROM {values})"
        )

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction that may read before it writes: in SQLite nobody else writes meanwhile.

        Raises:
            CommitUnsure: If the commit failed; anything else that is raised has left no trace.
        """
        with self._turn, self._engine.connect() as connection:
            if not self.is_postgres:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            try:
                connection.commit()
            except sa.exc.SQLAlchemyError as error:
                raise CommitUnsure(one_line(error)) from error

    def insert(self, connection: sa.Connection, rows: Mapping[sa.Table, Sequence[Row]]) -> None:
        """Insert all; rows whose key is there already are left as they are."""
        for table, some in rows.items():
            values_of = itemgetter(*(column.name for column in table.columns))
            connection.exec_driver_sql(self._insert[table], [values_of(row) for row in some])

    def sql(self, template: str) -> str:
        """A statement in the driver's own words: {value} takes one, {values} is a table of those
        that `values` makes one argument of."""
        if self.is_postgres:
            return template.format(value="%s", values="unnest(%s::text[]) AS given (value)")
        return template.format(value="?", values="json_each(?)")

    def values(self, each: Iterable[str]) -> list[str] | str:
        return list(each) if self.is_postgres else orjson.dumps(list(each)).decode()

    def recall(self, keys: Sequence[str]) -> list[Found]:
        """What is there of each content key."""
        calls: dict[str, list[tuple[int, bytes | None, bytes]]] = {key: [] for key in keys}
        values = (self.values(calls),)
        with self.reading() as connection:
            # In this order: who was judged to the end, had all its calls written before.
            judged = connection.exec_driver_sql(self._judged, values).all()
            for key, *call in connection.exec_driver_sql(self._calls, values):
                calls[key].append(tuple(call))
        noise = dict(tuple(row) for row in judged)
        return [Found(calls[key], key in noise, noise.get(key)) for key in keys]

    def past_groups(self, judge_key: str, limit: int, *, tells_noise: bool) -> list[bytes]:
        """What the most recent groups told about a judge, oldest first; of those that tell its
        noise, or of the others."""
        query = (
            sa.select(JUDGED.c.past)
            .where(JUDGED.c.judge_key == judge_key, JUDGED.c.tells_noise == tells_noise)
            .order_by(JUDGED.c.created_at.desc())
            .limit(limit)
        )
        with self.reading() as connection:
            return [row.past for row in connection.execute(query)][::-1]

    def ranking(self, ranking_id: str) -> sa.Row[Any] | None:
        with self.reading() as connection:
            query = sa.select(RANKINGS).where(RANKINGS.c.id == ranking_id)
            return connection.execute(query).one_or_none()

    def calls(self, key: str) -> tuple[Sequence[sa.Row[Any]], dict[bytes, bytes]]:
        """The calls for a content key, oldest first, and the blobs that they show, by hash."""
        with self.reading() as connection:
            query = sa.select(CALLS).where(CALLS.c.key == key).order_by(CALLS.c.created_at)
            rows = connection.execute(query).all()
            shown = sa.select(CALL_BLOBS.c.hash).where(
                CALL_BLOBS.c.call_id.in_([row.id for row in rows])
            )
            blobs = sa.select(BLOBS.c.hash, BLOBS.c.content).where(BLOBS.c.hash.in_(shown))
            return rows, {row.hash: row.content for row in connection.execute(blobs)}

    def prune(self, before: float) -> dict[str, int]:
        """Delete what was made before a moment (seconds since the epoch), and blobs left over."""
        old_keys = sa.select(CALLS.c.key).where(CALLS.c.created_at < before)
        doomed = {
            # Those without their calls, too: the same content is judged anew under the same id.
            RANKINGS: sa.or_(RANKINGS.c.created_at < before, RANKINGS.c.key.in_(old_keys)),
            JUDGED: sa.or_(JUDGED.c.created_at < before, JUDGED.c.key.in_(old_keys)),
            CALLS: CALLS.c.created_at < before,
            CALL_BLOBS: CALL_BLOBS.c.call_id.not_in(sa.select(CALLS.c.id)),
            BLOBS: BLOBS.c.hash.not_in(sa.select(CALL_BLOBS.c.hash)),
        }
        with self.writing() as connection:
            return {
                str(table.name): connection.execute(sa.delete(table).where(rule)).rowcount
                for table, rule in doomed.items()
            }

    def transaction(self, work: Callable[[sa.Connection], T]) -> T:
        """What `work` returns; committed unless it raises."""
        with self.writing() as connection:
            return work(connection)

    def ping(self) -> None:
        with self.reading() as connection:
            connection.execute(sa.select(1))

    def close(self) -> None:
        self._engine.dispose()

    def reading(self) -> sa.Connection:
        """A connection to use as a context."""
        return self._engine.connect()

    def _insert_sql(self, table: sa.Table) -> str:
        names = [column.name for column in table.columns]
        values = ", ".join(["{value}"] * len(names))
        return self.sql(
            f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({values}) "
            "ON CONFLICT DO NOTHING"
        )

    def _make_tables(self) -> None:
        """Make what is missing; several processes may start on an empty database at once."""
        with self.writing() as connection:
            if self.is_postgres:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MAKING_TABLES)))
            METADATA.create_all(connection)


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
    return engine


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "postgresql":
        patience = {key: value for key, value in _PATIENCE.items() if key not in url.query}
        return sa.create_engine(url, pool_size=16, pool_pre_ping=True, connect_args=patience)
    # In autocommit, that is: transactions begin where we say so.
    engine = sa.create_engine(url, pool_size=16, connect_args={"isolation_level": None})
    sa.event.listen(engine, "connect", _set_pragmas)
    return engine


def one_line(error: Exception) -> str:
    """What the driver said, without the statement and its values."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())}"[:300]


def _set_pragmas(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    for pragma in _SQLITE_PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
