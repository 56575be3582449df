"""What stops a run: faults of the settings, refused batches, and batches without a ranking."""

import logging
import time

import pytest

from podium.answers import GroupReward
from podium.errors import (
    JudgeFailed,
    NothingRanked,
    RequestRefused,
    ServiceAbsent,
    ServiceUnavailable,
    Unauthorized,
)
from podium.stop_rule import StopRule, concerns_all
from tests.client.helpers import G0, GROUPS, REWARDS, client, codes, group, rank_all, rank_it
from tests.fake_service import Answer, failed, ranked, refuse, scripted, stream

RANKED = GroupReward([0.5, 0.5], True)
REFUSED = GroupReward.from_error(RequestRefused("invalid_request", 422, False, "rq", "too long"))
LOST = GroupReward.from_error(JudgeFailed("judge_refused", 502, False, "rq", "no"))


def all_fail(status: int, code: str) -> Answer:
    return stream(*(failed(i, status, code, retryable=False) for i in range(len(GROUPS))))


@pytest.mark.anyio
@pytest.mark.parametrize("code", ["unknown_judge", "reference_required", "invalid_request"])
async def test_a_first_batch_that_is_refused_whole_is_raised(code: str) -> None:
    with scripted(all_fail(422, code)) as script:
        async with client(script) as podium:
            with pytest.raises(RequestRefused) as caught:
                await podium.rank_many(GROUPS)
    assert caught.value.code == code


@pytest.mark.anyio
async def test_a_misspelt_judge_is_raised_though_others_ranked() -> None:
    lines = stream(
        ranked(0, G0, REWARDS),
        failed(1, 422, "unknown_judge", retryable=False),
        failed(2, 502, "judge_refused", retryable=False),
    )
    with scripted(rank_all, lines) as script:
        async with client(script) as podium:
            await podium.rank_many(GROUPS)
            with pytest.raises(RequestRefused, match="unknown_judge"):
                await podium.rank_many(GROUPS)


@pytest.mark.anyio
async def test_a_refused_batch_after_a_ranked_one_is_masked() -> None:
    with scripted(rank_all, all_fail(422, "context_exceeded")) as script:
        async with client(script) as podium:
            await podium.rank_many(GROUPS)
            got = await podium.rank_many(GROUPS)
    assert codes(got) == ["context_exceeded"] * 3


@pytest.mark.anyio
async def test_three_batches_without_a_ranked_group_stop_the_run() -> None:
    lost = all_fail(502, "judge_rejected")
    with scripted(lost, lost, rank_all, lost, lost, lost) as script:
        async with client(script) as podium:
            for _ in range(5):
                await podium.rank_many(GROUPS)
            with pytest.raises(NothingRanked, match=r"3 batches in a row; .*judge_rejected"):
                await podium.rank_many(GROUPS)


@pytest.mark.anyio
async def test_the_bound_on_dry_batches_can_be_moved_or_removed() -> None:
    lost = refuse(502, "judge_refused", retryable=False)
    with scripted(lost) as script:
        async with client(script, max_dry=1) as podium:
            with pytest.raises(NothingRanked):
                await podium.try_rank(group())
    with scripted(*[lost] * 9, rank_it) as script:
        async with client(script, max_dry=None) as podium:
            assert [(await podium.try_rank(group())).mask for _ in range(10)] == [False] * 9 + [
                True
            ]


def test_dry_batches_that_ran_side_by_side_count_once() -> None:
    rule = StopRule(max_dry=2)
    before = time.monotonic()
    for _ in range(5):
        rule.see([LOST], before)
    with pytest.raises(NothingRanked):
        rule.see([LOST], time.monotonic())


def test_no_groups_are_no_dry_batch() -> None:
    rule = StopRule(max_dry=1)
    rule.see([], time.monotonic())
    rule.see([RANKED, REFUSED, LOST], time.monotonic())
    assert rule.num_dry == 0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Unauthorized("unauthorized", 401, False, None, ""), True),
        (RequestRefused("unknown_judge", 422, False, None, ""), True),
        (RequestRefused("key_spend_limit", 402, False, None, ""), True),
        (RequestRefused("http_307", 307, False, None, ""), True),
        (RequestRefused("not_found", 404, False, None, ""), True),
        (RequestRefused("invalid_request", 422, False, None, ""), False),
        (RequestRefused("body_too_large", 413, False, None, ""), False),
        (RequestRefused("not_json", None, False, None, ""), False),
        (JudgeFailed("judge_rejected", 502, False, None, ""), False),
        (ServiceUnavailable("draining", 503, True, None, ""), False),
        (ServiceAbsent("service_absent", None, True, None, ""), True),
    ],
)
def test_a_fault_of_the_settings_concerns_all(error: RequestRefused, expected: bool) -> None:
    assert concerns_all(error) is expected


@pytest.mark.anyio
async def test_each_batch_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    lines = stream(ranked(0, G0, REWARDS), *(failed(i, 502, "c", retryable=False) for i in (1, 2)))
    with scripted(rank_all, lines) as script:
        async with client(script) as podium:
            await podium.rank_many(GROUPS)
            await podium.rank_many(GROUPS)
    names = [(record.name, record.levelname) for record in caplog.records]
    assert names == [("podium", "INFO"), ("podium", "WARNING")]
    first, second = caplog.messages
    assert first.startswith("ranked 3 of 3 groups in 0.")
    assert "ranked 1 of 3 groups" in second
    assert "left out: 2 c; the first: c: told in one line (HTTP 502, request rq_7)" in second


@pytest.mark.anyio
async def test_the_log_is_silent_about_single_requests(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with scripted(rank_it) as script:
        async with client(script) as podium:
            await podium.rank(group())
    assert not caplog.records
