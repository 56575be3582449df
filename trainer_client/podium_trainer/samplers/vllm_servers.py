"""Hold the connections to a run's vLLM servers. Sampler and weight sync share them.

All requests run on one background thread, so that any number of threads may call. On that thread
membership.py says which servers may be asked, and looks at each of them again and again.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Self, TypeVar

import anyio
import httpx
from anyio.from_thread import start_blocking_portal

from podium.connections import parse_key, parse_url
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.membership import LOOK_EVERY_S, Membership, Push
from podium_trainer.samplers.vllm_server import (
    KEEPALIVE_S,
    NUM_SAMPLING_POOLS,
    POOL_SIZE,
    ConnectionPool,
    VllmServer,
)

_T = TypeVar("_T")


class VllmServers:
    """All servers of a run, and the thread that talks to them. Close it, or use a `with` block.

    Args:
        urls: of the servers; a trailing /v1 is ignored.
        model_name: the name under which the servers serve the model.
        check: refuses a server that cannot be used.
        min_servers, wait_s, look_every_s, note: as in `Membership`.

    Raises:
        SamplerError: If a URL or the key in VLLM_API_KEY cannot be used.
    """

    def __init__(
        self,
        urls: Sequence[str],
        check: Callable[[VllmServer], Awaitable[None]],
        *,
        model_name: str,
        min_servers: int,
        wait_s: float,
        note: Callable[[str], None],
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self.model_name = model_name
        try:
            key = parse_key(os.environ.get("VLLM_API_KEY"))
            bases = [str(parse_url(url)).rstrip("/").removesuffix("/v1") for url in urls]
        except ValueError as error:
            raise SamplerError(f"sampler.urls: {error}") from error
        stack = ExitStack()
        self._portal = stack.enter_context(start_blocking_portal())
        context = httpx.create_ssl_context(trust_env=False)

        def open_pool() -> ConnectionPool:
            http = httpx.AsyncClient(
                headers={"Authorization": f"Bearer {key}"} if key else {},
                limits=httpx.Limits(max_connections=POOL_SIZE, keepalive_expiry=KEEPALIVE_S),
                verify=context,
                trust_env=False,
            )
            stack.callback(self._portal.call, http.aclose)
            return ConnectionPool(http)

        members = [
            VllmServer(base, model_name, [open_pool() for _ in range(1 + NUM_SAMPLING_POOLS)])
            for base in bases
        ]
        self.membership = self._portal.call(
            partial(
                Membership, members, check, min_servers=min_servers, wait_s=wait_s,
                look_every_s=look_every_s, note=note,
            )
        )  # fmt: skip
        self._calls: set[Future[Any]] = set()
        self._is_ended = False
        self._stack = stack

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End all calls, close all connections and end the background thread."""
        self.end_calls()
        self._stack.close()

    def end_calls(self) -> None:
        """End the calls of all threads, and those that come later; they raise SamplerError."""
        self._is_ended = True
        for future in list(self._calls):
            future.cancel()

    def start(self) -> None:
        """Check all servers, then look at every one again and again until this is closed.

        Raises:
            SamplerError: As `Membership.check_all`.
        """
        self.run(self.membership.check_all)
        for server in self.membership.members:
            server.max_model_len = server.max_model_len or self.max_model_len
            future = self._portal.start_task_soon(self.membership.watch, server)
            self._stack.callback(future.cancel)

    @property
    def num_ready(self) -> int:
        """The number of servers that may be asked for completions."""
        return len(self.membership.ready)

    @property
    def max_model_len(self) -> int:
        """The largest number of tokens in a sequence that every server takes, once it answers."""
        lengths = [server.max_model_len for server in self.membership.members]
        return min(length for length in lengths if length)

    def lose(self, server: VllmServer, error: SamplerError) -> None:
        """Count a server as gone until it answers again."""
        self._portal.call(self.membership.lose, server, error)

    def move(self, place: int, url: str) -> None:
        """Look for the server at a place in the list of servers at another address from now on."""
        member = self.membership.members[place]
        self._portal.start_task_soon(self.membership.move, member, url)

    def adopt(self, push: Push) -> None:
        """Give a push to the ready servers, and make it what the others get later.

        Raises:
            SamplerError: As `Membership.adopt`.
        """
        self.run(partial(self.membership.adopt, push))

    def run(self, call: Callable[[], Awaitable[_T]], *, is_last: bool = False) -> _T:
        """Run a coroutine on the background thread and return its result.

        Args:
            call: makes the coroutine.
            is_last: whether it belongs to the end of the run, which `end_calls` must not prevent;
                it then has a limit of its own.

        Raises:
            SamplerError: If `end_calls` has ended it.
        """
        future = self._portal.start_task_soon(call)
        if not is_last:
            self._calls.add(future)
            if self._is_ended:
                future.cancel()
        try:
            return future.result()
        except CancelledError as error:
            raise SamplerError("the run ends, and with it all requests to its servers") from error
        finally:
            self._calls.discard(future)
            future.cancel()  # so that ctrl-C here ends the requests there

    def call_ready(self, call: Callable[[VllmServer], Awaitable[None]]) -> None:
        """Run a coroutine for every ready server side by side, and let each fail alone."""
        self.run(partial(self._call_ready, call))

    async def _call_ready(self, call: Callable[[VllmServer], Awaitable[None]]) -> None:
        async def call_one(server: VllmServer) -> None:
            with suppress(SamplerError):
                await call(server)

        async with anyio.create_task_group() as tasks:
            for server in self.membership.ready:
                tasks.start_soon(call_one, server)
