"""Send requests to one vLLM server, and remember how busy and how healthy it is.

Every request ends in one of three ways:

    200                                        the response is returned
    no answer in time, 408, 429, 5xx           Unavailable: another try or server may do better
    any other status                           Refused: asking again changes nothing

The sampler sends no requests to a server that has just failed:

    available ──(back_off)──► waiting .25 s, after the next failure .5 s, ... 8 s ──► available
                                 (reset_backoff makes it available and starts over with .25 s)
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import anyio
import httpx

from podium_trainer.samplers import Cause, SamplerError, SamplingFailed
from podium_trainer.samplers.vllm_requests import Weights

State = Literal["ready", "behind", "gone"]
CONNECT_S = 5.0
# With httpx 0.28.1 one pool falls from 290 to 60 calls/s between 64 and 128 open connections.
NUM_SAMPLING_POOLS, POOL_SIZE = 4, 64
# vLLM closes a connection that was idle for 5 s; a request that goes out just then is lost.
KEEPALIVE_S = 4.0
MIN_BACKOFF_S, MAX_BACKOFF_S = 0.25, 8.0
RETRY_AFTER_S = 1.0
QUICK_S = 10.0  # a server that lives does some things at once
MAX_QUOTED_CHARS = 300  # an error quotes at most this much of a server's message


class Unavailable(SamplerError):
    """A server cannot answer now: no connection, no answer in time, 408, 429 or 5xx.

    Attributes:
        status: the HTTP status; None if no answer came.
        is_unreachable: whether nothing listens there, or no such host exists.
    """

    def __init__(
        self, message: str, status: int | None = None, *, is_unreachable: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.is_unreachable = is_unreachable


class LostWeights(Unavailable):
    """A server has other weights than the run gave it, so it has restarted."""


class Refused(SamplingFailed):
    """A server understood a request and refused it, or its response makes no sense.

    Attributes:
        status: the HTTP status; 200 for a response that makes no sense.
        is_no_route: whether the server has no such endpoint.
    """

    def __init__(
        self,
        message: str,
        status: int = 200,
        *,
        is_no_route: bool = False,
        cause: Cause = "refused",
    ) -> None:
        super().__init__(message, cause)
        self.status = status
        self.is_no_route = is_no_route


class ConnectionPool:
    """Connections, and a bound on the requests that share them."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.slots = anyio.Semaphore(POOL_SIZE)


class VllmServer:
    """One server and its connections.

    Args:
        url: without a trailing /v1.
        model_name: the name under which it serves the model.
        pools: 1 + NUM_SAMPLING_POOLS of them. The first is for everything but sampling, because a
            `/resume` must not wait for the completions that wait for it.

    Attributes:
        state: whether it may be asked for completions (see membership.py, which sets it).
        weights: those that it has been given; the model's own before the first push.
        in_push: held while it is given weights.
        is_taken: whether another run gives it weights, too.
        num_misses: looks in a row without an answer.
        available_at: the time on anyio's clock until which other servers are asked first.
        last_error: why it is not ready.
        last_failure: the failure that it backed off for.
        root: the model's path or name on the server; set by `vllm_check`.
        max_model_len: the largest number of tokens in a sequence; set by `vllm_check`.
        reports_versions: whether /inference/v1/generate says which weights drew which token; set by
            `vllm_check`.
    """

    def __init__(self, url: str, model_name: str, pools: Sequence[ConnectionPool]) -> None:
        self.url = url
        self.model_name = model_name
        self.state: State = "ready"
        self.weights = Weights(0, model_name)
        self.in_push = anyio.Lock()
        self.is_taken = False
        self.num_misses = 0
        self.available_at = 0.0
        self.last_error: SamplerError | None = None
        self.last_failure: Unavailable | None = None
        self.root: str | None = None
        self.max_model_len = 0
        self.reports_versions = False
        self._backoff_s = MIN_BACKOFF_S
        self._admin_pool, *self._sampling_pools = pools
        self._num_sampled = 0
        self._open_requests: set[anyio.CancelScope] = set()

    def __repr__(self) -> str:
        return f"VllmServer({self.url!r})"

    @property
    def open_requests(self) -> int:
        """The number of sampling requests without an answer."""
        return len(self._open_requests)

    def end_requests(self) -> None:
        """End all open sampling requests as Unavailable."""
        for scope in self._open_requests:
            scope.cancel()

    async def request(
        self,
        path: str,
        body: object = None,
        *,
        timeout_s: float,
        method: str = "POST",
        is_sampling: bool = False,
    ) -> httpx.Response:
        """Send one request and return its response, whose status is 200.

        Args:
            path: of the endpoint, with a query if it has one.
            body: a JSON value; None for none.
            timeout_s: the limit in seconds; waiting for a connection counts.
            method: the HTTP method.
            is_sampling: whether the answer may take as long as a completion.

        Raises:
            Unavailable, Refused: If there is no such response; one line with URL and reason.
        """
        where = f"{self.url}{path}"
        pool = self._next_sampling_pool() if is_sampling else self._admin_pool
        timeout = httpx.Timeout(None, connect=CONNECT_S)
        try:
            with anyio.fail_after(timeout_s), self._open(where) if is_sampling else nullcontext():
                async with pool.slots:
                    response = await pool.http.request(method, where, json=body, timeout=timeout)
        except TimeoutError as error:
            raise Unavailable(f"{where}: no answer within {timeout_s:.3g} s") from error
        except httpx.ConnectError as error:
            raise Unavailable(f"{where}: {error}", is_unreachable=True) from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Unavailable(f"{where}: {error or type(error).__name__}") from error
        if response.status_code != 200:
            raise build_error(where, response)
        return response

    @contextmanager
    def _open(self, where: str) -> Iterator[None]:
        """Count a sampling request as open, for `end_requests`."""
        with anyio.CancelScope() as scope:
            self._open_requests.add(scope)
            try:
                yield
            finally:
                self._open_requests.discard(scope)
        if scope.cancelled_caught:
            raise Unavailable(f"{where}: the server is gone")

    def back_off(self, error: Unavailable) -> None:
        """Ask other servers first for a while, which doubles with every failure in a row."""
        self.last_failure = error
        now = anyio.current_time()
        if now >= self.available_at:
            self.available_at = now + self._backoff_s
            self._backoff_s = min(2 * self._backoff_s, MAX_BACKOFF_S)

    def reset_backoff(self) -> None:
        """Make the server available after a success."""
        self.available_at, self._backoff_s = 0.0, MIN_BACKOFF_S

    def _next_sampling_pool(self) -> ConnectionPool:
        self._num_sampled += 1
        return self._sampling_pools[self._num_sampled % len(self._sampling_pools)]


