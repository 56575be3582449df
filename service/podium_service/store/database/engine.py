"""Open a SQLAlchemy engine for a store's URL: SQLite by a file's path, or PostgreSQL."""

from typing import Any

import sqlalchemy as sa

from podium_service.errors import ConfigError

# Pages of a new file are larger than SQLite's default, because texts are long and each page is one
# write.
_SQLITE_PRAGMAS = (
    "busy_timeout=10000",
    "page_size=16384",
    "journal_mode=WAL",
    "synchronous=FULL",
)
# How long a PostgreSQL server may be silent: seconds to connect, milliseconds to acknowledge.
_POSTGRES_TIMEOUTS = {"connect_timeout": 10, "tcp_user_timeout": 20_000}
_IDLE_MS = 10_000
_POOL_SIZE = 16
_DRIVERS = {
    "postgres:": "postgresql+psycopg:",
    "postgresql:": "postgresql+psycopg:",
}


def open_engine(url: str) -> sa.Engine:
    """Return an engine for a file's path, `sqlite://` or `postgresql://`, not yet connected.

    Raises:
        ConfigError: If `url` is none of these.
    """
    if "://" not in url:
        url = f"sqlite:///{url}"
    for plain, driver in _DRIVERS.items():
        if url.startswith(plain):
            url = driver + url.removeprefix(plain)
    try:
        engine = _create_engine(sa.make_url(url))
    except (sa.exc.SQLAlchemyError, ImportError, ValueError, TypeError) as error:
        raise ConfigError(
            "the store's URL must be a file's path, sqlite:///FILE or postgresql://HOST/NAME: "
            f"{one_line(error)}"
        ) from error
    if "@" in (engine.url.host or ""):  # the rest of the password would be shown as the host
        raise ConfigError("the store's URL has an @ in its password: write it as %40")
    return engine


def without_secrets(url: sa.URL) -> str:
    """Return a store's URL with its passwords hidden or left out."""
    secret = [name for name in url.query if "password" in name.lower()]
    return url.difference_update_query(secret).render_as_string(hide_password=True)


def one_line(error: Exception) -> str:
    """Return the driver's message in one line, without the statement and its values."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())}"[:300]


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


def _set_pragmas(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    for pragma in _SQLITE_PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
