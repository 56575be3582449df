"""Hold a run's vLLM servers: choose one, or call all of them. Sampler and weight sync share them.

All requests run on one background thread, so that any number of threads may call. A request is sent
once; whether and where it is sent again is decided by the sampler and by the weight sync:

    one sampling request                          one step of a push (weight_sync.py)
    choose() ──► server with the fewest open      call_all() ──► every server, side by side
        ▲          requests, or a wait               │ all succeed          │ any fails
        │                    │                       ▼                      ▼
        └──(Unavailable)─────┘                     results            SamplerError that names
                                                                      the servers that failed
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Self, TypeVar

import anyio
import httpx
from anyio.from_thread import start_blocking_portal

from podium.connections import parse_key, parse_url
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.vllm_server import (
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

    Raises:
        SamplerError: If a URL or the key in VLLM_API_KEY cannot be used.
    """

    def __init__(self, urls: Sequence[str], *, model_name: str) -> None:
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
                limits=httpx.Limits(max_connections=POOL_SIZE),
                verify=context,
                trust_env=False,
            )
            stack.callback(self._portal.call, http.aclose)
            return ConnectionPool(http)

        self.members = [
            VllmServer(base, [open_pool() for _ in range(1 + NUM_SAMPLING_POOLS)]) for base in bases
        ]
        self.close = stack.close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def max_model_len(self) -> int:
        """The largest number of tokens in a sequence that every server takes."""
        return min(server.max_model_len for server in self.members)

    def choose(self) -> tuple[VllmServer, float]:
        """Return the server to ask next, and the seconds until it is available."""
        now = anyio.current_time()
        best = min(self.members, key=lambda s: (max(0.0, s.available_at - now), s.open_requests))
        return best, max(0.0, best.available_at - now)

    def run(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Run a coroutine on the background thread and return its result."""
        future = self._portal.start_task_soon(call)
        try:
            return future.result()
        finally:
            future.cancel()  # so that ctrl-C here ends the requests there

    def call_all(self, call: Callable[[VllmServer], Awaitable[_T]]) -> list[_T]:
        """Run a coroutine for every server side by side, and wait for all of them.

        Returns:
            The results in the order of the servers.

        Raises:
            SamplerError: If any fails; one line that names the servers.
        """
        return self.run(partial(self._call_all, call))

    async def _call_all(self, call: Callable[[VllmServer], Awaitable[_T]]) -> list[_T]:
        results: dict[int, _T] = {}
        errors: dict[int, SamplerError] = {}

        async def call_one(index: int, server: VllmServer) -> None:
            try:
                results[index] = await call(server)
            except SamplerError as error:
                errors[index] = error

        async with anyio.create_task_group() as tasks:
            for index, server in enumerate(self.members):
                tasks.start_soon(call_one, index, server)
        if errors:
            first = errors[min(errors)]
            if len(self.members) == 1:
                raise first
            share = f"{len(errors)} of {len(self.members)} servers"
            reasons = "; ".join(str(errors[index]) for index in sorted(errors))
            raise SamplerError(f"{share}: {reasons}") from first
        return [results[index] for index in range(len(self.members))]
