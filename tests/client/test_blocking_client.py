"""The client without an event loop: threads, errors and the end of a program."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import anyio
import httpx
import pytest

from podium.blocking_client import RankClient
from podium.errors import (
    JudgeFailed,
    ServiceUnavailable,
)
from tests.client.helpers import GROUPS, KEY, group, in_a_new_process, lines_app, rank_all, rank_it
from tests.fake_service import (
    refuse,
    scripted,
    serve,
)


def test_many_threads_may_share_the_blocking_client() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return (rank_it if request.url.path == "/rank" else rank_all)(request)

    seen: list[int] = []
    transport = httpx.MockTransport(answer)
    with RankClient("http://podium.test", transport=transport, api_key=KEY) as podium:
        with ThreadPoolExecutor(8) as threads:
            got = list(threads.map(podium.rank, [group(f"g{i}") for i in range(32)]))
            many = threads.submit(
                podium.rank_many, GROUPS, on_progress=lambda done, total: seen.append(done)
            ).result()
        assert repr(podium) == "RankClient('http://podium.test')"
    assert [a.ranking and a.ranking.group_id for a in got] == [f"g{i}" for i in range(32)]
    assert [answer.rewards for answer in many] == [[0.9, 0.1]] * 3
    assert seen == [1, 2, 3]


def test_the_blocking_client_raises_its_errors_and_closes_twice() -> None:
    with scripted(refuse(502, "judge_refused", retryable=False)) as script:
        podium = RankClient("http://podium.test", transport=script.transport)
        with pytest.raises(JudgeFailed):
            podium.rank(group())
        podium.close()
        podium.close()


@pytest.mark.anyio
async def test_the_blocking_client_works_inside_a_running_event_loop() -> None:
    transport = httpx.MockTransport(rank_it)
    with RankClient("http://podium.test", transport=transport) as podium:
        assert podium.rank(group()).mask


def test_a_client_left_open_lets_the_program_end() -> None:
    with serve(lines_app(lambda n: None, [])) as url:
        code = f"client = RankClient({url!r}); client.rank_many(GROUPS); print(client)"
        printed = in_a_new_process(f"from tests.client.helpers import GROUPS; {code}")
    assert printed == f"RankClient({url!r})"


def test_the_client_imports_neither_torch_nor_the_service() -> None:
    heavy = ["torch", "numpy", "fastapi", "podium_service", "podium_trainer", "orjson", "openai"]
    assert in_a_new_process(f"import sys; print({{*{heavy}}} & {{*sys.modules}})") == "set()"


@pytest.mark.parametrize("call", ["rank", "rank_many", "rank_as_completed"])
def test_a_client_closed_during_a_call_says_so(call: str) -> None:
    asked = threading.Event()

    async def never(request: httpx.Request) -> httpx.Response:
        asked.set()
        await anyio.sleep_forever()
        raise AssertionError

    def close() -> None:
        asked.wait(20)
        podium.close()

    podium = RankClient("http://podium.test", transport=httpx.MockTransport(never))
    closer = threading.Thread(target=close)
    closer.start()
    calls: dict[str, Callable[[], object]] = {
        "rank": lambda: podium.rank(group()),
        "rank_many": lambda: podium.rank_many(GROUPS),
        "rank_as_completed": lambda: list(podium.rank_as_completed(GROUPS)),
    }
    with pytest.raises(ServiceUnavailable, match=r"client_closed: .* during the call"):
        calls[call]()
    closer.join()
