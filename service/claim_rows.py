"""The claims of all processes as rows, and one process's name among them; synchronous."""

from collections.abc import Collection
from uuid import uuid4

import sqlalchemy as sa

from service.database import Database
from service.tables import CLAIMS, OWNERS


class ClaimRows:
    """Takes, releases and looks up claims in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._owner = uuid4().hex
        self._is_known = False
        self._take = database.sql(
            "INSERT INTO claims (key, owner) SELECT value, {value} FROM {values} WHERE true "
            "ON CONFLICT DO NOTHING RETURNING key"
        )
        self._claimed = database.sql(
            "SELECT key FROM claims WHERE key IN (SELECT value FROM {values})"
        )
        self._release = database.sql(
            "DELETE FROM claims WHERE owner = {value} AND key IN (SELECT value FROM {values})"
        )

    def take(self, keys: Collection[str]) -> set[str]:
        """Claim what is free; returns those keys."""
        with self._database.writing() as connection:
            if not self._is_known:
                self._be_seen(connection)
            values = (self._owner, self._database.values(sorted(keys)))
            taken = {row[0] for row in connection.exec_driver_sql(self._take, values)}
        self._is_known = True
        return taken

    def claimed(self, keys: Collection[str]) -> set[str]:
        """Those of the keys on which there is a claim."""
        with self._database.reading() as connection:
            values = (self._database.values(keys),)
            return {row[0] for row in connection.exec_driver_sql(self._claimed, values)}

    def release(self, connection: sa.Connection, keys: Collection[str]) -> None:
        """Give up claims, as a part of a transaction; what is not ours stays."""
        if keys:
            values = (self._owner, self._database.values(keys))
            connection.exec_driver_sql(self._release, values)

    def beat(self, left: Collection[str], dead_after_s: float | None) -> None:
        """Be seen, give up what was left, and sweep away those not seen for so long, if it says."""
        with self._database.writing() as connection:
            self._be_seen(connection)
            self.release(connection, left)
            if dead_after_s is not None:
                dead = OWNERS.c.seen_at < self._database.clock - dead_after_s
                connection.execute(sa.delete(OWNERS).where(dead))
                living = sa.select(OWNERS.c.id)
                connection.execute(sa.delete(CLAIMS).where(CLAIMS.c.owner.not_in(living)))

    def leave(self) -> None:
        """Give up all."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(CLAIMS).where(CLAIMS.c.owner == self._owner))
            connection.execute(sa.delete(OWNERS).where(OWNERS.c.id == self._owner))

    def _be_seen(self, connection: sa.Connection) -> None:
        now = {"seen_at": self._database.clock}
        seen = sa.update(OWNERS).where(OWNERS.c.id == self._owner).values(now)
        if not connection.execute(seen).rowcount:
            connection.execute(sa.insert(OWNERS).values(id=self._owner, **now))
