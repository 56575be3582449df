"""Whether the reward service will answer, asked before anything large is loaded."""

import os
from typing import Any

import httpx

from podium.client import checked_key, checked_url
from podium_trainer.config import ServiceConfig

CHECK_S = 30.0


class ServiceCheckFailed(Exception):
    """The service cannot rank as configured; one line that says why and what to do."""


def check_service(config: ServiceConfig) -> str:
    """Ask the service for its judges.

    Returns:
        The name of the judge that will be asked.

    Raises:
        ServiceCheckFailed: If it does not answer, refuses the key, does not know the judge, or the
            judge's endpoint does not answer.
    """
    try:
        url = checked_url(config.url or os.environ.get("PODIUM_URL") or "http://127.0.0.1:8000")
        key = checked_key(os.environ.get("PODIUM_API_KEY"))
    except ValueError as error:
        raise ServiceCheckFailed(f"service.url: {error}") from error
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx.Client(base_url=url, trust_env=False, timeout=CHECK_S) as client:
            response = client.get("/judges", headers=headers)
    except httpx.TransportError as error:
        raise ServiceCheckFailed(
            f"the reward service at {url} does not answer ({error}): start it with `podium serve`,"
            " or name another one with --service URL"
        ) from error
    if response.status_code in (401, 403):
        raise ServiceCheckFailed(
            f"{url} refuses the API key: set PODIUM_API_KEY to one of its keys"
        )
    return usable_judge(config.judge, read_judges(url, response))


def read_judges(url: httpx.URL, response: httpx.Response) -> dict[str, dict[str, Any]]:
    """The judges by name, as the service lists them."""
    try:
        return {judge["name"]: judge for judge in response.raise_for_status().json()["judges"]}
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError) as error:
        raise ServiceCheckFailed(
            f"{url}/judges answers HTTP {response.status_code}, but not as a Podium service does:"
            " check --service"
        ) from error


def usable_judge(wanted: str | None, judges: dict[str, dict[str, Any]]) -> str:
    """The name of the wanted judge, or of the default one."""
    default = next((name for name, judge in judges.items() if judge.get("default")), None)
    name = wanted or default
    if name is None or name not in judges:
        known = ", ".join(sorted(judges))
        raise ServiceCheckFailed(f"service.judge {name!r} is not configured: there are {known}")
    judge = judges[name]
    if not judge.get("answers") and not judge.get("fallback"):
        reasons = [str(end.get("detail")) for end in judge.get("endpoints", [])]
        raise ServiceCheckFailed(f"judge {name!r} does not answer: {'; '.join(reasons)}")
    return name
