"""The pages of a store without a service."""

from pathlib import Path

import httpx
import pytest

from podium_service.http.ui.view import create_view_app
from podium_service.store.store import open_store

pytestmark = pytest.mark.anyio


async def test_a_store_is_shown_without_a_service(tmp_path: Path) -> None:
    async with open_store(str(tmp_path / "podium.db")) as store:
        transport = httpx.ASGITransport(create_view_app(store))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            assert (await http.get("/")).headers["location"] == "/ui"
            for path in ("/ui", "/ui/runs", "/ui/failures"):
                page = await http.get(path)
                assert page.status_code == 200
                assert "/ui/judges" not in page.text
                assert "Sign out" not in page.text
            for path in ("/ui/keys", "/ui/login", "/ui/rankings/none", "/rank"):
                assert (await http.get(path)).status_code == 404
            evil = await http.get("/ui", headers={"Host": "evil.example"})
            assert evil.status_code == 421
