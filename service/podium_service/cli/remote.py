"""Ask a running service, by the reward client, for `podium rank`, `judges` and `mcp`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx

from podium.answers import GroupReward
from podium.blocking_client import RankClient
from podium.connections import parse_key, parse_url
from podium.errors import ProtocolError, RankError, from_response, transport_errors
from podium.groups import Trajectory, TrajectoryGroup
from podium_service.errors import ConfigError, NotFound, PodiumError
from podium_service.http.batch import make_failed_line
from podium_service.http.requests.body import validate
from podium_service.schemas import BatchLine, Problem, Ranking, RankRequest
from podium_service.schemas.history import RankingDetail

GROUPS_AT_ONCE = 64
READ_TIMEOUT_S = 30.0


def rank_remotely(
    url: str, api_key: str | None, groups: list[Any], deadline_s: float, advance: Callable[[], None]
) -> list[BatchLine]:
    """Return one line per group, in their order; `advance` is called after each group.

    Raises:
        RankError: If the service refuses the caller, or cannot be reached at all.
    """
    lines: list[BatchLine] = []
    groups_by_deadline: dict[float, list[tuple[int, TrajectoryGroup]]] = {}
    for index, group in enumerate(groups):
        try:
            validate(RankRequest, group)
            own_s = group.get("deadline_s", deadline_s)
            groups_by_deadline.setdefault(own_s, []).append((index, client_group(group)))
        except PodiumError as error:
            lines.append(make_failed_line(index, group, error))
            advance()
    for each_s, valid_groups in groups_by_deadline.items():
        with client_errors():
            client = RankClient(url, api_key=api_key, deadline_s=each_s)
        with client:
            for first in range(0, len(valid_groups), GROUPS_AT_ONCE):
                some = valid_groups[first : first + GROUPS_AT_ONCE]
                rewards = client.rank_many([g for _, g in some], on_progress=lambda *_: advance())
                lines += [_line(*each, reward) for each, reward in zip(some, rewards, strict=True)]
    return sorted(lines, key=lambda line: line.index)


def judges_remotely(url: str, api_key: str | None) -> list[dict[str, Any]]:
    """Return the judges that `GET /judges` of a service lists.

    Raises:
        RankError: If the service refuses the caller, cannot be reached, or is no Podium.
    """
    answer = _read(url, api_key, "/judges")
    try:
        return list(answer["judges"])
    except (KeyError, TypeError) as error:
        raise ProtocolError.about("not_podium", f"{url} does not list judges") from error


def ranking_remotely(url: str, api_key: str | None, ranking_id: str) -> dict[str, Any]:
    """Return a past ranking as `GET /rankings/{ranking_id}` of a service has it.

    Raises:
        RankError: As `judges_remotely`; also if there is no ranking of this id.
    """
    answer = _read(url, api_key, f"/rankings/{quote(ranking_id, safe='')}")
    detail = validate(RankingDetail, answer)
    if detail.ranking is None:
        raise NotFound(f"group {ranking_id!r} could not be ranked: {detail.summary.code}")
    return detail.ranking.model_dump()


def _read(url: str, api_key: str | None, path: str) -> Any:
    with client_errors():
        full_url = f"{str(parse_url(url)).rstrip('/')}{path}"
        key = parse_key(api_key)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with transport_errors(httpx.Request("GET", full_url)):
        response = httpx.get(full_url, headers=headers, timeout=READ_TIMEOUT_S, trust_env=False)
    if not response.is_success:
        raise from_response(response)
    try:
        return response.json()
    except ValueError as error:
        raise ProtocolError.about("not_podium", f"{full_url} does not answer JSON") from error


@contextmanager
def client_errors() -> Iterator[None]:
    """Raise the client's error about a URL or a key as an error of this command."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(str(error)) from error


def client_group(group: dict[str, Any]) -> TrajectoryGroup:
    """Return a valid group as the client's own type."""
    fields = {name: value for name, value in group.items() if name != "deadline_s"}
    fields["trajectories"] = [Trajectory(**each) for each in group["trajectories"]]
    return TrajectoryGroup(**fields)


def _line(index: int, group: TrajectoryGroup, reward: GroupReward) -> BatchLine:
    if reward.ranking:
        ranking = Ranking.model_validate(reward.ranking.model_dump())
        return BatchLine(index=index, group_id=group.group_id, status="ranked", ranking=ranking)
    problem = _problem(reward.error) if reward.error else None
    return BatchLine(index=index, group_id=group.group_id, status="failed", problem=problem)


def _problem(error: RankError) -> Problem:
    return Problem(
        type=f"urn:podium:{error.code}",
        title=error.code,
        status=error.status or 0,
        detail=error.detail,
        code=error.code,
        retryable=error.retryable,
        request_id=error.request_id,
    )
