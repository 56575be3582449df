"""API keys over HTTP: made, listed, edited and revoked by a key with the scope admin."""

import asyncio
import re
import time
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes import until
from tests.service.helpers import add_new_key, client, client_with_key, group, service

pytestmark = pytest.mark.anyio
GROUP = group("5", "6", reference="5")


async def make(http: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """Return a key that the service made."""
    answer = await http.post("/keys", json={"name": "trainer", **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def rank(http: httpx.AsyncClient, key: str) -> httpx.Response:
    return await http.post("/rank", json=GROUP, headers={"Authorization": f"Bearer {key}"})


async def test_a_new_key_is_told_once_and_works_at_once(tmp_path: Path) -> None:
    limit = {"usd": 20.0, "per": "month"}
    async with client_with_key(tmp_path, "admin") as (http, _, _):
        made = await make(http, scopes=["rank"], requests_per_minute=60, spend_limit=limit)
        ranked = await rank(http, made["key"])
        listed = await http.get("/keys")
    assert re.fullmatch(rf"pk_{made['id']}_[A-Za-z0-9_-]{{43}}", made["key"])
    assert ranked.status_code == 200
    [_, shown] = listed.json()["keys"]
    assert shown == {name: value for name, value in made.items() if name != "key"} | {
        "spent_usd": 0.0, "reserved_usd": 0.0,
    }  # fmt: skip
    assert (shown["scopes"], shown["requests_per_minute"]) == (["rank"], 60)
    assert shown["spend_limit"] == limit
    assert made["key"].split("_", 2)[2] not in listed.text


async def test_the_first_key_closes_a_service_that_was_open(tmp_path: Path) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        assert (await http.post("/rank", json=GROUP)).status_code == 200
        made = await make(http)
        assert (await http.post("/rank", json=GROUP)).status_code == 401
        assert (await rank(http, made["key"])).status_code == 200
        assert (await http.get("/keys")).status_code == 401
    assert made["scopes"] == ["rank", "read"]


async def test_an_edit_changes_what_it_names_and_keeps_the_text(tmp_path: Path) -> None:
    async with client_with_key(tmp_path, "admin") as (http, _, _):
        made = await make(http, requests_per_minute=1)
        codes = [(await rank(http, made["key"])).status_code for _ in range(2)]
        free = {"requests_per_minute": None, "name": "lab", "spend_limit": {"usd": 5, "per": "day"}}
        edited = (await http.patch(f"/keys/{made['id']}", json=free)).json()
        codes.append((await rank(http, made["key"])).status_code)
        narrowed = await http.patch(f"/keys/{made['id']}", json={"scopes": ["read"]})
        codes.append((await rank(http, made["key"])).status_code)
        same = await http.patch(f"/keys/{made['id']}", json={})
    assert codes == [200, 429, 200, 403]
    assert (edited["name"], edited["requests_per_minute"]) == ("lab", None)
    assert edited["spend_limit"] == {"usd": 5.0, "per": "day"}
    assert (edited["spent_usd"], edited["created_at"]) == (0.0, made["created_at"])
    assert narrowed.json() == same.json() == edited | {"scopes": ["read"]}


async def test_a_revoked_key_is_refused_at_once_and_stays_listed(tmp_path: Path) -> None:
    async with client_with_key(tmp_path, "admin") as (http, _, _):
        made = await make(http)
        assert (await rank(http, made["key"])).status_code == 200
        revoked, again = [await http.delete(f"/keys/{made['id']}") for _ in range(2)]
        refused = await rank(http, made["key"])
        edited = await http.patch(f"/keys/{made['id']}", json={"name": "again"})
        listed = (await http.get("/keys")).json()["keys"]
    assert revoked.json()["revoked_at"]
    assert again.json() == revoked.json() == listed[1]
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    assert (edited.status_code, edited.json()["code"]) == (422, "invalid_request")
    assert "is revoked: make a new one" in edited.json()["detail"]


@pytest.mark.parametrize("key_id", ["nope", "0" * 300, "a%00b", "%ED%A0%80", "%C3%A9"])
async def test_an_unknown_key_is_not_found(key_id: str, tmp_path: Path) -> None:
    async with client_with_key(tmp_path, "admin") as (http, _, _):
        answers = [
            await http.patch(f"/keys/{key_id}", json={"name": "x"}),
            await http.delete(f"/keys/{key_id}"),
        ]
    assert [answer.json()["code"] for answer in answers] == ["not_found"] * 2


async def test_an_expired_key_is_refused_and_told_why(tmp_path: Path) -> None:
    async with client_with_key(tmp_path, "admin") as (http, opened, _):
        key, headers = await add_new_key(opened.store, "rank", expires_at=time.time() - 1)
        refused = await http.post("/rank", json=GROUP, headers=headers)
        wrong = await rank(http, f"pk_{key.id}_wrong")
        prolonged = await http.patch(f"/keys/{key.id}", json={"expires_at": "2999-01-31T12:00:00Z"})
        accepted = await http.post("/rank", json=GROUP, headers=headers)
        endless = await http.patch(f"/keys/{key.id}", json={"expires_at": None})
    assert (refused.status_code, refused.json()["code"]) == (401, "key_expired")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert "key 'trainer' expired at 2" in refused.json()["detail"]
    assert wrong.json()["code"] == "unauthorized"  # whoever lacks the secret learns nothing
    assert prolonged.json()["expires_at"] == "2999-01-31T12:00:00Z"
    assert accepted.status_code == 200
    assert endless.json()["expires_at"] is None


async def test_a_key_ends_at_its_moment(tmp_path: Path) -> None:
    async with client_with_key(tmp_path, "admin") as (http, opened, _):
        _, headers = await add_new_key(opened.store, "read", expires_at=time.time() + 2)
        assert (await http.get("/judges", headers=headers)).status_code == 200

        async def has_ended() -> bool:
            answer = await http.get("/judges", headers=headers)
            return bool(answer.json().get("code") == "key_expired")

        await until(has_ended)


async def test_a_key_has_an_owner(tmp_path: Path) -> None:
    async with client_with_key(tmp_path, "admin") as (http, _, _):
        made = await make(http, owner="Ada, ada@example.org")
        edited = await http.patch(f"/keys/{made['id']}", json={"owner": ""})
    assert made["owner"] == "Ada, ada@example.org"
    assert edited.json()["owner"] == ""


BAD: list[tuple[Any, str]] = [
    ({"name": ""}, "name"),
    ({"name": "a\0b"}, "name"),
    ({"name": "x" * 65}, "name"),
    ({"name": None}, "name"),
    ({"scopes": []}, "scopes"),
    ({"scopes": ["all"]}, "scopes.0"),
    ({"scopes": None}, "scopes"),
    ({"requests_per_minute": 0}, "requests_per_minute"),
    ({"requests_per_minute": 10**20}, "requests_per_minute"),
    ({"spend_limit": {"usd": 0, "per": "day"}}, "spend_limit.usd"),
    ({"spend_limit": {"usd": 1}}, "spend_limit.per"),
    ({"spend_limit": {"usd": 1, "per": "week"}}, "spend_limit.per"),
    ({"owner": "x" * 201}, "owner"),
    ({"owner": None}, "owner"),
    ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
    ({"expires_at": "9999-12-31T23:59:59-12:00"}, "expires_at"),
    ({"expires_at": "2999-01-01T00:00:00"}, "expires_at"),  # of which time zone?
    ({"expires_at": "soon"}, "expires_at"),
    ({"secret": "x"}, "secret"),
    ([], "body"),
]


async def test_a_bad_field_is_named_and_changes_nothing(tmp_path: Path) -> None:
    async with client_with_key(tmp_path, "admin") as (http, _, key):
        before = (await http.get("/keys")).text
        for fields, field in BAD:
            body = {"name": "trainer", **fields} if isinstance(fields, dict) else fields
            made = await http.post("/keys", json=body)
            edited = await http.patch(f"/keys/{key.id}", json=fields)
            for answer in (made, edited):
                assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
                assert answer.json()["errors"][0]["field"] == field
        assert before == (await http.get("/keys")).text


async def test_a_change_is_logged_with_who_made_it(
    tmp_path: Path, logged: list[MutableMapping[str, Any]]
) -> None:
    async with client_with_key(tmp_path, "admin") as (http, _, key):
        made = await make(http)
        await http.patch(f"/keys/{made['id']}", json={"name": "lab"})
        await http.delete(f"/keys/{made['id']}")
    told = [line for line in logged if line["event"].startswith("key_")]
    assert [line["event"] for line in told] == ["key_created", "key_edited", "key_revoked"]
    assert {(line["key"], line["by"]) for line in told} == {(made["id"], key.id)}
    assert made["key"] not in str(logged)


async def test_two_edits_at_once_are_both_kept(tmp_path: Path) -> None:
    async with client_with_key(tmp_path, "admin") as (http, opened, _):
        key, _ = await add_new_key(opened.store, "read")
        await asyncio.gather(
            http.patch(f"/keys/{key.id}", json={"name": "lab"}),
            http.patch(f"/keys/{key.id}", json={"requests_per_minute": 5}),
        )
        shown = (await http.get("/keys")).json()["keys"][1]
    assert (shown["name"], shown["requests_per_minute"]) == ("lab", 5)
