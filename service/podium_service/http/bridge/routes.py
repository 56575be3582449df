"""The routes for trainers whose hooks see one sample: members come one by one, and wait."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel
from pydantic_core import to_json

from podium.integrations.anchors import FirstCompletions
from podium_service.errors import PodiumError
from podium_service.http.access.api_key import APIKey, count_request
from podium_service.http.bridge.forms import FORMS, nemo_gym
from podium_service.http.bridge.forms.form import Form, Reward
from podium_service.http.bridge.members import (
    choose_anchor,
    group_of,
    member_of,
    name_of,
)
from podium_service.http.bridge.outage import DryRule
from podium_service.http.openapi import examples
from podium_service.http.openapi.document import (
    json_body,
    problem_responses,
    query_parameters,
    ranking_response,
)
from podium_service.http.requests.body import read_json, validate
from podium_service.http.requests.disconnect import run_while_connected
from podium_service.http.service import Service
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.ranking.deadline import Deadline
from podium_service.ranking.gathering.rendezvous import Outcome, Rank
from podium_service.ranking.gathering.seats import Terms
from podium_service.schemas import (
    MAX_BODY_BYTES,
    JoinRequest,
    JudgeSettings,
    Ranking,
    RankRequest,
    URLSettings,
)
from podium_service.telemetry import routes

_REFUSALS = problem_responses(400, 401, 402, 403, 404, 408, 413, 415, 422, 429, 431, 502, 503, 504)
TRAINER_BODIES: list[type[BaseModel]] = [
    nemo_gym.CompareRequest,
    *(form.body for form in FORMS.values()),
]
_OF_MEMBER = {"group_size", "min_members", "patience_s", "trajectory", "anchor"}

log = structlog.get_logger(__name__)


def bridge_routes(service: Service) -> APIRouter:
    """Return the routes under `/bridge`."""
    router = APIRouter(responses=_REFUSALS)
    first = FirstCompletions()

    @router.post(
        routes.BRIDGE_JOIN,
        response_model=Ranking,
        openapi_extra=json_body(JoinRequest, examples.MEMBER),
        responses=ranking_response(),
    )
    async def join_group(request: Request) -> Response:
        """Add one member to its group, wait for the others, and return the group's ranking.

        The members may come from any number of processes. A member that is sent again keeps its
        place, and gets the same answer.
        """
        if service.gatherer is not None:
            return await service.gatherer.forward(request, MAX_BODY_BYTES)
        member = validate(JoinRequest, await read_json(request, MAX_BODY_BYTES))
        terms = _terms(member, is_unique=True)
        name = member.trajectory.id
        joined = _join(service, request, member, terms, name)
        outcome = await run_while_connected(request, joined)
        if isinstance(outcome.result, PodiumError):
            raise outcome.result.copy()
        return _json(outcome.result)

    for path, form in FORMS.items():
        router.add_api_route(
            path,
            _reward_route(service, path, form),
            methods=["POST"],
            name=path.strip("/").replace("/", "_").replace("-", "_"),
            response_class=Response,
            openapi_extra=json_body(form.body, form.example) | query_parameters(URLSettings),
        )

    @router.post(
        routes.BRIDGE_NEMO_GYM_COMPARE,
        response_class=Response,
        openapi_extra=json_body(nemo_gym.CompareRequest, examples.COMPARE)
        | query_parameters(JudgeSettings),
    )
    async def bridge_nemo_gym_compare(request: Request) -> Response:
        """Rank a whole group in the body of NeMo-Gym's `/compare`."""
        if service.gatherer is not None:  # it knows the first completion of each prompt
            return await service.gatherer.forward(request, MAX_BODY_BYTES)
        settings = validate(JudgeSettings, dict(request.query_params))
        body = validate(nemo_gym.CompareRequest, await read_json(request, MAX_BODY_BYTES))
        if not body.response_objs:
            return _json(nemo_gym.answer_group(None))
        key: APIKey = request.state.key
        ranked = _rank(service, key, group_of(body, settings, key.id, first))
        return _json(nemo_gym.answer_group(await run_while_connected(request, ranked)))

    return router


