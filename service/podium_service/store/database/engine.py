"""Open a SQLAlchemy engine for a store's URL: SQLite by a file's path, or PostgreSQL."""

import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from podium_service.errors import ConfigError

# Pages of a new file are larger than SQLite's default, because texts are long and each page is one
# write.
_SQLITE_PRAGMAS = ("page_size=16384", "journal_mode=WAL", "synchronous=FULL")
_BUSY_S = 10.0
_POLL_S = 0.01
# How long a PostgreSQL server may be silent: seconds to connect, milliseconds to acknowledge.
_POSTGRES_TIMEOUTS = {"connect_timeout": 10, "tcp_user_timeout": 20_000}
_IDLE_MS = 10_000
_POOL_SIZE = 16
_POSTGRES_DRIVER = "postgresql+psycopg"
_FORMS = "the store's URL must be a file's path, sqlite:///FILE or postgresql://HOST/NAME"


def open_engine(url: str) -> sa.Engine:
    """Return an engine for a file's path, `sqlite:///` or `postgresql://`, not yet connected.

    Raises:
        ConfigError: If `url` is none of these, or names a database in memory.
    """
    try:
        return _create_engine(_parse_url(url))
    except (sa.exc.SQLAlchemyError, ImportError, ValueError, TypeError) as error:
        raise ConfigError(f"{_FORMS}: {one_line(error)}") from error


def sqlite_file(url: sa.URL) -> Path:
    """Return the file of a SQLite store; with `uri=true` it may be written as `file:FILE`."""
    name = url.database or ""
    return Path(name.removeprefix("file:") if "uri" in url.query else name)


def without_secrets(url: sa.URL) -> str:
    """Return a store's file, or its URL with the passwords hidden or left out."""
    if url.get_backend_name() == "sqlite":
        return url.database or ""
    secret = [name for name in url.query if "password" in name.lower()]
    return url.difference_update_query(secret).render_as_string(hide_password=True)


def one_line(error: Exception) -> str:
    """Return the driver's message in one line, without the statement and its values."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())}"[:300]


def _parse_url(text: str) -> sa.URL:
    if "://" not in text:
        if text.startswith(("sqlite:", "postgres:", "postgresql:")):
            # Only a SQLite URL is repeated, because another one may hold a password.
            file = text.removeprefix("sqlite:").lstrip("/") if text.startswith("sqlite:") else ""
            raise ConfigError(
                f"{_FORMS}: " + (f"write sqlite:///{file}" if file else "// is missing")
            )
        text = f"sqlite:///{text}"
    url = sa.make_url(text)
    if url.get_backend_name() == "sqlite":
        _require_file(url)
    elif url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername=_POSTGRES_DRIVER)
    elif url.get_backend_name() != "postgresql":
        raise ConfigError(f"{_FORMS}, not {url.drivername}://")
    if "@" in (url.host or ""):  # the rest of the password would be shown as the host
        raise ConfigError("the store's URL has an @ in its password: write it as %40")
    return url


def _require_file(url: sa.URL) -> None:
    """Raise ConfigError for a SQLite database that is no file.

    A database in memory belongs to one connection, and its tables are missing in the next one.
    """
    if url.host:
        raise ConfigError(f"{_FORMS}: sqlite://{url.host} has two slashes instead of three")
    name = (url.database or "").removeprefix("file:")
    if not name or name.startswith(":memory:") or url.query.get("mode") == "memory":
        raise ConfigError(
            f"the store {url.database or ':memory:'} would be in memory, which the service's "
            "threads and processes cannot share: name a file, such as podium.db"
        )
    if not (folder := sqlite_file(url).parent).is_dir():
        raise ConfigError(f"the store {name} cannot be opened: the folder {folder} does not exist")


def _create_engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "postgresql":
        timeouts = {key: s for key, s in _POSTGRES_TIMEOUTS.items() if key not in url.query}
        engine = sa.create_engine(
            url, pool_size=_POOL_SIZE, pool_pre_ping=True, connect_args=timeouts
        )
        sa.event.listen(engine, "connect", _set_idle_timeout)
    else:
        # In autocommit, because a transaction that writes must begin with BEGIN IMMEDIATE.
        engine = sa.create_engine(url, pool_size=_POOL_SIZE, connect_args={"isolation_level": None})
        sa.event.listen(engine, "connect", _set_pragmas)
    return engine


def _set_idle_timeout(connection: Any, _: Any) -> None:
    """Limit idle transactions, so that a process that freezes in one releases its locks."""
    connection.execute(f"SET idle_in_transaction_session_timeout = {_IDLE_MS}")
    connection.commit()


def _set_pragmas(connection: sqlite3.Connection, _: Any) -> None:
    connection.execute(f"PRAGMA busy_timeout={1000 * _BUSY_S:.0f}")
    for pragma in _SQLITE_PRAGMAS:
        _execute_when_free(connection, f"PRAGMA {pragma}")


def _execute_when_free(connection: sqlite3.Connection, statement: str) -> None:
    """Execute a statement, and wait for other connections.

    SQLite itself does not wait where two connections change the journal of a new file at once.
    """
    end = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > end:
                raise
        time.sleep(_POLL_S)
