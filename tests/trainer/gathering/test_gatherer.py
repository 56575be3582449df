"""Groups are ranked as they are played: with scripted samplers and a scripted service over TCP."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from podium.blocking_client import RankClient
from podium.errors import RankError, RequestRefused
from podium_trainer.config import RolloutConfig
from podium_trainer.gathering.activity import Activity
from podium_trainer.gathering.gatherer import Gatherer, GatherStopped
from podium_trainer.policy.samples import Completion, Request
from podium_trainer.records.rows.gathered import Gathered
from podium_trainer.rollout.rollout import Rollout
from podium_trainer.rollout.tool_runner import ToolRunner
from podium_trainer.samplers import SamplingFailed
from podium_trainer.tasks.task import PromptCursor, Task
from podium_trainer.update.ranker import MAX_REQUESTS, Ranker
from tests.fake_service import failed, ranked, serve
from tests.trainer.ranked import config
from tests.trainer.rollout.scripted_sampler import CHAT, make_prompt
from tests.trainer.runs import Recorder
from tests.trainer.tiny import END

PATIENCE_S = 20.0
NAMES = ["one", "two", "three"]


class HeldSampler:
    """Draws at once, but for the prompts whose event it waits for."""

    policy_version = 0
    servers_ready = None

    def __init__(self, held: dict[str, Event], *, in_lockstep: bool = False) -> None:
        self.held = held
        self.in_lockstep = in_lockstep
        self.is_closed = False

    def sample(self, requests: Sequence[Request], *, seed: int) -> list[list[Completion]]:
        for request in requests:
            text = CHAT.decode(request.prompt_ids)
            for event in [event for name, event in self.held.items() if name in text]:
                if not event.wait(PATIENCE_S) or self.is_closed:
                    raise SamplingFailed(f"{text!r} was never let go", "unanswered")
        return [
            [Completion([7 + n, END], [-1.0] * 2, "stop", [0, 0]) for n in range(r.num_completions)]
            for r in requests
        ]

    def close(self) -> None:
        self.is_closed = True
        for event in self.held.values():
            event.set()


class Service:
    """Answers each group by a function of its name: nothing to rank it, a code to refuse it."""

    def __init__(self, answer: Callable[[str], str | None] = lambda name: None) -> None:
        self.answer = answer
        self.requests: list[list[str]] = []

    async def rank_batch(self, request: HttpRequest) -> Response:
        groups = json.loads(await request.body())["groups"]
        names = [group["metadata"]["prompt_id"] for group in groups]
        self.requests.append(names)
        lines = []
        for index, (name, group) in enumerate(zip(names, groups, strict=True)):
            code = await asyncio.to_thread(self.answer, name)
            rewards = {each["id"]: float(each["id"] == "0") for each in group["trajectories"]}
            lines += [
                failed(index, 422, code, retryable=False) if code else ranked(index, group, rewards)
            ]
        return Response(b"".join(lines), media_type="application/x-ndjson")

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Route("/rank/batch", self.rank_batch, methods=["POST"])])


@contextmanager
def opened(
    folder: Any, sampler: HeldSampler, service: Service, names: Sequence[str] = NAMES
) -> Iterator[Gatherer]:
    """Yield a gatherer of one group of each name."""
    rollout = RolloutConfig(prompts_per_step=len(names), group_size=2, max_refills=0)
    settings = config(folder, rollout=rollout)
    task = Task([make_prompt(name) for name in names])
    with serve(service.app) as url, RankClient(url, max_dry=None) as client:
        played = Rollout(task, CHAT, sampler, ToolRunner((), timeout_s=1), max_tokens=9, context=99)
        gatherer = Gatherer(
            settings, rollout=played, ranker=Ranker(settings, task, played, client),
            cursor=PromptCursor(task.train, 0), activity=Activity(), watcher=Recorder(),
        )  # fmt: skip
        try:
            yield gatherer
        finally:
            sampler.close()


def names_of(gathered: Gathered) -> list[str]:
    return [group.prompt.id for group in gathered.seen]


def test_a_group_is_ranked_while_others_are_played(tmp_path: Any) -> None:
    first_is_ranked = Event()
    sampler = HeldSampler(dict.fromkeys(["two", "three"], first_is_ranked))

    def answer(name: str) -> None:
        if name == "one":
            first_is_ranked.set()

    service = Service(answer)
    with opened(tmp_path, sampler, service) as gatherer:
        gathered = gatherer.begin(1)()
        order = [prompt.id for prompt in PromptCursor(gatherer.rollout.task.train, 0).take(3)]
    assert service.requests[0] == ["one"]
    assert names_of(gathered) == order
    assert not gathered.lost
    assert {"rollout", "rank"} == gathered.clock.seconds.keys()


@pytest.mark.parametrize("last", NAMES)
def test_groups_come_in_the_order_of_their_prompts(tmp_path: Any, last: str) -> None:
    others_are_ranked = Event()
    service = Service()

    def answer(name: str) -> None:
        if len(service.requests) == len(NAMES) - 1:
            others_are_ranked.set()

    service.answer = answer
    with opened(tmp_path, HeldSampler({last: others_are_ranked}), service) as gatherer:
        gathered = gatherer.begin(1)()
        order = [prompt.id for prompt in PromptCursor(gatherer.rollout.task.train, 0).take(3)]
    assert service.requests[-1] == [last]
    assert [group.prompt.id for group in gathered.kept] == order


def test_a_group_that_is_refused_first_is_left_out_alone(tmp_path: Any) -> None:
    first_is_refused = Event()
    sampler = HeldSampler(dict.fromkeys(["two", "three"], first_is_refused))

    def answer(name: str) -> str | None:
        first_is_refused.set()
        return "reference_required" if name == "one" else None

    with opened(tmp_path, sampler, Service(answer)) as gatherer:
        gathered = gatherer.begin(1)()
    assert sorted(group.prompt.id for group in gathered.kept) == ["three", "two"]
    [refused] = [group for group in gathered.seen if not group.is_ranked]
    assert refused.answer.error
    assert refused.answer.error.code == "reference_required"


def test_a_fault_of_the_settings_ends_the_gather(tmp_path: Any) -> None:
    service = Service(lambda name: "unknown_judge")
    with (
        opened(tmp_path, HeldSampler({}), service) as gatherer,
        pytest.raises(RequestRefused, match="unknown_judge"),
    ):
        gatherer.begin(1)()


@pytest.mark.parametrize(("num_groups", "share"), [(MAX_REQUESTS, 1), (40, 3)])
def test_many_groups_share_requests(tmp_path: Any, num_groups: int, share: int) -> None:
    service = Service()
    names = [f"n{number}" for number in range(num_groups)]
    with opened(tmp_path, HeldSampler({}, in_lockstep=True), service, names) as gatherer:
        gathered = gatherer.begin(1)()
    assert sorted(names_of(gathered)) == sorted(names)
    assert len(service.requests) == -(-num_groups // share) <= MAX_REQUESTS


def test_a_stop_ends_a_gather_that_waits_for_the_judge(tmp_path: Any) -> None:
    asked, release = Event(), Event()

    def answer(name: str) -> None:
        asked.set()
        release.wait(PATIENCE_S)

    errors: list[Exception] = []
    with opened(tmp_path, HeldSampler({}), Service(answer)) as gatherer:
        gather = gatherer.begin(1)

        def run() -> None:
            try:
                gather()
            except (RankError, GatherStopped) as error:
                errors.append(error)

        thread = Thread(target=run)
        thread.start()
        assert asked.wait(PATIENCE_S)
        gatherer.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        release.set()
    assert len(errors) == 1
