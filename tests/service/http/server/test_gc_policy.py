"""Finished groups leave no garbage, because the garbage collector runs rarely."""

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from podium_service.errors import PodiumError
from podium_service.http.server import gc_policy
from podium_service.schemas import RankRequest
from tests.fakes import ScriptedJudge, Step, by_length, drops, fails, says, scores, until
from tests.service.helpers import client, group, llm, request, service

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.freeze()  # what lives on from other tests is not looked at, which takes a second each time
    gc.disable()
    yield
    gc.enable()


def count_groups() -> int:
    return sum(type(each) is RankRequest for each in gc.get_objects())


@pytest.mark.parametrize(
    "step",
    [scores(by_length), fails(500), fails(429, "slow down"), fails(400), says("no verdict"), drops],
)
@pytest.mark.parametrize("passes", [1, 2])
async def test_a_finished_group_leaves_no_garbage(tmp_path: Path, step: Step, passes: int) -> None:
    before = count_groups()
    async with (
        ScriptedJudge(always=step).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=passes, attempts=1)) as opened,
    ):
        for number in range(3):
            try:
                await opened.ranker.rank(request("5", "five", task=f"{number}"))
            except PodiumError as error:
                assert error.code  # noqa: PT017
        await asyncio.sleep(0)  # so that finished tasks are freed
        assert count_groups() - before <= 1  # the last error may live until the next one


async def test_a_failed_request_leaves_no_garbage(tmp_path: Path) -> None:
    before = count_groups()
    async with (
        ScriptedJudge(always=fails(500)).serving() as judge,
        service(tmp_path, main=llm(judge.url, attempts=1)) as opened,
        client(opened) as http,
    ):
        for number in range(3):
            answer = await http.post("/rank", json=group("5", "five", task=f"{number}"))
            assert answer.status_code == 503
        await opened.store.flush()  # a failure is written after its answer
        assert count_groups() - before <= 1  # the last write may live until the next one


class Cycle:
    def __init__(self) -> None:
        self.itself = self


async def test_garbage_is_collected_by_the_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gc_policy, "EVERY_S", 0.01)
    Cycle()
    collecting = asyncio.create_task(gc_policy.collect_periodically())
    await until(lambda: not any(type(each) is Cycle for each in gc.get_objects()))
    collecting.cancel()
