"""Open a database: create its tables, or bring those of an older version up to date.

alembic is loaded only where there is something to change, because it is slow to load.
"""

from concurrent.futures import Executor

import sqlalchemy as sa

from podium_service.errors import ConfigError
from podium_service.store.database.database import Database
from podium_service.store.database.engine import one_line
from podium_service.store.database.tables import METADATA, RANKINGS, SCHEMA_VERSION, VERSIONS

_FIRST = "0001"  # of databases from before there were versions


def open_database(url: str, threads: Executor | None = None) -> Database:
    """Open a database with the tables of this version.

    Several processes may start at once: one of them prepares the tables, and the others wait.

    Raises:
        ConfigError: If the URL is none, the database cannot be opened, or a later version of Podium
            has made its tables.
    """
    database = Database(url, threads)
    try:
        with database.reading() as connection:
            is_current = read_version(connection) == SCHEMA_VERSION
        if not is_current:
            with database.writing_alone() as connection:
                bring_up_to_date(connection)
    except (sa.exc.SQLAlchemyError, OSError) as error:
        database.close()
        raise ConfigError(
            f"the store {database.shown} cannot be opened: {one_line(error)}"
        ) from error
    except BaseException:
        database.close()
        raise
    return database


def read_version(connection: sa.Connection) -> str | None:
    """Return the version of a database's tables; None if it tells none."""
    if not sa.inspect(connection).has_table(VERSIONS.name):
        return None
    version: str | None = connection.execute(sa.select(VERSIONS.c.version_num)).scalar()
    return version


def bring_up_to_date(connection: sa.Connection) -> None:
    """Create or change the tables, in a transaction that has the database alone.

    Raises:
        ConfigError: If a later version of Podium has made them.
    """
    version = read_version(connection)
    if version == SCHEMA_VERSION:
        return
    if version is None and not sa.inspect(connection).has_table(RANKINGS.name):
        METADATA.create_all(connection)
        connection.execute(sa.insert(VERSIONS).values(version_num=SCHEMA_VERSION))
        return
    if version is None:
        VERSIONS.create(connection)
        connection.execute(sa.insert(VERSIONS).values(version_num=_FIRST))
    elif version > SCHEMA_VERSION:
        raise ConfigError(
            f"the store has tables of version {version}, and this Podium knows those up to "
            f"{SCHEMA_VERSION}: install the version that it was used with"
        )
    from podium_service.store.migrations.upgrade import upgrade

    upgrade(connection)
