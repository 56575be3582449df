"""The routes under which requests are counted."""

from pathlib import Path

import pytest

from podium_service.http.app import create_app
from podium_service.telemetry.routes import route_of
from tests.service.helpers import service

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "path",
    [
        "/rankings/",
        "/rankings/a/b",
        "/rankings//calls",
        "/runs/",
        "/rank/",
        "",
        "/v1",
        "/v1/",
        "/v1/ui",
        "/v1/v1/rank",
        "/v1/nothing",
    ],
)
def test_an_unknown_path_gets_no_series_of_its_own(path: str) -> None:
    assert route_of(path) == "unrouted"


async def test_every_route_is_counted_under_its_own_path(tmp_path: Path) -> None:
    async with service(tmp_path) as opened:
        routes = list(create_app(opened).openapi()["paths"])
    assert "/rank" in routes
    assert "/v1/rank" in routes
    asked = [
        path.replace("{ranking_id}", "rk_1").replace("{note_id}", "3").replace("{run}", "a/b")
        for path in routes
    ]
    assert [route_of(path) for path in asked] == routes
