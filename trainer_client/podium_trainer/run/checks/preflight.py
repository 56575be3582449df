"""Check that the service can rank before much is loaded."""

import os
from typing import Any

import httpx

from podium.connections import page_url, parse_key, parse_url
from podium_trainer.config import ServiceConfig

TIMEOUT_S = 30.0


class PreflightError(Exception):
    """The run cannot start, or not rank as configured; one line with the reason and the remedy."""


def check_service(
    config: ServiceConfig,
    eval_judge: str | None = None,
    sends_reward: bool = False,
    *,
    run: str | None = None,
) -> list[str]:
    """Ask the service for its judges.

    Args:
        config: the service and the judge of the rewards.
        eval_judge: the judge of the win rate, if it is another one.
        sends_reward: whether the task sends verified rewards.
        run: the name of the run, whose page is named if the service has pages.

    Returns:
        What a person should know about the service, one line each.

    Raises:
        PreflightError: If the service does not answer, refuses the key or does not know the judge,
            if the judge's endpoint does not answer, or if it needs verified rewards and the task
            sends none.
    """
    try:
        url = parse_url(config.url or os.environ.get("PODIUM_URL") or "http://127.0.0.1:8000")
        key = parse_key(os.environ.get("PODIUM_API_KEY"))
    except ValueError as error:
        raise PreflightError(f"service.url: {error}") from error
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx.Client(base_url=url, trust_env=False, timeout=TIMEOUT_S) as client:
            response = client.get("/judges", headers=headers)
            notes = [] if run is None else page_notes(client, run)
    except httpx.TransportError as error:
        raise PreflightError(
            f"the reward service at {url} does not answer ({error}): start it with `podium serve`,"
            " or name another one with --service URL"
        ) from error
    if response.status_code in (401, 403):
        raise PreflightError(f"{url} refuses the API key: set PODIUM_API_KEY to one of its keys")
    judges = read_judges(url, response)
    if eval_judge is not None:
        evaluating = require_judge(eval_judge, judges, "eval.judge")
        require_reward(evaluating, judges, sends_reward)
    name = require_judge(config.judge, judges, "service.judge")
    weight = require_reward(name, judges, sends_reward)
    if sends_reward and not weight:
        notes += [
            f"the task sends verified rewards, but judge {name!r} does not count them: give it a"
            " verified_weight in the judges file"
        ]
    return notes


def page_notes(client: httpx.Client, run: str) -> list[str]:
    """Return the address of the run's page; nothing if the service has no pages.

    The page of signing in is asked for, because it needs no key, and a run has no page of its own
    before its first group.
    """
    answer = client.get("/ui/login")
    is_page = answer.headers.get("content-type", "").startswith("text/html")
    if answer.status_code != 200 or not is_page:
        return []
    return [f"page of the run: {page_url(client.base_url, run=run)}"]


def read_judges(url: httpx.URL, response: httpx.Response) -> dict[str, dict[str, Any]]:
    """Return the judges that the service lists, by name."""
    try:
        return {judge["name"]: judge for judge in response.raise_for_status().json()["judges"]}
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError) as error:
        raise PreflightError(
            f"{url}/judges answers HTTP {response.status_code}, but not as a Podium service does:"
            " check the URL in --service"
        ) from error


def require_judge(wanted: str | None, judges: dict[str, dict[str, Any]], setting: str) -> str:
    """Return the name of the judge that a setting wants, or of the default judge."""
    default = next((name for name, judge in judges.items() if judge.get("default")), None)
    name = wanted or default
    if name is None or name not in judges:
        known = ", ".join(sorted(judges))
        raise PreflightError(f"{setting} {name!r} is not configured: use one of {known}")
    judge = judges[name]
    if not judge.get("answers") and not judge.get("fallback"):
        reasons = [str(end.get("detail")) for end in judge.get("endpoints", [])]
        raise PreflightError(f"judge {name!r} does not answer: {'; '.join(reasons)}")
    return name


def require_reward(name: str, judges: dict[str, dict[str, Any]], sends_reward: bool) -> float:
    """Return the judge's weight of verified rewards, which it can have only if there are any."""
    weight = float(judges[name].get("verified_weight") or 0.0)
    if weight and not sends_reward:
        raise PreflightError(
            f"judge {name!r} mixes in verified rewards (verified_weight {weight:g}), and the task"
            " sends none: set task.reward to score, to a scorer or to module:function"
        )
    return weight
