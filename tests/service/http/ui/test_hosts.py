"""The names by which a service may be asked."""

import re
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest

from podium_service.http.access.hosts import host_name, is_known_host
from podium_service.http.app import create_app
from tests.service.helpers import add_new_key, client, client_with_key, group, service

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("Podium.Example:8000", "podium.example"),
        ("podium.example.", "podium.example"),
        ("[::1]:8000", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("", ""),
    ],
)
def test_a_host_header_is_read_without_its_port(header: str, name: str) -> None:
    assert host_name(header) == name


@pytest.mark.parametrize(
    "header", ["localhost:8000", "127.0.0.1", "[::1]:8000", "", "10.2.3.4:8000", "pages.localhost"]
)
def test_addresses_and_localhost_are_always_known(header: str) -> None:
    assert is_known_host(header, [])


@pytest.mark.parametrize("header", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io"])
def test_names_that_can_be_pointed_anywhere_are_unknown(header: str) -> None:
    assert not is_known_host(header, [])


@pytest.mark.parametrize("path", ["/livez", "/rank", "/judges", "/ui", "/metrics", "/no"])
async def test_a_service_without_keys_refuses_other_names(tmp_path: Path, path: str) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        answer = await http.get(path, headers={"Host": "evil.example:8000"})
        assert answer.status_code == 421
        assert answer.json()["code"] == "host_not_allowed"
        assert "--allowed-host 'evil.example'" in answer.json()["detail"]


async def test_a_service_with_keys_takes_every_name(tmp_path: Path) -> None:
    async with client_with_key(tmp_path, "read") as (http, _, _):
        answer = await http.get("/judges", headers={"Host": "podium.internal"})
        assert answer.status_code == 200
        assert (await http.get("/livez", headers={"Host": "podium"})).status_code == 200


async def test_allowed_hosts_are_the_only_names_then(tmp_path: Path) -> None:
    async with service(tmp_path) as opened:
        _, headers = await add_new_key(opened.store, "read")
        async with client(opened, allowed_hosts=["podium.internal"]) as http:
            for host, status in [("podium.internal", 200), ("PODIUM.internal:80", 200),
                                 ("10.1.2.3:8000", 200), ("evil.example", 421)]:  # fmt: skip
                answer = await http.get("/judges", headers={**headers, "Host": host})
                assert answer.status_code == status, host


async def test_a_root_path_is_taken_off_if_the_proxy_leaves_it(tmp_path: Path) -> None:
    async with service(tmp_path) as opened:
        transport = httpx.ASGITransport(create_app(opened, root_path="podium/"))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            for path in ("/podium/judges", "/judges"):
                assert (await http.get(path)).status_code == 200
            for path in ("/podium", "/podium/", "/"):
                assert (await http.get(path)).headers["location"] == "/podium/ui"
            page = await http.get("/podium/ui")
            assert 'href="/podium/ui/static/pages.css' in page.text
            assert "Path=/podium/" in page.headers["set-cookie"]
            assert (await http.get("/podium/openapi.json")).json()["servers"] == [
                {"url": "/podium"}
            ]


async def test_a_run_of_any_name_asks_for_itself_below_the_root(tmp_path: Path) -> None:
    async with service(tmp_path) as opened:
        transport = httpx.ASGITransport(create_app(opened, root_path="podium"))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            metadata = {"run": "a/b?c=d#e%2F", "step": 1}
            body = group("5", "6", reference="5", metadata=metadata)
            assert (await http.post("/rank", json=body)).status_code == 200
            address = "/ui/runs/a%2Fb%3Fc%3Dd%23e%252F"
            page = (await http.get(address)).text
            assert f'hx-get="/podium{address}"' in page
            theme = re.search(r'href="/podium(/ui/theme[^"]+)"', page)
            assert theme
            back = await http.get(unescape(theme[1]))
            assert unquote(back.headers["location"]) == unquote(f"/podium{address}")
            assert (await http.get(back.headers["location"])).text.count("a/b?c=d#e%2F") > 1
