"""The pages of a service: which ones there are, and what they do."""

import re
from html import unescape
from pathlib import Path

import httpx
import pytest

from podium_service.http.access.api_key_store import list_keys
from tests.service.helpers import client, client_with_key, group, service

pytestmark = pytest.mark.anyio

PAGES = (
    "/ui",
    "/ui/runs",
    "/ui/judges",
    "/ui/compare",
    "/ui/gold",
    "/ui/failures",
    "/ui/keys",
    "/ui/api",
    "/ui/config",
    "/ui/login",
)


async def token_of(http: httpx.AsyncClient, path: str) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', (await http.get(path)).text)
    assert found
    return found[1]


@pytest.mark.parametrize("path", PAGES)
async def test_each_page_is_there_and_small(tmp_path: Path, path: str) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        page = await http.get(path)
        assert page.status_code == 200
        assert len(page.content) < (200_000 if path == "/ui/api" else 100_000)
        assert "style=" not in page.text


async def test_an_unknown_page_is_a_problem_in_html(tmp_path: Path) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        for path in ("/ui/none", "/ui/rankings/none", "/ui/runs/none", "/ui/static/none"):
            page = await http.get(path)
            assert page.status_code == 404
            assert page.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("value", ["step=twelve", f"step={10**20}", "step=-1", "since=nan"])
async def test_a_filter_that_cannot_be_read_says_so(tmp_path: Path, value: str) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        page = await http.get(f"/ui?{value}")
        assert page.status_code == 422
        assert value.replace("=", " is &#39;") + "&#39;" in page.text


async def test_a_filter_without_a_field_is_shown_and_removed(tmp_path: Path) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        page = (await http.get("/ui?run=a&prompt_id=p%3C1&signal=false&judge=gone")).text
        link = re.search(
            r'href="([^"]+)"[^>]*><span class="sr">Remove the filter </span>(.*?)<', page
        )
        assert link
        assert link[2].strip() == "prompt_id p&lt;1"
        assert unescape(link[1]) == "/ui?run=a&signal=false&judge=gone"
        assert page.count("Remove the filter") == 1  # the others have a field or a name
        assert "<option selected>gone</option>" in page


async def test_a_key_is_made_shown_once_and_revoked(tmp_path: Path) -> None:
    async with client_with_key(tmp_path, "admin") as (http, opened, _):
        fields = {"csrf": await token_of(http, "/ui/keys"), "name": "<b>bob", "scope": "rank",
                  "requests_per_minute": "60", "usd": "20", "per": "day"}  # fmt: skip
        page = await http.post("/ui/keys/create", data=fields)
        _, key = await list_keys(opened.store)
        text = re.search(rf"pk_{key.id}_[\w-]+", page.text)
        assert text
        assert (key.name, sorted(key.scopes)) == ("<b>bob", ["rank"])
        assert key.requests_per_minute == 60
        assert "<b>bob" not in page.text
        fields = {"csrf": fields["csrf"], "id": key.id}
        assert (await http.post("/ui/keys/revoke", data=fields)).status_code == 303
        page = await http.get("/ui/keys")
        assert "revoked" in page.text
        assert text[0] not in page.text


@pytest.mark.parametrize(
    ("field", "value", "detail"),
    [
        ("requests_per_minute", "0", "requests_per_minute: "),
        ("requests_per_minute", "x", "requests_per_minute: "),
        ("usd", "nan", "spend_limit.usd: "),
        ("per", "year", "spend_limit.per: "),
        ("scope", "root", "scopes.0: "),
        ("name", "", "name: "),
    ],
)
async def test_a_key_with_a_bad_limit_is_not_made(
    tmp_path: Path, field: str, value: str, detail: str
) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        fields = {
            "csrf": await token_of(http, "/ui/keys"),
            "name": "bob",
            "scope": "read",
            "usd": "1",
            "per": "day",
        }
        page = await http.post("/ui/keys/create", data={**fields, field: value})
        assert page.status_code == 422
        assert detail in page.text
        assert await list_keys(opened.store) == []


async def test_a_form_that_is_too_long_is_refused(tmp_path: Path) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        page = await http.post("/ui/keys/create", content=b"name=" + b"x" * 300_000)
        assert page.status_code == 413


async def test_the_first_command_of_an_empty_list_is_a_group(tmp_path: Path) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        page = await http.get("/ui")
        assert "No groups yet" in page.text
        assert (await http.post("/rank", json=group("a", "b", reference="a"))).status_code == 200


async def test_one_prompt_is_followed_over_the_steps(tmp_path: Path) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        for step in range(3):
            metadata = {"run": "a/b", "step": step, "prompt_id": "p"}
            body = group(f"{step} a", f"{step} b", reference=f"{step} b", metadata=metadata)
            assert (await http.post("/rank", json=body)).status_code == 200
        page = (await http.get("/ui/runs/a/b")).text
        link = re.search(r'href="(/ui/prompt\?[^"]+)"', page)
        assert link
        page = (await http.get(unescape(link[1]))).text
        assert page.count("data-row") == 3
        assert "2 b" in page
        group_link = re.search(r'href="(/ui/rankings/[^"]+)"', page)
        assert group_link
        assert link[1] in (await http.get(group_link[1])).text
        assert (await http.get("/ui/prompt?run=a/b&id=none")).status_code == 404


async def test_only_an_admin_sees_the_keys(tmp_path: Path) -> None:
    async with client_with_key(tmp_path, "read") as (http, _, _):
        for path in ("/ui/keys", "/ui/keys/create", "/ui/keys/revoke"):
            assert (await http.post(path)).status_code == 403
        assert "/ui/keys" not in (await http.get("/ui")).text