def _reward_route(
    service: Service, path: str, form: Form[Any]
) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    """Return the endpoint that rewards the samples of one trainer, each among its group."""
    dry_rules: dict[str, DryRule] = {}
    first = FirstCompletions()

    async def reward(request: Request) -> Response:
        if service.gatherer is not None:
            return await service.gatherer.forward(request, MAX_BODY_BYTES)
        settings = validate(URLSettings, dict(request.query_params))
        body = validate(form.body, await read_json(request, MAX_BODY_BYTES))
        key: APIKey = request.state.key
        members = [
            member_of(path, settings, sample, choose_anchor(settings.anchor, sample, key.id, first))
            for sample in form.read(body)
        ]
        outcomes = await run_while_connected(request, _join_all(service, request, members))
        rule = dry_rules.setdefault(key.id, DryRule())
        has_anchor = settings.anchor is not None
        rewards = [_reward(service, each, rule, has_anchor=has_anchor) for each in outcomes]
        return _json(form.answer(body, rewards))

    reward.__doc__ = f"""Return the reward of a sample of {form.trainer}, as its trainer expects it.

    The answer comes once the group is whole and ranked. A group that could not be ranked is
    answered as the trainer leaves out a group, or with equal rewards if it cannot.
    """
    return reward


async def _join_all(
    service: Service, request: Request, members: Sequence[JoinRequest]
) -> list[Outcome]:
    return await asyncio.gather(
        *(
            _join(service, request, member, _terms(member, is_unique=False), name_of(member))
            for member in members
        )
    )


def _terms(member: JoinRequest, *, is_unique: bool) -> Terms:
    size = member.group_size
    least = size if member.min_members is None else member.min_members
    shared = member.model_dump(exclude=_OF_MEMBER) | {"anchor": member.anchor}
    return Terms(size, least, member.patience_s, is_unique, shared)


async def _join(
    service: Service, request: Request, member: JoinRequest, terms: Terms, name: str | None
) -> Outcome:
    """Wait for the outcome of a member's group; only requests with the same key share a group."""
    key: APIKey = request.state.key
    rank: Rank = lambda group: _rank(service, key, group)  # noqa: E731 - its type is checked
    place = f"{key.id} {member.group_id}"
    return await service.rendezvous.join(place, terms, name, member.trajectory, rank)


async def _rank(service: Service, key: APIKey, group: RankRequest) -> Ranking:
    """Count and rank one group, with patience, because the groups of a step come at once."""
    deadline = Deadline.after(group.deadline_s)
    await count_request(key, service.store.quotas, service.metrics, deadline)
    context = RequestContext(
        api_key_id=key.id, api_key_name=key.name, spend_limit=key.spend_limit, patient=True
    )
    return await service.ranker.rank(group, deadline, context)


def _reward(service: Service, outcome: Outcome, rule: DryRule, *, has_anchor: bool) -> Reward:
    """Return the reward of one sample.

    Raises:
        PodiumError: If no later group can be ranked either, or none was for too long, so that the
            trainer must stop.
    """
    result = outcome.result
    error = result if isinstance(result, PodiumError) else None
    now = asyncio.get_running_loop().time()
    if rule.must_stop(error, outcome.opened_at, now):
        assert error is not None
        raise error.copy()
    if isinstance(result, PodiumError):
        service.metrics.count_problem(result.code)
        log.info("no_reward", code=result.code, detail=result.detail)
        return Reward(error=result, has_anchor=has_anchor)
    own = next(each for each in result.results if each.id == outcome.member)
    return Reward(own, result, has_anchor=has_anchor)


def _json(value: Any) -> Response:
    return Response(to_json(value), media_type="application/json")
