"""The pages of a running service: its judges, what failed, its API keys, and its routes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from podium_service import errors
from podium_service.pages.frame import Frame, render
from podium_service.pages.group import to_json
from podium_service.schemas import JudgeStatus
from podium_service.schemas.history import RankingSummary

_OUTSIDE_SETTINGS = {"name", "default", "answers", "endpoints"}


def render_judges(frame: Frame, judges: Sequence[Mapping[str, Any]], error: str = "") -> str:
    """Return the page of all judges, with their settings and whether they answer.

    Args:
        judges: as `GET /judges` lists them.
        error: why the last change of the judges file was refused; "" if it was not.
    """
    shown = [
        (
            JudgeStatus.model_validate(each),
            yaml.safe_dump(
                {k: v for k, v in each.items() if k not in _OUTSIDE_SETTINGS and v is not None},
                sort_keys=False,
                allow_unicode=True,
            ),
        )
        for each in judges
    ]
    return render("judges", frame, judges=shown, error=error)


def render_failures(
    frame: Frame, failed: Sequence[RankingSummary], faults: Sequence[Mapping[str, Any]]
) -> str:
    """Return the page of groups that failed, and of replies that were no verdict.

    Args:
        failed: the last groups that failed.
        faults: the last replies without a verdict, as judge, model, at, fault and reply.
    """
    titles = {kind.code: kind for kind in errors.leaves()}
    counts = Counter((each.code or "", each.judge) for each in failed)
    rows = [
        (code, judge, number, titles[code].title if code in titles else "",
         code in titles and titles[code].retryable)
        for (code, judge), number in counts.most_common()
    ]  # fmt: skip
    return render("failures", frame, rows=rows, failed=failed[:50], faults=faults)


def render_keys(
    frame: Frame,
    keys: Sequence[Mapping[str, Any]],
    *,
    created: str = "",
    problem: str = "",
) -> str:
    """Return the page of API keys.

    Args:
        keys: as `GET /keys` lists them.
        created: the text of a key that was just made; it is shown this one time.
        problem: what was wrong with the form.
    """
    return render("keys", frame, keys=keys[::-1], created=created, problem=problem)


def render_reference(frame: Frame, document: Mapping[str, Any]) -> str:
    """Return the reference of all routes, from the service's OpenAPI document."""
    routes = [
        _describe(frame, method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    return render("reference", frame, routes=routes)


def _describe(frame: Frame, method: str, path: str, operation: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page says about one route."""
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    example = body.get("example")
    summary, _, rest = operation.get("description", "").partition("\n")
    responses = {
        status: [
            (media, content["example"])
            for media, content in response.get("content", {}).items()
            if "example" in content and int(status) < 300
        ]
        for status, response in operation.get("responses", {}).items()
    }
    return {
        "method": method.upper(),
        "path": path,
        "summary": summary,
        "description": rest.strip(),
        "parameters": [
            (each["name"], each["in"], each.get("required", False), _meaning(each))
            for each in operation.get("parameters", [])
        ],
        "curl": curl(frame.base_url, method, path, example),
        "answers": [example for some in responses.values() for example in some],
        "problems": [
            (status, response["description"])
            for status, response in operation.get("responses", {}).items()
            if int(status) >= 400
        ],
    }  # fmt: skip


def _meaning(parameter: Mapping[str, Any]) -> str:
    return str(parameter["schema"].get("description") or parameter.get("description") or "")


def curl(base_url: str, method: str, path: str, example: Any) -> str:
    """Return a command that calls a route of this service."""
    parts = [f'curl {base_url}{path} -H "Authorization: Bearer $PODIUM_API_KEY"']
    if method != "get":
        parts.append(f"-X {method.upper()} -H 'Content-Type: application/json'")
    if example is not None:
        body = to_json(example).replace("'", "'\\''")
        parts.append(f"-d '{body}'")
    return " \\\n  ".join(parts)
