"""One client in several processes and event loops: forks, pickles, loops and threads."""

import asyncio
import pickle

import pytest

from podium.blocking_client import RankClient
from podium.client import AsyncRankClient
from tests.client.helpers import GROUPS, KEY, group, in_a_new_process, lines_app
from tests.fake_service import serve

# A child inherits a client that its parent has used; it asks, and ends as programs end.
FORK = """
import os, sys
from tests.client.helpers import GROUPS
client = RankClient({url!r}, deadline_s=20)
masks = lambda: [answer.mask for answer in client.rank_many(GROUPS)]
assert all(masks())
pid = os.fork()
assert all(masks())
if pid == 0:
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), all(masks()))
"""

ASYNC_FORK = """
import asyncio, os, sys
from podium import AsyncRankClient
from tests.client.helpers import GROUPS
client = AsyncRankClient({url!r}, deadline_s=20)
loop = asyncio.new_event_loop()
masks = lambda loop: [answer.mask for answer in loop.run_until_complete(client.rank_many(GROUPS))]
assert all(masks(loop))
pid = os.fork()
if pid == 0:
    assert all(masks(asyncio.new_event_loop()))
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), all(masks(loop)))
loop.run_until_complete(client.aclose())
"""

LEFT_OPEN = """
import asyncio
from podium import AsyncRankClient
from tests.client.helpers import GROUPS
client = AsyncRankClient({url!r}, deadline_s=20)
loops = [asyncio.run(client.rank_many(GROUPS)) for _ in range(3)]
print([answer.mask for answers in loops for answer in answers])
"""


@pytest.mark.parametrize("code", [FORK, ASYNC_FORK])
def test_a_client_that_was_used_survives_a_fork(code: str) -> None:
    with serve(lines_app(lambda n: None, [])) as url:
        assert in_a_new_process(f"exec({code.format(url=url)!r})") == "7 True"


def test_one_client_serves_one_event_loop_after_another() -> None:
    with serve(lines_app(lambda n: None, [])) as url:
        printed = in_a_new_process(f"exec({LEFT_OPEN.format(url=url)!r})")
    assert printed == str([True] * 9)


def test_one_client_serves_loops_in_several_threads() -> None:
    async def ask() -> bool:
        answers = await podium.rank_many(GROUPS)
        return all(answer.mask for answer in answers)

    async def ask_beside() -> list[bool]:
        others = [asyncio.to_thread(asyncio.run, ask()) for _ in range(3)]
        return await asyncio.gather(ask(), *others)

    with serve(lines_app(lambda n: None, [])) as url:
        podium = AsyncRankClient(url, deadline_s=20)
        assert asyncio.run(ask_beside()) == [True] * 4


def test_a_closed_client_opens_again() -> None:
    with serve(lines_app(lambda n: None, [])) as url:
        podium = RankClient(url, deadline_s=20)
        for _ in range(2):
            with podium:
                assert podium.rank_many(GROUPS)[0].mask


@pytest.mark.parametrize("kind", [AsyncRankClient, RankClient])
def test_a_used_client_is_pickled_with_its_settings(
    kind: type[AsyncRankClient | RankClient],
) -> None:
    podium = kind("http://podium.test/x", api_key=KEY, deadline_s=7, max_dry=None)
    copy = pickle.loads(pickle.dumps(podium))
    inner = copy if isinstance(copy, AsyncRankClient) else copy._client
    assert repr(copy) == repr(podium)
    assert inner._deadline_s == 7
    assert inner._stop_rule.max_dry is None
    assert inner._connections.headers["authorization"] == f"Bearer {KEY}"


def test_a_pickle_holds_no_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODIUM_API_KEY", KEY)
    pickled = pickle.dumps(AsyncRankClient())
    assert KEY.encode() not in pickled
    assert pickle.loads(pickled)._connections.headers["authorization"] == f"Bearer {KEY}"


def test_a_blocking_client_is_pickled_after_it_was_used() -> None:
    with serve(lines_app(lambda n: None, [])) as url, RankClient(url, deadline_s=20) as podium:
        podium.rank_many(GROUPS)
        with pickle.loads(pickle.dumps(podium)) as copy:
            assert copy.rank_many([group("g")])[0].mask