def build_error(where: str, response: httpx.Response) -> Unavailable | Refused:
    """Return the error that a response with another status than 200 stands for."""
    status = response.status_code
    quote = read_error_message(response)
    message = f"{where} answered {status}: {quote}"
    if status in (408, 429) or status >= 500:
        return Unavailable(message, status)
    if status in (401, 403):
        message += "; a server with --api-key needs it in VLLM_API_KEY here"
    is_no_route = status in (404, 405) and quote in ("Not Found", "Method Not Allowed")
    return Refused(message, status, is_no_route=is_no_route)


def read_error_message(response: httpx.Response) -> str:
    """Return the message of an error response, on one line and cut off where it is long."""
    try:
        body: Any = response.json()
    except ValueError:
        body = response.text
    for key in ("error", "message", "detail"):
        if isinstance(body, dict) and key in body:
            body = body[key]
    return " ".join(str(body).split())[:MAX_QUOTED_CHARS]


def explain(error: SamplerError, remedy: str) -> SamplerError:
    """Add a remedy to a failure; a server that cannot be reached stays known as that."""
    if isinstance(error, Unavailable):
        return Unavailable(f"{error}: {remedy}", error.status, is_unreachable=error.is_unreachable)
    return SamplerError(f"{error}: {remedy}")


def join_errors(errors: Sequence[SamplerError], members: Sequence[VllmServer]) -> SamplerError:
    """Join the errors of servers to one, in one line."""
    if len(members) == 1:
        return errors[0]
    reasons = "; ".join(map(str, errors))
    return SamplerError(f"{len(errors)} of {len(members)} servers: {reasons}")


async def request_with_retry(server: VllmServer, path: str, body: object, timeout_s: float) -> None:
    """Send a request whose repetition does no harm, and repeat it once if its answer was lost.

    Args:
        server: the server.
        path: of the endpoint.
        body: a JSON value; None for none.
        timeout_s: the limit of both attempts together, in seconds.

    Raises:
        SamplerError: If the server does not do it in time.
    """
    ends_at = anyio.current_time() + timeout_s
    try:
        await server.request(path, body, timeout_s=timeout_s)
    except Unavailable as error:
        if error.status == 500:  # the server tried and failed
            raise
        left_s = ends_at - anyio.current_time() - RETRY_AFTER_S
        if left_s <= 0:
            raise
        await anyio.sleep(RETRY_AFTER_S)
        try:
            await server.request(path, body, timeout_s=left_s)
        except Refused as refusal:
            if "already" not in str(refusal):  # if it is, the first attempt succeeded
                raise
