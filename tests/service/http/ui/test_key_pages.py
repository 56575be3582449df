"""The page of keys: made, edited, revoked, and what they cost."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from podium_service.http.access.api_key_store import list_keys
from podium_service.http.service import Service
from tests.fakes import ScriptedJudge, by_length, scores
from tests.service.helpers import add_new_key, client, group, llm, service

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def admin(tmp_path: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Service, str]]:
    """Yield an admin's browser, a service with an LLM judge, and the token of its forms."""
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as judge,
        service(tmp_path, main=llm(judge.url, price={"prompt": 1, "completion": 2})) as opened,
    ):
        _, headers = await add_new_key(opened.store, "admin")
        async with client(opened) as http:
            http.headers.update(headers)
            token = re.search(r'name="csrf" value="([0-9a-f]+)"', (await http.get("/ui/keys")).text)
            assert token
            yield http, opened, token[1]


async def test_a_key_is_edited_and_keeps_its_secret(tmp_path: Path) -> None:
    async with admin(tmp_path) as (http, opened, csrf):
        [own] = await list_keys(opened.store)
        fields = {"csrf": csrf, "id": own.id, "name": "alice", "owner": "<i>ops", "scope": "admin",
                  "requests_per_minute": "7", "usd": "2.5", "per": "month",
                  "expires": "2999-01-31"}  # fmt: skip
        assert (await http.post("/ui/keys/edit", data=fields)).status_code == 303
        [key] = await list_keys(opened.store)
        assert (key.name, key.owner, key.requests_per_minute) == ("alice", "<i>ops", 7)
        assert key.spend_limit
        assert (key.spend_limit.usd, key.spend_limit.per) == (2.5, "month")
        assert key.secret_sha256 == own.secret_sha256
        page = (await http.get("/ui/keys")).text
        assert 'value="2999-01-31"' in page
        assert "&lt;i&gt;ops" in page
        fields |= {"requests_per_minute": "", "usd": "", "expires": "", "owner": ""}
        assert (await http.post("/ui/keys/edit", data=fields)).status_code == 303
        [key] = await list_keys(opened.store)
        assert (key.requests_per_minute, key.spend_limit, key.expires_at) == (None, None, None)


@pytest.mark.parametrize(
    ("field", "value"), [("expires", "soon"), ("expires", "2001-01-01"), ("usd", "-1"), ("id", "x")]
)
async def test_a_bad_edit_changes_nothing(tmp_path: Path, field: str, value: str) -> None:
    async with admin(tmp_path) as (http, opened, csrf):
        before = await list_keys(opened.store)
        fields = {"csrf": csrf, "id": before[0].id, "name": "new", "scope": "admin", "per": "day"}
        page = await http.post("/ui/keys/edit", data={**fields, field: value})
        assert page.status_code in (404, 422)
        assert 'role="alert"' in page.text
        assert await list_keys(opened.store) == before


@pytest.mark.parametrize(
    ("by", "shown"),
    [("key", "trainer"), ("judge", ">main</a>"), ("run", ">=demo</a>"), ("day", "20")],
)
async def test_spend_is_shown_and_taken_along(tmp_path: Path, by: str, shown: str) -> None:
    async with admin(tmp_path) as (http, opened, _):
        assert "No judge was called" in (await http.get("/ui/keys")).text
        body = group("a", "bb", metadata={"run": "=demo"})
        assert (await http.post("/rank", json=body)).status_code == 200
        await opened.store.flush()
        page = (await http.get(f"/ui/keys?by={by}")).text
        table = page[page.index('aria-label="Spend, scrolls"') :]
        assert shown in table
        link = re.search(r'href="(/ui/keys/spend\.csv[^"]*)"', page)
        assert link
        answer = await http.get(link[1].replace("&amp;", "&"))
        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.text.startswith("key_id," if by == "key" else by)
        assert ("'=demo" in answer.text) == (by == "run")
        assert "No judge was called" in (await http.get("/ui/keys?until=2001-01-01")).text


async def test_only_an_admin_takes_the_spend_along(tmp_path: Path) -> None:
    async with service(tmp_path) as opened:
        _, headers = await add_new_key(opened.store, "read")
        async with client(opened) as http:
            answer = await http.get("/ui/keys/spend.csv", headers=headers)
            assert answer.status_code == 403
