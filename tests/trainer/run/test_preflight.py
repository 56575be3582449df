"""Judges and the rewards that a task verifies are looked at before anything large is loaded."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from podium_trainer.config import ServiceConfig
from podium_trainer.run.checks.preflight import PreflightError, check_service
from tests.fake_service import serve

JUDGES: list[dict[str, Any]] = [
    {"name": "plain", "default": True, "answers": True, "verified_weight": 0.0},
    {"name": "mixed", "answers": True, "verified_weight": 0.5},
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    async def judges(request: Request) -> Response:
        return JSONResponse({"judges": JUDGES})

    async def login(request: Request) -> Response:
        return HTMLResponse("<h1>Sign in</h1>")

    routes = [Route("/judges", judges), Route("/ui/login", login)]
    with serve(Starlette(routes=routes)) as base_url:
        yield base_url


def test_verified_rewards_that_no_judge_counts_are_told(url: str) -> None:
    assert check_service(ServiceConfig(url=url), sends_reward=True) == [
        "the task sends verified rewards, but judge 'plain' does not count them: give it a"
        " verified_weight in the judges file"
    ]
    assert check_service(ServiceConfig(url=url)) == []
    assert check_service(ServiceConfig(url=url, judge="mixed"), "plain", True) == []


@pytest.mark.parametrize(("judge", "eval_judge"), [("mixed", None), ("plain", "mixed")])
def test_a_judge_that_needs_verified_rewards_must_get_them(
    url: str, judge: str, eval_judge: str | None
) -> None:
    with pytest.raises(PreflightError, match=r"^judge 'mixed' mixes in .* set task\.reward to sco"):
        check_service(ServiceConfig(url=url, judge=judge), eval_judge)


def test_the_page_of_the_run_is_named(url: str) -> None:
    [note] = check_service(ServiceConfig(url=url), run="my run")
    assert note == f"page of the run: {url}/ui/runs/my%20run"


def test_a_service_without_pages_names_none() -> None:
    async def judges(request: Request) -> Response:
        return JSONResponse({"judges": JUDGES})

    with serve(Starlette(routes=[Route("/judges", judges)])) as base_url:
        assert check_service(ServiceConfig(url=base_url), run="r") == []
