"""Each failed answer or connection becomes one error of the client."""

import pickle
from collections.abc import Iterator

import httpx
import pytest

from podium.errors import (
    DeadlineExceeded,
    JudgeFailed,
    ProtocolError,
    RankError,
    RequestRefused,
    ServiceUnavailable,
    Unauthorized,
)
from tests.client.helpers import KEY, client, group, rank, rank_it
from tests.fake_service import (
    Script,
    fail,
    problem,
    say,
    stream,
)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "branch"),
    [
        (400, RequestRefused),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, RequestRefused),
        (413, RequestRefused),
        (422, RequestRefused),
        (429, ServiceUnavailable),
        (500, ServiceUnavailable),
        (502, JudgeFailed),
        (503, ServiceUnavailable),
        (504, DeadlineExceeded),
    ],
)
async def test_each_status_has_its_branch_and_keeps_the_problem(
    status: int, branch: type[RankError]
) -> None:
    body = problem(status, "its_code", retryable=False, errors=[{"loc": "judge", "msg": "unknown"}])
    with pytest.raises(branch) as caught:
        await rank(say(status, json=body))
    error = caught.value
    assert (error.code, error.status, error.retryable) == ("its_code", status, False)
    assert (error.request_id, error.detail) == ("rq_7", "told in one line")
    assert error.errors == [{"loc": "judge", "msg": "unknown"}]
    assert str(error).startswith("its_code: told in one line [{'loc': 'judge'")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "branch", "retryable"),
    [
        (204, ProtocolError, False),
        (302, RequestRefused, False),
        (404, RequestRefused, False),
        (429, ServiceUnavailable, True),
        (500, ServiceUnavailable, True),
        (502, ServiceUnavailable, True),
        (504, DeadlineExceeded, True),
    ],
)
async def test_a_gateways_answer_is_typed_and_its_text_not_quoted(
    status: int, branch: type[RankError], retryable: bool
) -> None:
    answer = say(status, text=f"gateway echoes {KEY}", headers={"retry-after": "3600"})
    with pytest.raises(branch) as caught:
        await rank(answer, api_key=KEY)
    assert caught.value.retryable is retryable
    assert KEY not in str(caught.value)


@pytest.mark.anyio
async def test_a_redirect_is_refused_and_not_followed() -> None:
    answer = say(307, headers={"location": "http://elsewhere.test/rank"})
    with pytest.raises(RequestRefused, match="redirects are not followed"):
        await rank(answer, api_key=KEY)


def _leaves(branch: type[httpx.RequestError]) -> Iterator[type[httpx.RequestError]]:
    children = branch.__subclasses__()
    if not children:
        yield branch
    for child in children:
        yield from _leaves(child)


@pytest.mark.anyio
@pytest.mark.usefixtures("one_attempt")
@pytest.mark.parametrize("leaf", list(_leaves(httpx.RequestError)))
async def test_every_error_of_httpx_is_mapped(leaf: type[httpx.RequestError]) -> None:
    async with client(Script(fail(leaf("it broke")))) as podium:
        with pytest.raises(RankError, match="it broke") as caught:
            await podium.rank(group())
    assert caught.value.status in (None, 200)


@pytest.mark.anyio
@pytest.mark.usefixtures("one_attempt")
@pytest.mark.parametrize(
    ("exc", "branch", "code"),
    [
        (httpx.ConnectError("x"), ServiceUnavailable, "connection_failed"),
        (httpx.ConnectTimeout("x"), ServiceUnavailable, "connection_failed"),
        (httpx.ReadError("x"), ServiceUnavailable, "connection_broken"),
        (httpx.RemoteProtocolError("x"), ServiceUnavailable, "connection_broken"),
        (httpx.ReadTimeout("x"), DeadlineExceeded, "deadline_exceeded"),
        (httpx.DecodingError("x"), ProtocolError, "undecodable_answer"),
    ],
)
@pytest.mark.parametrize("while_reading", [False, True])
async def test_a_failed_connection_differs_from_an_unreadable_answer(
    exc: Exception, branch: type[RankError], code: str, while_reading: bool
) -> None:
    answer = stream(b"{", breaks=exc) if while_reading else fail(exc)
    async with client(Script(rank_it, answer)) as podium:
        await podium.rank(group())
        with pytest.raises(branch) as caught:
            await podium.rank(group())
    assert caught.value.code == code


def test_errors_survive_pickling() -> None:
    error = JudgeFailed("c", 502, True, "rq", "d", errors=[{"loc": "x"}], retry_after_s=2.0)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is JudgeFailed
    assert vars(copy) == vars(error)
