"""Notes of people about a ranking."""

import pytest

from podium_service.errors import InvalidRequest
from podium_service.schemas.people import MAX_NOTE_CHARS
from podium_service.store.people.notes import Notes
from podium_service.store.people.person import Person
from podium_service.store.store import open_store

pytestmark = pytest.mark.anyio
ANN, BOB = Person("a1", "Ann"), Person("b2", "Bob")


async def test_notes_are_listed_as_they_were_written(url: str) -> None:
    hostile = "<script>\r\nalert(1)\n\u202e\0 \U0001f3c6"
    async with open_store(url) as store:
        notes = Notes(store)
        first = await notes.add("rk_1", hostile, ANN)
        second = await notes.add("rk_1", " Why is t0 best? ", BOB)
        await notes.add("rk_2", "Another ranking.", BOB)
        assert await notes.list_of("rk_1") == [first, second]
    assert first.text == "<script>\nalert(1)\n\u202e \U0001f3c6"
    assert second.text == "Why is t0 best?"
    assert second.at >= first.at > 1.7e9


async def test_a_note_is_removed_by_who_wrote_it_or_without_a_name(url: str) -> None:
    async with open_store(url) as store:
        notes = Notes(store)
        first, second = [await notes.add("rk_1", text, ANN) for text in ("One.", "Two.")]
        assert not await notes.remove("rk_1", first.id, BOB)
        assert not await notes.remove("rk_2", first.id, ANN)
        assert not await notes.remove("rk_1", "no id", ANN)
        assert await notes.remove("rk_1", first.id, ANN)
        assert await notes.remove("rk_1", second.id, None)
        assert await notes.list_of("rk_1") == []


@pytest.mark.parametrize(
    ("text", "fault"), [(" \n\0", "empty"), ("x" * (MAX_NOTE_CHARS + 1), "4001 characters")]
)
async def test_a_note_has_some_text_and_not_too_much(url: str, text: str, fault: str) -> None:
    async with open_store(url) as store:
        with pytest.raises(InvalidRequest, match=fault):
            await Notes(store).add("rk_1", text, ANN)
