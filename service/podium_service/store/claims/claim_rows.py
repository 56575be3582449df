"""Read and change the claims of all processes in one database; synchronous.

A claim belongs to a process, by its name, and need not outlast a loss of power, which ends all
processes of a machine. A process has an owner row with the moment of its last
heartbeat; when the row expires, the claims of that process are deleted. Moments are those of the
database's clock, because processes on several machines must agree on them.
"""

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from podium_service.store.claims.process_liveness import find_ended, process_name
from podium_service.store.database.database import Database, KeyRows
from podium_service.store.database.tables import CLAIMS, OWNERS

_HAS_KEY = CLAIMS.c.key.in_(sa.bindparam("keys", expanding=True))
_HAS_OWNER = CLAIMS.c.owner == sa.bindparam("owner")
_FIND_CLAIMED = sa.select(CLAIMS.c.key).where(_HAS_KEY)
_RELEASE = sa.delete(CLAIMS).where(_HAS_OWNER, _HAS_KEY)
_RELEASE_ALL = sa.delete(CLAIMS).where(_HAS_OWNER)
_RELEASE_OF_EXPIRED = sa.delete(CLAIMS).where(CLAIMS.c.owner.not_in(sa.select(OWNERS.c.id)))
_LIST_OWNERS = sa.select(OWNERS.c.id)
_EXPIRE_SILENT = sa.delete(OWNERS).where(OWNERS.c.seen_at < sa.bindparam("before"))
_EXPIRE = sa.delete(OWNERS).where(OWNERS.c.id.in_(sa.bindparam("ids", expanding=True)))


@dataclass(frozen=True, slots=True)
class Claim:
    """The rows of a content key, and whether this process holds the claim on it."""

    rows: KeyRows
    is_held: bool


class ClaimRows:
    """The claims in one database, as this process sees and changes them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._owner = process_name()
        self._has_expired_ended = False  # the ended processes of this machine, once after the start
        self._last_heartbeat_at = float("-inf")
        self._no_expiry_until = float("-inf")
        take = database.insert_into(CLAIMS).on_conflict_do_nothing()
        self._take = take.returning(CLAIMS.c.key)
        owner = database.insert_into(OWNERS).values(id=self._owner, seen_at=database.now)
        self._put_owner = owner.on_conflict_do_update(
            index_elements=[OWNERS.c.id], set_={"seen_at": owner.excluded.seen_at}
        ).returning(OWNERS.c.seen_at)

    def claim(self, keys: Collection[str]) -> dict[str, Claim]:
        """Claim each key, unless its group is complete or another process holds the claim."""
        with self.database.reading() as connection:
            rows = self.database.read_keys(connection, keys)
        wanted = sorted(key for key in keys if not rows[key].complete)
        new_keys: set[str] = set()
        if wanted:
            with self.database.writing(durable=False) as connection:
                # First, because another process deletes claims that have no owner row.
                self._record_heartbeat(connection)
                if not self._has_expired_ended:
                    self._expire_ended(connection)
                claims = [{"key": key, "owner": self._owner} for key in wanted]
                new_keys = set(connection.execute(self._take, claims).scalars())
                if new_keys:  # read again, because another process may have just released them
                    rows |= self.database.read_keys(connection, new_keys)
            self._has_expired_ended = True
        return {key: Claim(rows[key], key in new_keys) for key in keys}

    def find_claimed(self, keys: Collection[str]) -> set[str]:
        """Return the keys that any process claims."""
        with self.database.reading() as connection:
            return set(connection.execute(_FIND_CLAIMED, {"keys": list(keys)}).scalars())

    def release(self, connection: sa.Connection, keys: Collection[str]) -> None:
        """Release claims of this process, as a part of a transaction."""
        if keys:
            connection.execute(_RELEASE, {"owner": self._owner, "keys": list(keys)})

    def heartbeat(self, unreleased: Collection[str], expire_after_s: float) -> None:
        """Record that this process lives, expire processes that do not, and release claims."""
        with self.database.writing(durable=False) as connection:
            now = self._record_heartbeat(connection)
            if self._may_expire_silent(now, expire_after_s):
                connection.execute(_EXPIRE_SILENT, {"before": now - expire_after_s})
                connection.execute(_RELEASE_OF_EXPIRED)
            self._expire_ended(connection)
            # Last, because a process that takes one of these waits for this transaction.
            self.release(connection, unreleased)
        self._last_heartbeat_at = now

    def release_all(self) -> None:
        """Release all claims of this process, and delete its owner row."""
        with self.database.writing() as connection:
            connection.execute(_RELEASE_ALL, {"owner": self._owner})
            connection.execute(_EXPIRE, {"ids": [self._owner]})

    def _record_heartbeat(self, connection: sa.Connection) -> float:
        """Record that this process lives, and return the moment."""
        return float(connection.execute(self._put_owner).scalar_one())

    def _may_expire_silent(self, now: float, expire_after_s: float) -> bool:
        """Return whether this process can tell that a silent process has ended.

        It cannot after a start or an outage of its own, because the others may have been cut off,
        too; they then get as long again to record a heartbeat. The answer is needed within the
        heartbeat that ends the silence, because that heartbeat may itself have waited long.
        """
        is_regular = 0 <= now - self._last_heartbeat_at <= expire_after_s / 2
        if not is_regular:  # a start, an outage, or the clock was set
            self._no_expiry_until = now + expire_after_s
        return now >= self._no_expiry_until

    def _expire_ended(self, connection: sa.Connection) -> None:
        """Expire ended processes of this machine at once, so that a restart need not wait."""
        names = connection.execute(_LIST_OWNERS).scalars().all()
        if ended := find_ended(names, self._owner):
            connection.execute(_EXPIRE, {"ids": ended})
            connection.execute(_RELEASE_OF_EXPIRED)
