"""Send requests to a Podium service, from any process and event loop.

A connection lives in the event loop that opened it, and does not survive a fork. So there is one
pool of connections for each process and running loop, opened by the first request there. A loop
that ends closes its pool.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote
from weakref import WeakKeyDictionary

import anyio
import httpx

from podium.errors import deadline_exceeded, from_response, transport_errors
from podium.retry import Retry

# httpx 0.28.1 falls from 290 to 60 calls/s between 64 and 128 connections.
MAX_CONNECTIONS = 64

# The longest deadline that a service accepts.
SERVICE_DEADLINE_S = 3600.0

# The service's own answer about a passed deadline has this long to arrive.
MARGIN_S = 1.0

CONNECT_S = 5.0


@dataclass(frozen=True)
class _Pool:
    """The connections of one process and event loop."""

    transport: httpx.AsyncBaseTransport
    slots: anyio.Semaphore
    lifetime: AsyncGenerator[httpx.AsyncBaseTransport, None]


class Connections:
    """The connections of one client to one service.

    Args:
        base_url: the URL of the service.
        key: the bearer token; None for no header.
        transport: an httpx transport instead of connections of our own. It serves one event loop.
        max_connections: the most that are open at once; requests beyond them wait.

    Attributes:
        has_answered: whether the service has ever answered this client, with any status.
    """

    def __init__(
        self,
        base_url: httpx.URL,
        key: str | None,
        transport: httpx.AsyncBaseTransport | None,
        *,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "podium"}
        self.base_url = base_url
        self.headers = httpx.Headers(
            headers | {"Authorization": f"Bearer {key}"} if key else headers
        )
        self.transport = transport
        self.has_answered = False
        self._max_connections = max_connections
        # A pool of the parent process stays in the dictionary, because to close it in a child would
        # end connections that the parent still uses.
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, _Pool]]
        self._pools = WeakKeyDictionary()

    @asynccontextmanager
    async def post(
        self, path: str, members: bytes, retry: Retry, *, deadline_s: float | None = None
    ) -> AsyncIterator[httpx.Response]:
        """Send one request with the time that is left, and yield its 200 answer, not yet read.

        Args:
            path: the route.
            members: the body's JSON object without its opening brace.
            retry: the deadline.
            deadline_s: the deadline that the service is told; None for the time that is left.

        Raises:
            RankError: If anything but a 200 comes, or the deadline passes while the block runs.
        """
        pool = await self._pool()
        with anyio.move_on_after(retry.left_s + MARGIN_S) as scope:
            async with pool.slots:
                request = self._request(path, members, retry.left_s, deadline_s)
                response = await self._send(pool, request)
                try:
                    if response.status_code != 200:
                        with transport_errors(request):
                            await response.aread()
                        raise from_response(response)
                    yield response
                finally:
                    await response.aclose()
        if scope.cancelled_caught:
            raise deadline_exceeded(f"{path}: no complete answer within the deadline")

    async def aclose(self) -> None:
        """Close the connections of the running event loop; the next request opens new ones."""
        pools = self._pools.get(asyncio.get_running_loop(), {})
        pool = pools.pop(os.getpid(), None)
        if pool is not None:
            await pool.lifetime.aclose()

    async def _pool(self) -> _Pool:
        pools = self._pools.setdefault(asyncio.get_running_loop(), {})
        pool = pools.get(os.getpid())
        if pool is None:
            # Nothing waits until the generator yields, so no other task can open a second pool.
            lifetime = self._open()
            transport = await anext(lifetime)
            pool = pools[os.getpid()] = _Pool(
                transport, anyio.Semaphore(self._max_connections), lifetime
            )
        return pool

    async def _open(self) -> AsyncGenerator[httpx.AsyncBaseTransport, None]:
        """Yield a transport; an event loop closes the generators that were started in it."""
        async with self.transport or httpx.AsyncHTTPTransport(
            limits=httpx.Limits(max_connections=self._max_connections),
            trust_env=False,
        ) as transport:
            yield transport

    async def _send(self, pool: _Pool, request: httpx.Request) -> httpx.Response:
        """Return the answer, not yet read.

        The transport is asked without a client of httpx around it, which would log every request.
        """
        with transport_errors(request):
            response = await pool.transport.handle_async_request(request)
        response.request = request
        self.has_answered = True
        return response

    def _request(
        self, path: str, members: bytes, left_s: float, deadline_s: float | None
    ) -> httpx.Request:
        if left_s < 0.001:
            raise deadline_exceeded(f"{path}: the deadline passed before the request was sent")
        timeout_s, told_s = left_s + MARGIN_S, min(deadline_s or left_s, SERVICE_DEADLINE_S)
        timeout = httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s))
        return httpx.Request(
            "POST",
            join_url(self.base_url, path),
            headers=self.headers,
            content=b'{"deadline_s":%.3f,' % told_s + members,
            extensions={"timeout": timeout.as_dict()},
        )


def join_url(base_url: httpx.URL, path: str) -> httpx.URL:
    """Return the URL of a path of a service."""
    return base_url.copy_with(raw_path=base_url.raw_path.rstrip(b"/") + path.encode())


def page_url(base_url: httpx.URL, *, run: str | None = None, ranking: str | None = None) -> str:
    """Return the address of a page for people: of a run, of a ranking, or of all groups."""
    path = "/ui"
    if ranking is not None:
        path = f"/ui/rankings/{quote(ranking, safe='')}"
    elif run is not None:
        path = f"/ui/runs/{quote(run, safe='')}"
    return str(join_url(base_url, path))


def parse_url(url: str) -> httpx.URL:
    """Parse a base URL.

    Raises:
        ValueError: If it cannot be used; says why.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as exc:
        raise ValueError(f"the base URL cannot be used: {exc}") from exc
    if parsed.userinfo:
        raise ValueError("the base URL must not hold a user or password; give api_key instead")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"the base URL must look like http://host:port, not {url!r}")
    return parsed


def parse_key(key: str | None) -> str | None:
    """Return the key without surrounding white space; None if nothing is left.

    Raises:
        ValueError: If an HTTP header cannot carry the key, which is not shown.
    """
    if not isinstance(key, str | None):
        raise ValueError(f"the API key must be text, not {type(key).__name__}")
    key = (key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ValueError("the API key holds characters that an HTTP header cannot carry")
    return key or None
