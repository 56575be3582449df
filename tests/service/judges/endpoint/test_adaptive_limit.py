"""The limit on active calls rises step by step and is cut when the endpoint has too much to do."""

import pytest

from podium_service.judges.endpoint.adaptive_limit import AdaptiveLimit
from tests.fakes import (
    fails,
)
from tests.service.judges.builders import (
    GOOD,
    ask,
    open_judge,
)

pytestmark = pytest.mark.anyio


def test_the_limit_is_cut_once_a_round_and_not_below_its_bound() -> None:
    limit = AdaptiveLimit(4, 100)
    limit.record_overload(started_at=0.0, now=1.0)
    limit.record_overload(started_at=0.5, now=1.1)  # it started before the cut
    assert limit.limit == 70
    for moment in range(2, 20):
        limit.record_overload(started_at=moment, now=moment)
    assert limit.limit == 4


def test_the_limit_rises_by_a_step_a_round_while_it_is_in_use() -> None:
    limit = AdaptiveLimit(1, 320)
    for moment in range(3):
        limit.record_overload(started_at=moment, now=moment)
    before = limit.limit  # 320 * .7 ** 3
    assert before == 109
    for _ in range(before):
        limit.record_success(num_active=before)
    assert limit.limit == pytest.approx(before + 10, abs=1)  # 320 / 32
    for _ in range(1000):
        limit.record_success(num_active=3)  # less than half of the limit is in use
    assert limit.limit == pytest.approx(before + 10, abs=1)


async def test_a_429_lowers_the_limit_of_its_endpoint() -> None:
    async with open_judge(fails(429), GOOD, concurrency=100) as (judge, _):
        await ask(judge)
        assert judge.endpoints[0].concurrency.limit == 70
