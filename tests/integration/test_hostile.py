"""10,000 hostile requests over raw sockets to a real process: it answers others, and stays small.

What comes back is an answer below 500; never silence, a reset or a bare end, never a 5xx.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil
import pytest

from tests.fakes import until
from tests.service.helpers import chat, group
from tests.service.process import Podium, running

pytestmark = [pytest.mark.anyio, pytest.mark.fuzz]

NUM_REQUESTS = 10_000
AT_ONCE = 32
NUM_SLOW = 200
ANSWER_S = 20.0
WARM = 1_000  # requests after which memory is first looked at
GROWTH_MIB = 64  # that the other 9,000 may add: 7 kB each
MIB = 2**20

Chunks = list[bytes]


def post(*headers: str, path: str = "/rank") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def body(content: bytes, path: str = "/rank") -> Chunks:
    return [post(f"Content-Length: {len(content)}", path=path) + content]


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> Chunks:
    sent = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks]
    return [post("Transfer-Encoding: chunked"), *sent, end]


def with_text(text: str) -> Chunks:
    asked = group(text, "6", task=text, reference="5", metadata={text: text}, group_id=text[:256])
    return body(json.dumps(asked).encode())


def spelled(change: bytes) -> Chunks:
    """Return a good group with something odd in the place of its task."""
    asked = json.dumps(group("5", "6", reference="5", task="ODD")).encode()
    return body(asked.replace(b'"ODD"', change))


def many_messages() -> Chunks:
    messages = [*chat("5"), *[{"role": "user", "content": ""}] * 150_000]
    asked = group("5", "6", reference="5")
    asked["trajectories"][0]["messages"] = messages
    return body(json.dumps(asked).encode())


SMALL: dict[str, Callable[[], Chunks]] = {
    "NaN": lambda: spelled(b"NaN"),
    "infinity": lambda: spelled(b"-Infinity"),
    "1e999": lambda: spelled(b"1e999"),
    "a lone surrogate": lambda: spelled(b'"\\ud800"'),
    "half a character": lambda: spelled(b'"\xed\xa0\x80"'),
    "bad UTF-8": lambda: spelled(b'"\xff\xfe"'),
    "an integer of 5,000 digits": lambda: spelled(b"9" * 5000),
    "duplicate keys": lambda: spelled(b'"a", "task": "b", "trajectories": []'),
    "nesting": lambda: body(b"[" * 100_000),
    "nesting that ends": lambda: body(b"[" * 500 + b"]" * 500),
    "bidi": lambda: with_text("\u202e\u2066txt.exe\u2069\u200b"),
    "NUL": lambda: with_text("a\0b"),
    "a whole plane": lambda: with_text("\U0001f3c6\U0010ffff\ufffe\x1b[31m"),
    "no JSON": lambda: body(b"\x00" * 100),
    "a batch of nothing": lambda: body(b'{"groups": [0, null, [], "x", {}]}', "/rank/batch"),
    "a wrong method": lambda: [b"DELETE /rank HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    "CONNECT": lambda: [b"CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    "an upgrade": lambda: [post("Connection: upgrade", "Upgrade: h2c", "Content-Length: 0")],
    "a websocket": lambda: [
        b"GET /rank HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ],
    "an odd path": lambda: [b"GET /rankings/%00%ff%2e%2e%2f HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    "a path that is no path": lambda: [b"GET \xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    "another's URL": lambda: [b"GET http://x:99999/ HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    "no request": lambda: [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
    "70 kB headers": lambda: [post("X: " + "x" * 70_000)],
    "9,000 headers": lambda: [post(*["X: x"] * 9_000)],
    "a bad key": lambda: [post("Authorization: Bearer \x80\xff", "Content-Length: 0")],
    "CL and TE": lambda: [post("Content-Length: 3", "Transfer-Encoding: chunked") + b"0\r\n\r\n{}"],
    "two lengths": lambda: [post("Content-Length: 2", "Content-Length: 40") + b"{}" * 20],
    "TE twice": lambda: [post("Transfer-Encoding: chunked, identity") + b"0\r\n\r\n"],
    "a huge length": lambda: [post("Content-Length: 99999999999999999999999") + b"{}"],
    "a negative length": lambda: [post("Content-Length: -5") + b"{}"],
    "a chunk that lies": lambda: [post("Transfer-Encoding: chunked") + b"5\r\n{}\r\n0\r\n\r\n"],
    "a chunk of no number": lambda: [post("Transfer-Encoding: chunked") + b"zz\r\n{}\r\n"],
    "a huge chunk": lambda: [post("Transfer-Encoding: chunked") + b"f" * 17 + b"\r\n{}"],
    "chunks of one byte": lambda: chunked(*[b" "] * 300),
    "chunk extensions": lambda: [post("Transfer-Encoding: chunked") + b"2;" + b"x" * 9000],
    "100 MB declared": lambda: [post("Content-Length: 100000000") + b"[" * 5000],
    "100 MB expected": lambda: [post("Content-Length: 100000000", "Expect: 100-continue")],
    "pipelined": lambda: [spelled(b"NaN")[0] * 5],
    "pipelined without end": lambda: [b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500],
    "an upgrade with a body": lambda: [
        post("Connection: upgrade", "Upgrade: h2c", "Content-Length: 4") + b"GET "
    ],
    "trailers": lambda: [post("Transfer-Encoding: chunked") + b"0\r\n" + b"a:b\r\n" * 50_000],
    "cut off": lambda: [post("Content-Length: 1000") + b'{"traj'],
    "cut off in the head": lambda: [b"POST /rank HTTP/1.1\r\nHost: po"],
    "half a string": lambda: body(b'{"task": "' + b'\\"' * 5_000),
    "a good group": lambda: with_text("5"),
}  # fmt: skip
LARGE: dict[str, Callable[[], Chunks]] = {
    "100 MB in chunks": lambda: chunked(*[b"[" * MIB] * 100),
    "16 MB of lists": lambda: body(b'{"metadata": [' + b"[]," * (5 * MIB) + b"0]}"),
    "16 MB of numbers": lambda: body(b'{"trajectories": [' + b"1," * (7 * MIB) + b"0]}"),
    "16 MB of messages": many_messages,
    "64 MB of groups": lambda: body(b'{"groups": [' + b"{}," * (20 * MIB) + b"0]}", "/rank/batch"),
}
CUT = ("cut off", "cut off in the head", "chunk extensions")


@dataclass
class Seen:
    """Answer that came back."""

    statuses: Counter[int] = field(default_factory=Counter)
    silent: list[str] = field(default_factory=list)
    rss_mib: list[float] = field(default_factory=list)


async def attack(server: Podium, what: str, chunks: Chunks, seen: Seen) -> None:
    """Send it, take what comes until the connection ends or an answer does, and hang up."""
    assert server.url
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
    sending = asyncio.create_task(send(writer, chunks))
    try:
        if what in CUT:
            await sending
            return
        async with asyncio.timeout(ANSWER_S):
            line = await reader.readline()
            seen.statuses[int(line.split()[1]) if line else 0] += 1
    except ConnectionError:
        seen.statuses[0] += 1
    except TimeoutError:
        seen.silent.append(what)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.transport.abort()


async def send(writer: asyncio.StreamWriter, chunks: Chunks) -> None:
    for chunk in chunks:
        writer.write(chunk)
        await writer.drain()


async def hold_slowly(server: Podium, statuses: Counter[int]) -> None:
    """Send a body a byte now and then, until the server has had enough."""
    assert server.url
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
    writer.write(post("Content-Length: 100000"))
    answer = asyncio.create_task(reader.readline())
    while not answer.done():
        writer.write(b" ")
        await asyncio.wait({answer}, timeout=0.5)
    line = answer.result()
    statuses[int(line.split()[1]) if line else 0] += 1
    writer.transport.abort()


@asynccontextmanager
async def bystander(server: Podium) -> AsyncIterator[list[float]]:
    """Ask for a good ranking again and again; yield the seconds that each took."""
    took: list[float] = []
    done = asyncio.Event()

    async def ask() -> None:
        async with server.client() as http:
            for index in range(10**6):
                asked = group("5", f"by{index}", reference="5")
                started = time.perf_counter()
                answer = await http.post("/rank", json=asked)
                took.append(time.perf_counter() - started)
                assert answer.status_code == 200
                if done.is_set():
                    return
                await asyncio.sleep(0.05)

    asking = asyncio.create_task(ask())
    yield took
    done.set()
    await asking


def corpus() -> list[tuple[str, Chunks]]:
    """Return the requests in a random order that is always the same; each large one three times."""
    random = Random(7)
    small = {name: make() for name, make in SMALL.items()}
    large = [(name, chunks) for name, make in LARGE.items() for chunks in [make()] * 3]
    names = [random.choice(list(small)) for _ in range(NUM_REQUESTS - len(large))]
    requests = [*((name, small[name]) for name in names), *large]
    random.shuffle(requests)
    return requests


async def test_10_000_hostile_requests_disturb_no_other_client(tmp_path: Path) -> None:
    seen, slow = Seen(), Counter[int]()
    with running(cwd=tmp_path) as server:
        process = psutil.Process(server.pid)
        queue = iter(enumerate(corpus()))

        async def attacker() -> None:
            for index, (what, chunks) in queue:
                await attack(server, what, chunks, seen)
                if index % WARM == 0 and index:
                    seen.rss_mib.append(process.memory_info().rss / MIB)

        async with bystander(server) as took:
            holding = [asyncio.create_task(hold_slowly(server, slow)) for _ in range(NUM_SLOW)]
            await asyncio.gather(*(attacker() for _ in range(AT_ONCE)))
            await asyncio.gather(*holding)
        await until(lambda: process.num_fds() < 100)
        most = (seen.rss_mib[0] + GROWTH_MIB) * MIB
        await until(lambda: process.memory_info().rss < most)  # while bodies are read it is more
        errors = [line for line in server.logs if line["level"] == "error"]
        async with server.client() as http:
            assert (await http.get("/readyz")).status_code == 200
    took.sort()
    print(seen, slow, f"p50 {took[len(took) // 2]:.3f} max {took[-1]:.3f} of {len(took)}")
    assert seen.silent == []
    assert errors == []
    assert [status for status in seen.statuses if status >= 500] == []
    assert seen.statuses[0] == 0
    assert {200, 400, 405, 413, 422, 431} <= set(seen.statuses)
    assert slow == {408: NUM_SLOW}
    assert took[len(took) // 2] < 1.0
    assert took[-1] < 20.0
