"""What people say about a group over HTTP: notes, and orders of their own."""

from pathlib import Path
from typing import Any

import pytest

from tests.service.helpers import add_new_key, client, client_with_key, group, service

pytestmark = pytest.mark.anyio
REFERENCE = {"reference": "5"}


async def test_notes_are_listed_and_deleted_by_their_writers(tmp_path: Path) -> None:
    async with client_with_key(tmp_path, "rank", "read") as (http, opened, key):
        _, other = await add_new_key(opened.store, "rank", "read")
        ranking = (await http.post("/rank", json=group("5", "6", **REFERENCE))).json()
        path = f"/v1/rankings/{ranking['id']}/notes"
        made = await http.post(path, json={"text": " t1 guessed.\r\n <b> "})
        assert made.status_code == 201
        note = made.json()
        assert (note["text"], note["person"]) == ("t1 guessed.\n <b>", "trainer")
        assert note["api_key_id"] == key.id
        assert (await http.get(path)).json() == {"notes": [note]}
        refused = await http.delete(f"{path}/{note['id']}", headers=other)
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
        assert "t1 guessed." in (await http.get(path)).text
        deleted = await http.delete(f"{path}/{note['id']}")
        assert (deleted.status_code, deleted.content) == (204, b"")
        assert (await http.get(path)).json() == {"notes": []}


async def test_an_administrator_deletes_any_note(tmp_path: Path) -> None:
    async with client_with_key(tmp_path, "rank", "read") as (http, opened, _):
        _, admin = await add_new_key(opened.store, "rank", "admin")
        ranking = (await http.post("/rank", json=group("5", "6", **REFERENCE))).json()
        path = f"/rankings/{ranking['id']}/notes"
        note = (await http.post(path, json={"text": "n"})).json()
        assert (await http.delete(f"{path}/{note['id']}", headers=admin)).status_code == 204


async def test_an_order_is_kept_in_place_of_the_one_before(tmp_path: Path) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        sent = group("5", "6", "7", **REFERENCE)
        ranking = (await http.post("/rank", json=sent)).json()
        path = f"/v1/rankings/{ranking['id']}/orders"
        first = await http.post(path, json={"tiers": [["t1"], ["t0", "t2"]], "is_blind": True})
        assert (first.status_code, first.json()["is_blind"]) == (201, True)
        # The judge prefers t0 and ties the others: of two pairs that it tells apart, the person
        # has one turned round and one equal.
        assert first.json()["tau"] == pytest.approx(-0.5)
        second = (await http.post(path, json={"tiers": [["t0"], ["t1", "t2"]]})).json()
        assert (second["tau"], second["person"], second["api_key_id"]) == (1.0, "", None)
        assert (await http.get(path)).json() == {"orders": [second]}
        assert (await http.delete(path)).status_code == 204
        assert (await http.get(path)).json() == {"orders": []}
        assert (await http.delete(path)).status_code == 404


async def test_an_order_is_told_in_the_ids_of_each_request(tmp_path: Path) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        sent = group("5", "6", **REFERENCE)
        await http.post("/rank", json=sent)
        for each, name in zip(sent["trajectories"], ("a", "b"), strict=True):
            each["id"] = name
        await http.post("/rank", json=sent)
        newest, oldest = (await http.get("/rankings")).json()["rankings"]
        order = {"tiers": [["t1"], ["t0"]]}
        assert (await http.post(f"/rankings/{oldest['ask']}/orders", json=order)).is_success
        [told] = (await http.get(f"/rankings/{newest['ask']}/orders")).json()["orders"]
        page = (await http.get(f"/ui/rankings/{newest['ask']}")).text
    assert told["tiers"] == [["b"], ["a"]]
    assert "b <span" in page.partition('class="tiers">')[2][:200]


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("orders", {"tiers": [["t0"]]}, "lacks 't1'"),
        ("orders", {"tiers": [["t0"], ["t1", "t0"]]}, "twice"),
        ("orders", {"tiers": [["t0", "t1"], []]}, "at least 1"),
        ("orders", {"order": []}, "tiers"),
        ("notes", {"text": " \n"}, "empty"),
        ("notes", {"text": "x" * 4001}, "4000"),
        ("notes", {}, "text"),
    ],
)
async def test_what_a_person_may_not_say_is_refused(
    path: str, body: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        ranking = (await http.post("/rank", json=group("5", "6", **REFERENCE))).json()
        refused = await http.post(f"/rankings/{ranking['id']}/{path}", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert reason in refused.text


@pytest.mark.parametrize("path", ["notes", "orders"])
async def test_a_key_that_may_only_read_adds_nothing(path: str, tmp_path: Path) -> None:
    async with client_with_key(tmp_path, "read") as (http, _, _):
        bodies: dict[str, Any] = {"notes": {"text": "n"}, "orders": {"tiers": [["a"], ["b"]]}}
        refused = await http.post(f"/v1/rankings/rk_1/{path}", json=bodies[path])
        unknown = await http.get(f"/v1/rankings/rk_1/{path}")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
