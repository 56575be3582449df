"""vLLM servers over HTTP: connections, time limits, errors. Sampler and weight sync share them.

All requests run on one background thread, so any number of threads may ask. A request is sent once:
who is asked again, and when, is the sampler's business.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Self, TypeVar

import anyio
import httpx
from anyio.from_thread import start_blocking_portal

from podium.client import checked_key, checked_url
from podium_trainer.samplers import SamplerError

CONNECT_S = 5.0
LANES, LANE_SIZE = 4, 64  # httpx 0.28.1 falls from 290 to 60 calls/s between 64 and 128 in a pool
FIRST_REST_S, LAST_REST_S = 0.25, 8.0
SHOWN_CHARACTERS = 300  # of a server's own words

_T = TypeVar("_T")


class Unavailable(SamplerError):
    """No connection, no answer in time, 429 or 5xx: another try or server may do better.

    Attributes:
        status: the HTTP status; None if no answer came.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Refused(SamplerError):
    """The server understood and said no; asking again changes nothing.

    Attributes:
        status: the HTTP status; 200 for an answer that makes no sense.
        is_no_route: the server has no such endpoint.
    """

    def __init__(self, message: str, status: int = 200, *, is_no_route: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.is_no_route = is_no_route


class Lane:
    """Connections, and a bound on the requests that share them."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.slots = anyio.Semaphore(LANE_SIZE)


class VllmServer:
    """One server: its connections and how busy it is.

    The first lane is for all but sampling: a resume must not wait for the completions that wait
    for it.

    Attributes:
        url: without a trailing /v1.
        in_flight: requests that have no answer yet.
        rests_until: on anyio's clock; after a failure others are asked first until then.
        trouble: its last failure.
        max_model_len: its longest sequence; set by `vllm_check.check`.
        gives_spans: whether /inference/v1/generate says which weights drew which token; likewise.
    """

    def __init__(self, url: str, lanes: Sequence[Lane]) -> None:
        self.url = url
        self.in_flight = 0
        self.rests_until = 0.0
        self.trouble: Unavailable | None = None
        self.max_model_len = 0
        self.gives_spans = False
        self._rest_s = FIRST_REST_S
        self._lanes = lanes
        self._turns = 0

    def __repr__(self) -> str:
        return f"VllmServer({self.url!r})"

    async def ask(
        self,
        path: str,
        body: object = None,
        *,
        timeout_s: float,
        method: str = "POST",
        is_sampling: bool = False,
    ) -> httpx.Response:
        """Send one request and read its 200 answer; a wait for a free slot counts.

        Raises:
            Unavailable, Refused: If anything but that comes; one line with URL and reason.
        """
        where = f"{self.url}{path}"
        self._turns += is_sampling
        lane = self._lanes[1 + self._turns % LANES if is_sampling else 0]
        timeout = httpx.Timeout(None, connect=CONNECT_S)
        try:
            with anyio.fail_after(timeout_s):
                async with lane.slots:
                    response = await lane.http.request(method, where, json=body, timeout=timeout)
        except TimeoutError as error:
            raise Unavailable(f"{where}: no answer within {timeout_s:.3g} s") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Unavailable(f"{where}: {error or type(error).__name__}") from error
        status = response.status_code
        if status == 200:
            return response
        words = own_words(response)
        said = f"{where} answered {status}: {words}"
        if status in (408, 429) or status >= 500:
            raise Unavailable(said, status)
        if status in (401, 403):
            said += "; a server with --api-key needs it in VLLM_API_KEY here"
        is_no_route = status in (404, 405) and words in ("Not Found", "Method Not Allowed")
        raise Refused(said, status, is_no_route=is_no_route)

    def rest(self, trouble: Unavailable) -> None:
        """Let others go first for a while, longer with every failure after a rest."""
        self.trouble = trouble
        now = anyio.current_time()
        if now >= self.rests_until:
            self.rests_until = now + self._rest_s
            self._rest_s = min(2 * self._rest_s, LAST_REST_S)

    def did_well(self) -> None:
        """Forget earlier failures."""
        self.rests_until, self._rest_s = 0.0, FIRST_REST_S


class VllmServers:
    """All servers of a run, and the thread that talks to them. Close it, or use a `with` block.

    Args:
        urls: where they are.
        model_name: what they call the model.

    Raises:
        SamplerError: If a URL or the key in VLLM_API_KEY cannot be used.
    """

    def __init__(self, urls: Sequence[str], *, model_name: str) -> None:
        self.model_name = model_name
        try:
            key = checked_key(os.environ.get("VLLM_API_KEY"))
            bases = [str(checked_url(url)).rstrip("/").removesuffix("/v1") for url in urls]
        except ValueError as error:
            raise SamplerError(f"sampler.urls: {error}") from error
        stack = ExitStack()
        self._portal = stack.enter_context(start_blocking_portal())
        context = httpx.create_ssl_context(trust_env=False)

        def open_lane() -> Lane:
            http = httpx.AsyncClient(
                headers={"Authorization": f"Bearer {key}"} if key else {},
                limits=httpx.Limits(max_connections=LANE_SIZE),
                verify=context,
                trust_env=False,
            )
            stack.callback(self._portal.call, http.aclose)
            return Lane(http)

        self.all = [VllmServer(base, [open_lane() for _ in range(1 + LANES)]) for base in bases]
        self.close = stack.close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def max_model_len(self) -> int:
        """The longest sequence that every server takes."""
        return min(server.max_model_len for server in self.all)

    def choose(self) -> tuple[VllmServer, float]:
        """The server to ask next, and how many seconds it still rests."""
        now = anyio.current_time()
        best = min(self.all, key=lambda s: (max(0.0, s.rests_until - now), s.in_flight))
        return best, max(0.0, best.rests_until - now)

    def wait_for(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Run a coroutine on the background thread."""
        future = self._portal.start_task_soon(call)
        try:
            return future.result()
        finally:
            future.cancel()  # ctrl-C ends the requests, too; nothing to do once it is done

    def on_all(self, call: Callable[[VllmServer], Awaitable[_T]]) -> list[_T]:
        """Run a coroutine for every server side by side and wait for all of them.

        Raises:
            SamplerError: If any fails; one line that says which.
        """
        return self.wait_for(partial(self._on_all, call))

    async def _on_all(self, call: Callable[[VllmServer], Awaitable[_T]]) -> list[_T]:
        done: dict[int, _T] = {}
        failed: dict[int, SamplerError] = {}

        async def one(index: int, server: VllmServer) -> None:
            try:
                done[index] = await call(server)
            except SamplerError as error:
                failed[index] = error

        async with anyio.create_task_group() as tasks:
            for index, server in enumerate(self.all):
                tasks.start_soon(one, index, server)
        if failed:
            first = failed[min(failed)]
            if len(self.all) == 1:
                raise first
            reasons = "; ".join(str(failed[index]) for index in sorted(failed))
            raise SamplerError(f"{len(failed)} of {len(self.all)} servers: {reasons}") from first
        return [done[index] for index in range(len(self.all))]


def own_words(response: httpx.Response) -> str:
    """What an error answer says, on one line."""
    try:
        body: Any = response.json()
    except ValueError:
        body = response.text
    for key in ("error", "message", "detail"):
        if isinstance(body, dict) and key in body:
            body = body[key]
    return " ".join(str(body).split())[:SHOWN_CHARACTERS]
