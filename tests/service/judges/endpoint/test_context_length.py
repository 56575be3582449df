"""What a judge can read is asked of all its endpoints at once, and once for all who wait."""

import asyncio

import pytest

from podium_service.errors import (
    JudgeQuotaExhausted,
    JudgeRateLimited,
    JudgeRejected,
    JudgeUnavailable,
)
from podium_service.judges.endpoint.context_length import (
    DEFAULT_CONTEXT_TOKENS,
    RETRY_S,
    ContextLength,
)
from podium_service.judges.endpoint.errors import ContextOverflow, ParameterRejected
from tests.fakes import Listing, until

pytestmark = pytest.mark.anyio

SMALL = [{"id": "other", "max_model_len": 512}, {"id": "m", "max_model_len": 4096}]
UNSAID = [{"id": "m"}]
DOWN = JudgeUnavailable("down")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def context(*endpoints: Listing) -> tuple[ContextLength, Clock]:
    clock = Clock()
    return ContextLength("main", "m", endpoints, clock), clock


async def test_all_who_wait_share_one_probe_and_who_leaves_ends_it_for_nobody() -> None:
    slow = Listing(None)
    asked, _ = context(slow)
    first, *others = [asyncio.create_task(asked.get_tokens()) for _ in range(5)]
    await until(lambda: slow.in_flight == 1)
    first.cancel()
    await asyncio.wait([first])
    slow.answer = SMALL
    assert await asyncio.gather(*others) == [4096] * 4
    assert await asked.get_tokens() == 4096
    assert (first.cancelled(), slow.asked) == (True, 1)


async def test_a_probe_that_everybody_left_is_of_use_to_those_who_come_later() -> None:
    slow = Listing(None)
    asked, _ = context(slow)
    leaver = asyncio.create_task(asked.get_tokens())
    await until(lambda: slow.in_flight == 1)
    leaver.cancel()
    await asyncio.wait([leaver])
    slow.answer = SMALL
    assert await asked.get_tokens() == 4096
    assert slow.asked == 1


async def test_the_first_endpoint_that_gives_a_length_is_enough() -> None:
    hanging, unsaid, small = Listing(None), Listing(UNSAID), Listing(SMALL)
    asked, _ = context(hanging, Listing(DOWN), unsaid, small)
    assert await asked.get_tokens() == 4096
    await until(lambda: hanging.in_flight == 0)  # nobody waits for it any more
    assert (hanging.asked, unsaid.asked, small.asked) == (1, 1, 1)


@pytest.mark.parametrize(
    "answer",
    [
        UNSAID, [], [{"id": "m", "max_model_len": "8k"}], [{"id": "m", "max_model_len": 0}],
        JudgeRejected("404"), ParameterRejected("400", "no"), ContextOverflow("400"),
    ],
    ids=str,
)  # fmt: skip
async def test_an_answer_without_a_length_means_the_default_for_good(
    answer: list[dict[str, object]] | Exception,
) -> None:
    definite, down = Listing(answer), Listing(DOWN)
    asked, clock = context(down, definite)
    assert await asked.get_tokens() == DEFAULT_CONTEXT_TOKENS
    clock.now += 2 * RETRY_S
    definite.answer = SMALL
    assert await asked.get_tokens() == DEFAULT_CONTEXT_TOKENS
    assert (definite.asked, down.asked) == (1, 1)


@pytest.mark.parametrize("error", [DOWN, JudgeRateLimited("429"), JudgeQuotaExhausted("429")])
async def test_endpoints_that_cannot_be_asked_are_left_alone_for_a_while_and_asked_again(
    error: Exception,
) -> None:
    failing = Listing(error)
    asked, clock = context(failing, Listing(DOWN))
    for _ in range(2):
        assert await asked.get_tokens() == DEFAULT_CONTEXT_TOKENS
        clock.now += RETRY_S - 1
    assert failing.asked == 1
    failing.answer = SMALL
    assert await asked.get_tokens() == 4096
    assert failing.asked == 2


async def test_a_judge_that_is_closed_stops_asking() -> None:
    hanging = Listing(None)
    asked, _ = context(hanging)
    await asked.aclose()
    leaver = asyncio.create_task(asked.get_tokens())
    await until(lambda: hanging.in_flight == 1)
    await asked.aclose()
    await until(lambda: hanging.in_flight == 0)
    await asyncio.wait([leaver])
    assert leaver.cancelled()
