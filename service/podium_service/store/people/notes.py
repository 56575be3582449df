"""Keep what people write about a ranking.

A note is of a ranking, under all asks for it; the moment is in its id, as in an ask's. Notes are
deleted by age, as asks are.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from podium_service.errors import InvalidRequest
from podium_service.schemas.people import MAX_NOTE_CHARS
from podium_service.store.asks.ids import AskIds, ask_name, asked_at, parse_ask
from podium_service.store.asks.records import storable
from podium_service.store.database.tables import NOTES
from podium_service.store.people.person import Person
from podium_service.store.store import SQLStore

MAX_NOTES = 100  # of one ranking


@dataclass(frozen=True, slots=True)
class Note:
    """One note; `at` is in seconds since the epoch."""

    id: str
    person: Person
    text: str
    at: float


class Notes:
    """The notes in one store; every method raises StoreUnavailable if it does not answer."""

    def __init__(self, store: SQLStore) -> None:
        self._store = store
        self._ids = AskIds()

    async def add(self, ranking_id: str, text: str, person: Person) -> Note:
        """Keep a note about a ranking, whose id must be one of the store.

        Raises:
            InvalidRequest: If the text is empty or too long, or the ranking has many notes.
        """
        text = storable(text.replace("\r\n", "\n").strip())
        if not text:
            raise InvalidRequest("the note is empty: write something")
        if len(text) > MAX_NOTE_CHARS:
            raise InvalidRequest(
                f"the note has {len(text)} characters: write at most {MAX_NOTE_CHARS}"
            )
        if len(await self.list_of(ranking_id)) >= MAX_NOTES:
            raise InvalidRequest(f"this ranking has {MAX_NOTES} notes: remove one first")
        note_id = self._ids.next()
        insert = sa.insert(NOTES).values(
            id=note_id,
            ranking_id=ranking_id,
            api_key_id=person.api_key_id,
            person=storable(person.name),
            text=text,
        )
        await self._store.run_in_transaction(lambda connection: connection.execute(insert) and None)
        return Note(ask_name(note_id), person, text, asked_at(note_id))

    async def list_of(self, ranking_id: str) -> list[Note]:
        """Return the notes about a ranking, oldest first."""
        query = sa.select(NOTES).where(NOTES.c.ranking_id == ranking_id)
        rows = await self._store.select(query.order_by(NOTES.c.id).limit(MAX_NOTES))
        return [_note_of(row) for row in rows]

    async def remove(self, ranking_id: str, note_id: str, person: Person | None) -> bool:
        """Delete a note, and return whether it was there.

        Args:
            person: only if it is this person's; None: whoever wrote it.
        """
        delete = sa.delete(NOTES).where(
            NOTES.c.id == parse_ask(note_id), NOTES.c.ranking_id == ranking_id
        )
        if person is not None:
            delete = delete.where(NOTES.c.api_key_id == person.api_key_id)
        return await self._store.run_in_transaction(
            lambda connection: connection.execute(delete).rowcount > 0
        )


def _note_of(row: sa.Row[Any]) -> Note:
    return Note(ask_name(row.id), Person(row.api_key_id, row.person), row.text, asked_at(row.id))
