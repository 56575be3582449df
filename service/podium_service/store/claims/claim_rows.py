"""The claims of all processes as rows, and one process's name among them; synchronous."""

from collections.abc import Collection
from typing import Any

from podium_service.store.claims.process_liveness import ended, process_name
from podium_service.store.database.database import Database, Found


class ClaimRows:
    """Takes, releases and looks up claims in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._owner = process_name()
        self._has_looked = False  # for neighbours that have ended
        # By the database's clock, as all moments: our last beat, and until when none are buried.
        self._beaten_at = float("-inf")
        self._spares_until = float("-inf")
        sql, clock = database.sql, database.clock
        keys = "key IN (SELECT value FROM {values})"
        self._take = sql(
            "INSERT INTO claims (key, owner) SELECT value, {value} FROM {values} WHERE true "
            "ON CONFLICT DO NOTHING RETURNING key"
        )
        self._claimed = sql(f"SELECT key FROM claims WHERE {keys}")
        self._release = sql(f"DELETE FROM claims WHERE owner = {{value}} AND {keys}")
        self._see = sql(
            f"INSERT INTO owners (id, seen_at) VALUES ({{value}}, {clock}) "
            "ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at RETURNING seen_at"
        )
        self._bury = sql("DELETE FROM owners WHERE seen_at < {value}")
        self._owners = "SELECT id FROM owners"
        self._bury_these = sql("DELETE FROM owners WHERE id IN (SELECT value FROM {values})")
        self._sweep = "DELETE FROM claims WHERE owner NOT IN (SELECT id FROM owners)"
        self._give_up = sql("DELETE FROM claims WHERE owner = {value}")
        self._go = sql("DELETE FROM owners WHERE id = {value}")

    def open(self, keys: Collection[str]) -> dict[str, tuple[Found, bool]]:
        """What is there of each key, and whether its claim is ours now: those that are complete are
        not claimed, others unless somebody has them."""
        with self._database.cursor() as cursor:
            found = self._database.recall(cursor, keys)
        wanted = sorted(key for key in keys if not found[key].complete)
        taken: set[str] = set()
        if wanted:
            with self._database.writing_cursor() as cursor:
                self._see_us(cursor)  # a claim whose owner is not seen is swept away
                if not self._has_looked:
                    self._bury_neighbours(cursor)
                values = (self._owner, self._database.values(wanted))
                taken = {row[0] for row in cursor.execute(self._take, values).fetchall()}
                if taken:  # perhaps somebody has just asked
                    found |= self._database.recall(cursor, taken)
            self._has_looked = True
        return {key: (found[key], key in taken) for key in keys}

    def claimed(self, keys: Collection[str]) -> set[str]:
        """Those of the keys on which there is a claim."""
        with self._database.cursor() as cursor:
            rows = cursor.execute(self._claimed, (self._database.values(keys),)).fetchall()
        return {row[0] for row in rows}

    def release(self, cursor: Any, keys: Collection[str]) -> None:
        """Give up claims, as a part of a transaction; what is not ours stays."""
        if keys:
            cursor.execute(self._release, (self._owner, self._database.values(keys)))

    def beat(self, left: Collection[str], dead_after_s: float) -> None:
        """Be seen, give up what was left, and sweep away those not seen for so long."""
        with self._database.writing_cursor() as cursor:
            now = self._see_us(cursor)
            if not self._spares(now, dead_after_s):
                cursor.execute(self._bury, (now - dead_after_s,))
                cursor.execute(self._sweep)
            self._bury_neighbours(cursor)
            self.release(cursor, left)  # last: who takes one of these waits for us
        self._beaten_at = now

    def leave(self) -> None:
        """Give up all."""
        with self._database.writing_cursor() as cursor:
            cursor.execute(self._give_up, (self._owner,))
            cursor.execute(self._go, (self._owner,))

    def _see_us(self, cursor: Any) -> float:
        """We live; the moment."""
        [(now,)] = cursor.execute(self._see, (self._owner,)).fetchall()
        return float(now)

    def _spares(self, now: float, dead_after_s: float) -> bool:
        """Whether to bury nobody for being silent: who was cut off or has just come cannot tell the
        dead from those who were cut off, too, and gives them as long to be seen again.

        It is asked within the beat that ends the silence: that one may itself have waited long.
        """
        if not 0 <= now - self._beaten_at <= dead_after_s / 2:  # or the clock was set
            self._spares_until = now + dead_after_s
        return now < self._spares_until

    def _bury_neighbours(self, cursor: Any) -> None:
        """Of processes on this machine it is known at once that they have ended: whoever is started
        again after a kill need not wait."""
        owners = [row[0] for row in cursor.execute(self._owners).fetchall()]
        dead = ended(owners, self._owner)
        if dead:
            cursor.execute(self._bury_these, (self._database.values(dead),))
            cursor.execute(self._sweep)
