"""The claims of all processes as rows, and one process's name among them; synchronous."""

from collections.abc import Collection

import sqlalchemy as sa

from podium_service.store.claims.process_liveness import ended, process_name
from podium_service.store.database.database import Database, KeyRows
from podium_service.store.database.tables import CLAIMS, OWNERS

_OF_KEYS = CLAIMS.c.key.in_(sa.bindparam("keys", expanding=True))
_OF_OWNER = CLAIMS.c.owner == sa.bindparam("owner")
_CLAIMED = sa.select(CLAIMS.c.key).where(_OF_KEYS)
_RELEASE = sa.delete(CLAIMS).where(_OF_OWNER, _OF_KEYS)
_GIVE_UP = sa.delete(CLAIMS).where(_OF_OWNER)
_SWEEP = sa.delete(CLAIMS).where(CLAIMS.c.owner.not_in(sa.select(OWNERS.c.id)))
_OWNERS = sa.select(OWNERS.c.id)
_BURY = sa.delete(OWNERS).where(OWNERS.c.seen_at < sa.bindparam("before"))
_BURY_THESE = sa.delete(OWNERS).where(OWNERS.c.id.in_(sa.bindparam("ids", expanding=True)))


class ClaimRows:
    """Takes, releases and looks up claims in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._owner = process_name()
        self._has_looked = False  # for neighbours that have ended
        # By the database's clock, as all moments: our last beat, and until when none are buried.
        self._beaten_at = float("-inf")
        self._spares_until = float("-inf")
        take = database.insert_into(CLAIMS).on_conflict_do_nothing()
        self._take = take.returning(CLAIMS.c.key)
        see = database.insert_into(OWNERS).values(id=self._owner, seen_at=database.now)
        self._see = see.on_conflict_do_update(
            index_elements=[OWNERS.c.id], set_={"seen_at": see.excluded.seen_at}
        ).returning(OWNERS.c.seen_at)

    def open(self, keys: Collection[str]) -> dict[str, tuple[KeyRows, bool]]:
        """What is there of each key, and whether its claim is ours now: those that are complete are
        not claimed, others unless somebody has them."""
        with self._database.reading() as connection:
            found = self._database.read_keys(connection, keys)
        wanted = sorted(key for key in keys if not found[key].complete)
        taken: set[str] = set()
        if wanted:
            with self._database.writing() as connection:
                self._see_us(connection)  # a claim whose owner is not seen is swept away
                if not self._has_looked:
                    self._bury_neighbours(connection)
                claims = [{"key": key, "owner": self._owner} for key in wanted]
                taken = set(connection.execute(self._take, claims).scalars())
                if taken:  # perhaps somebody has just asked
                    found |= self._database.read_keys(connection, taken)
            self._has_looked = True
        return {key: (found[key], key in taken) for key in keys}

    def claimed(self, keys: Collection[str]) -> set[str]:
        """Those of the keys on which there is a claim."""
        with self._database.reading() as connection:
            return set(connection.execute(_CLAIMED, {"keys": list(keys)}).scalars())

    def release(self, connection: sa.Connection, keys: Collection[str]) -> None:
        """Give up claims, as a part of a transaction; what is not ours stays."""
        if keys:
            connection.execute(_RELEASE, {"owner": self._owner, "keys": list(keys)})

    def beat(self, left: Collection[str], dead_after_s: float) -> None:
        """Be seen, give up what was left, and sweep away those not seen for so long."""
        with self._database.writing() as connection:
            now = self._see_us(connection)
            if not self._spares(now, dead_after_s):
                connection.execute(_BURY, {"before": now - dead_after_s})
                connection.execute(_SWEEP)
            self._bury_neighbours(connection)
            self.release(connection, left)  # last: who takes one of these waits for us
        self._beaten_at = now

    def leave(self) -> None:
        """Give up all."""
        with self._database.writing() as connection:
            connection.execute(_GIVE_UP, {"owner": self._owner})
            connection.execute(_BURY_THESE, {"ids": [self._owner]})

    def _see_us(self, connection: sa.Connection) -> float:
        """We live; the moment."""
        return float(connection.execute(self._see).scalar_one())

    def _spares(self, now: float, dead_after_s: float) -> bool:
        """Whether to bury nobody for being silent: who was cut off or has just come cannot tell the
        dead from those who were cut off, too, and gives them as long to be seen again.

        It is asked within the beat that ends the silence: that one may itself have waited long.
        """
        if not 0 <= now - self._beaten_at <= dead_after_s / 2:  # or the clock was set
            self._spares_until = now + dead_after_s
        return now < self._spares_until

    def _bury_neighbours(self, connection: sa.Connection) -> None:
        """Of processes on this machine it is known at once that they have ended: whoever is started
        again after a kill need not wait."""
        dead = ended(connection.execute(_OWNERS).scalars().all(), self._owner)
        if dead:
            connection.execute(_BURY_THESE, {"ids": dead})
            connection.execute(_SWEEP)
