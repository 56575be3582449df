"""Who may look at the pages: sessions, forms, headers."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from podium_service.errors import Unauthorized
from podium_service.http.access.api_key import create_key
from podium_service.http.access.api_key_cache import APIKeyCache
from podium_service.http.access.api_key_store import add_key, edit_key, revoke_key
from podium_service.http.access.sessions import COOKIE, LIFETIME_S, Sessions
from podium_service.http.service import Service
from tests.service.helpers import client, service

pytestmark = pytest.mark.anyio

_TOKEN = re.compile(r'name="csrf" value="([0-9a-f]+)"')


@asynccontextmanager
async def guarded(tmp_path: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Service, str]]:
    """Yield a browser without a session, a service with one key, and the key's text."""
    async with service(tmp_path) as opened:
        key, text = create_key("alice", ["read"])
        await add_key(opened.store, key)
        async with client(opened) as http:
            yield http, opened, text


async def sign_in(http: httpx.AsyncClient, key: str, next_path: str = "/ui") -> httpx.Response:
    page = await http.get("/ui/login")
    token = _TOKEN.search(page.text)
    assert token
    fields = {"csrf": token[1], "key": key, "next": next_path}
    return await http.post("/ui/login", data=fields)


async def test_a_page_leads_to_sign_in_and_back(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (http, _, key):
        refused = await http.get("/ui?judge=main")
        assert refused.status_code == 303
        assert refused.headers["location"] == "/ui/login?next=%2Fui%3Fjudge%3Dmain"
        entered = await sign_in(http, key, "/ui?judge=main")
        assert entered.status_code == 303
        assert entered.headers["location"] == "/ui?judge=main"
        assert (await http.get("/ui")).status_code == 200


async def test_a_watched_run_leads_to_sign_in_when_its_session_ends(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (http, _, _):
        refused = await http.get("/ui/runs/r?other=s", headers={"HX-Request": "true"})
        assert refused.status_code == 401
        assert refused.headers["hx-redirect"] == "/ui/login?next=%2Fui%2Fruns%2Fr%3Fother%3Ds"


async def test_the_cookie_is_hidden_from_scripts_and_holds_no_key(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (http, _, key):
        cookie = (await sign_in(http, key)).headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert f"Max-Age={LIFETIME_S}" in cookie
        assert "Secure" not in cookie
        assert key.split("_", 2)[2] not in cookie
        http.headers["x-forwarded-proto"] = "https"
        assert "Secure" in (await sign_in(http, key)).headers["set-cookie"]


async def test_a_wrong_key_opens_no_session(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (http, _, _):
        answer = await sign_in(http, "pk_1_wrong")
        assert answer.status_code == 401
        assert COOKIE not in answer.headers.get("set-cookie", "")
        assert 'role="alert"' in answer.text


async def test_signing_in_never_leads_to_another_site(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (http, _, key):
        for target in ("https://evil.example/ui", "//evil.example", "/rank", "\\\\evil.example"):
            assert (await sign_in(http, key, target)).headers["location"] == "/ui"


async def test_a_session_ends_with_time_and_with_its_key(tmp_path: Path) -> None:
    async with service(tmp_path) as opened:
        key, text = create_key("alice", ["read"])
        await add_key(opened.store, key)
        now = [1000.0]
        sessions = Sessions(APIKeyCache(opened.store), clock=lambda: now[0])
        cookie = await sessions.open(text)
        # Another process of the service, and a restarted one, know the session, too.
        other = Sessions(APIKeyCache(opened.store), clock=lambda: now[0])
        assert (await other.authenticate(cookie)).id == key.id
        for broken in ("", "a.b.c", cookie[:-1], cookie.replace(key.id, "0" * 12), f"x{cookie}"):
            with pytest.raises(Unauthorized, match="not signed in"):
                await other.authenticate(broken)
        now[0] += LIFETIME_S + 1
        with pytest.raises(Unauthorized, match="over after 12 h"):
            await other.authenticate(cookie)
        now[0] = 1000.0
        await revoke_key(opened.store, key.id)
        with pytest.raises(Unauthorized, match="not signed in"):
            await Sessions(APIKeyCache(opened.store), clock=lambda: now[0]).authenticate(cookie)


async def test_an_expired_key_opens_no_session_and_ends_those_open(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (http, opened, text):
        assert (await sign_in(http, text)).status_code == 303
        await edit_key(opened.store, text.split("_")[1], {"expires_at": 1.0})
        async with client(opened) as later:  # which has not read the keys yet
            later.cookies = http.cookies
            ended = await later.get("/ui")
            later.cookies.clear()
            refused = await sign_in(later, text)
    assert ended.headers["location"].startswith("/ui/login")
    assert refused.status_code == 401
    assert "expired at 1970-01-01T00:00:01Z" in refused.text


async def test_the_environments_key_signs_in(tmp_path: Path) -> None:
    async with service(tmp_path) as opened, client(opened, api_keys=["sesame"]) as http:
        assert (await sign_in(http, "sesame")).status_code == 303
        assert "Sign out" in (await http.get("/ui")).text


async def test_a_form_from_elsewhere_is_refused(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (http, _, key):
        await sign_in(http, key)
        page = await http.get("/ui")
        token = _TOKEN.search(page.text)
        assert token
        for fields, headers in [
            ({}, {}),
            ({"csrf": "0" * 40}, {}),
            ({"csrf": token[1]}, {"Sec-Fetch-Site": "cross-site"}),
        ]:
            refused = await http.post("/ui/logout", data=fields, headers=headers)
            assert refused.status_code == 403
            assert "text/html" in refused.headers["content-type"]
        assert (await http.post("/ui/logout", data={"csrf": token[1]})).status_code == 303
        assert (await http.get("/ui")).status_code == 303


async def test_a_session_opens_pages_and_nothing_else(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (http, _, key):
        await sign_in(http, key)
        assert (await http.get("/judges")).status_code == 401
        assert (await http.post("/rank", json={"trajectories": []})).status_code == 401


@pytest.mark.parametrize(
    "path", ["/ui", "/ui/rankings/none", "/ui/login", "/ui/static/pages.css", "/ui/export.jsonl"]
)
async def test_pages_and_files_have_the_headers(tmp_path: Path, path: str) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        answer = await http.get(path)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        cached = answer.headers["cache-control"]
        assert cached.startswith("public") if "/static/" in path else cached == "no-store"


async def test_a_theme_is_kept_in_a_cookie(tmp_path: Path) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        chosen = await http.get("/ui/theme?to=dark&next=/ui%3Fq%3Dx")
        assert chosen.headers["location"] == "/ui?q=x"
        assert 'data-theme="dark"' in (await http.get("/ui")).text
