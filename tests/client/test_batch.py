"""Many groups in one request: lines, failures, resumed streams and progress."""

import httpx
import pytest

from podium.batch import MAX_BATCH_BYTES, MAX_BATCH_GROUPS, split_into_chunks
from podium.client import AsyncRankClient
from podium.errors import (
    JudgeFailed,
    ProtocolError,
    RankError,
    RequestRefused,
    Unauthorized,
)
from tests.client.helpers import (
    G0,
    G1,
    G2,
    GROUPS,
    REWARDS,
    asked_for,
    client,
    codes,
    group,
    lines_app,
    rank_all,
    rank_many,
)
from tests.fake_service import (
    fail,
    failed,
    line,
    problem,
    ranked,
    ranking,
    refuse,
    scripted,
    serve,
    stream,
)

PROBLEM = problem(503, "judge_down", retryable=True)


@pytest.mark.anyio
async def test_no_groups_need_no_request() -> None:
    assert await rank_many([]) == ([], [])


@pytest.mark.anyio
async def test_lines_may_come_in_any_order_and_failures_are_masked() -> None:
    lines = stream(
        ranked(2, G2, {"b": 0.2, "a": 0.8}),
        failed(0, 502, "verdict_invalid", retryable=False),
        ranked(1, G1, REWARDS),
    )
    got, (body,) = await rank_many(GROUPS, lines)
    assert [answer.mask for answer in got] == [False, True, True]
    assert [answer.rewards for answer in got] == [None, [0.9, 0.1], [0.8, 0.2]]
    assert isinstance(got[0].error, JudgeFailed)
    assert got[0].ranking is None
    assert asked_for(body) == ["g0", "g1", "g2"]
    assert 100 < body["deadline_s"] <= 120


@pytest.mark.anyio
async def test_only_groups_with_retryable_errors_are_sent_again() -> None:
    first = stream(
        ranked(0, G0, REWARDS),
        failed(1, 503, "judge_unavailable", retryable=True),
        failed(2, 422, "invalid_request", retryable=False),
    )
    got, bodies = await rank_many(GROUPS, first, stream(ranked(0, G1, {"a": 0.4, "b": 0.6})))
    assert [asked_for(body) for body in bodies] == [["g0", "g1", "g2"], ["g1"]]
    assert [answer.rewards for answer in got] == [[0.9, 0.1], [0.4, 0.6], None]
    assert bodies[1]["deadline_s"] < bodies[0]["deadline_s"]


@pytest.mark.anyio
async def test_a_group_that_keeps_failing_has_its_last_error() -> None:
    busy = refuse(429, "busy", retryable=True, headers={"retry-after": "3600"})
    first = stream(ranked(0, G0, REWARDS), failed(1, 503, "judge_down", retryable=True))
    got, _ = await rank_many(GROUPS[:2], first, busy)
    assert codes(got) == [None, "busy"]
    assert not got[1].mask


@pytest.mark.anyio
@pytest.mark.parametrize("breaks", [None, httpx.ReadError("reset")])
@pytest.mark.parametrize("cut", [0, 1, 40, -1])
async def test_groups_without_a_complete_line_are_sent_again(
    breaks: Exception | None, cut: int
) -> None:
    torn = ranked(2, G2, REWARDS)[:cut]
    first = stream(ranked(1, G1, REWARDS), torn, breaks=breaks)
    got, bodies = await rank_many(GROUPS, first, rank_all)
    assert [asked_for(body) for body in bodies] == [["g0", "g1", "g2"], ["g0", "g2"]]
    assert all(answer.mask for answer in got)


@pytest.mark.anyio
async def test_a_line_may_come_in_pieces_and_hold_u2028() -> None:
    text = "".join(chr(c) for c in (0x2028, 0x2029, 0x85, 0x1C))
    answer = ranking(G0, REWARDS)
    answer["results"][0]["explanation"] = text
    whole = line({"index": 0, "group_id": "g0", "status": "ranked", "ranking": answer})
    whole = b"\n" + whole + b"\n"
    pieces = [whole[i : i + 7] for i in range(0, len(whole), 7)]
    (got,), _ = await rank_many(GROUPS[:1], stream(*pieces))
    assert got.ranking is not None
    assert got.ranking.results[0].explanation == text


@pytest.mark.anyio
@pytest.mark.parametrize(
    "bad",
    [
        b"not json\n",
        b"[]\n",
        line({"index": 3, "status": "failed"}),
        line({"index": -1, "status": "failed"}),
        line({"index": True, "status": "failed"}),
        line({"index": 1, "status": "maybe"}),
    ],
)
async def test_a_line_about_an_unknown_group_masks_the_rest(bad: bytes) -> None:
    got, _ = await rank_many(GROUPS, stream(ranked(1, G1, REWARDS), bad, ranked(0, G0, REWARDS)))
    assert [answer.mask for answer in got] == [False, True, False]
    assert isinstance(got[0].error, ProtocolError)
    assert isinstance(got[2].error, ProtocolError)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "bad",
    [
        ranked(1, G1, {"a": float("nan"), "b": 0.5}),
        ranked(1, G1, {"a": 0.5}),
        ranked(1, G2, REWARDS),
        line({"index": 1, "group_id": "g1", "status": "ranked", "ranking": None}),
        line({"index": 1, "group_id": "g1", "status": "failed", "problem": {"code": "x"}}),
        line({"index": 1, "group_id": "g2", "status": "failed", "problem": PROBLEM}),
        ranked(1, G1, REWARDS) + ranked(1, G1, {"a": 0.0, "b": 1.0}),
    ],
)
async def test_a_bad_line_about_a_known_group_masks_that_group(bad: bytes) -> None:
    got, _ = await rank_many(GROUPS, stream(ranked(0, G0, REWARDS), bad, ranked(2, G2, REWARDS)))
    assert [answer.mask for answer in got] == [True, False, True]
    assert got[1].rewards is None
    assert isinstance(got[1].error, ProtocolError)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "branch"), [(401, Unauthorized), (413, RequestRefused), (422, RequestRefused)]
)
async def test_a_refusal_of_the_whole_request_is_raised(
    status: int, branch: type[RankError]
) -> None:
    with pytest.raises(branch):
        await rank_many(GROUPS, refuse(status, "refused", retryable=False))


@pytest.mark.anyio
async def test_a_group_too_large_for_any_request_fails_alone() -> None:
    too_large = refuse(413, "body_too_large", retryable=False)
    with scripted(rank_all, too_large) as script:
        async with client(script) as podium:
            await podium.rank_many(GROUPS[1:])
            got = await podium.rank_many(GROUPS[:1])
    assert codes(got) == ["body_too_large"]


@pytest.mark.anyio
async def test_progress_counts_every_group_once_and_ends_at_the_total() -> None:
    seen: list[tuple[int, int]] = []
    first = stream(
        failed(2, 502, "verdict_invalid", retryable=False),
        failed(0, 503, "judge_down", retryable=True),
        ranked(1, G1, REWARDS),
        ranked(1, G1, REWARDS),  # off the contract, but no reason to count it twice
    )
    with scripted(first, rank_all) as script:
        async with client(script) as podium:
            await podium.rank_many(GROUPS, on_progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.anyio
async def test_an_error_of_the_progress_callback_is_raised() -> None:
    def stop(done: int, total: int) -> None:
        raise TimeoutError("enough")

    with scripted(rank_all) as script:
        async with client(script) as podium:
            with pytest.raises(TimeoutError, match="enough"):
                await podium.rank_many(GROUPS, on_progress=stop)


@pytest.mark.anyio
async def test_many_groups_are_split_and_come_back_in_order() -> None:
    groups = [group(f"g{i}") for i in range(MAX_BATCH_GROUPS + 2)]
    got, bodies = await rank_many(groups, rank_all, rank_all)
    assert sorted(len(body["groups"]) for body in bodies) == [2, MAX_BATCH_GROUPS]
    assert [a.ranking and a.ranking.group_id for a in got] == [g.group_id for g in groups]


def test_requests_stay_under_the_byte_cap() -> None:
    half, whole = b"x" * (MAX_BATCH_BYTES // 2 - 1), b"x" * (MAX_BATCH_BYTES + 1)
    texts = dict(enumerate([half, half, half, whole, half]))
    assert [list(chunk) for chunk in split_into_chunks(texts)] == [[0, 1], [2], [3], [4]]


@pytest.mark.anyio
@pytest.mark.usefixtures("one_attempt")
async def test_the_error_of_a_masked_group_holds_no_frames() -> None:
    down = fail(httpx.ReadError("reset"))
    (got,), _ = await rank_many(GROUPS[:1], down)
    assert got.error is not None
    assert (got.error.__traceback__, got.error.__cause__, got.error.__context__) == (None,) * 3


@pytest.mark.anyio
async def test_a_broken_stream_is_resumed_for_missing_groups_only() -> None:
    seen: list[list[str]] = []
    groups = [group(f"g{i}") for i in range(5)]
    with serve(lines_app(lambda n: [2, 1, None][n], seen)) as url:
        async with AsyncRankClient(url, deadline_s=30) as podium:
            got = await podium.rank_many(groups)
    assert seen == [["g0", "g1", "g2", "g3", "g4"], ["g2", "g3", "g4"], ["g3", "g4"]]
    assert [answer.rewards for answer in got] == [[0.9, 0.1]] * 5
