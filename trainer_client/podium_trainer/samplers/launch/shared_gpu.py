"""Send the server that shares the trainer's GPU to sleep while the trainer needs its memory.

    rollout, rank            update                          push, rollout
    awake ──(/sleep?level=1)──► asleep ──(/wake_up)──► awake ──► new weights

Asleep, vLLM keeps its weights in the memory of the host and has no KV cache. A server that does not
fall asleep or wake up in time is ended and started again, and the step goes on without it. One that
loads is waited for, because steps may be shorter than its start, and would end it again and again.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from pydantic import BaseModel, ValidationError

from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.launch.launcher import Launcher
from podium_trainer.samplers.vllm_server import VllmServer
from podium_trainer.samplers.vllm_servers import VllmServers

POLL_S = 0.1
SLEEP, WAKE, IS_ASLEEP = "/sleep?level=1", "/wake_up", "/is_sleeping"


class _Sleeping(BaseModel):
    is_sleeping: bool


class SharedGpu:
    """Lets the servers that share the trainer's GPU sleep.

    Args:
        servers: the connections to all servers.
        launcher: has started them.
        timeout_s: the limit of one call, in seconds.
    """

    def __init__(self, servers: VllmServers, launcher: Launcher, *, timeout_s: float) -> None:
        self._servers = servers
        self._launcher = launcher
        self._timeout_s = timeout_s
        self._places = {
            member: place
            for place, (member, launched) in enumerate(
                zip(servers.membership.members, launcher.servers, strict=True)
            )
            if launched.plan.shares_gpu
        }

    def check(self) -> None:
        """Let each server sleep once, and wake it up.

        Raises:
            SamplerError: If one cannot do it; one line with the reason.
        """
        for server in self._places:
            try:
                self._servers.run(partial(self._sleep, server))
                self._servers.run(partial(self._wake, server))
            except SamplerError as error:
                raise SamplerError(
                    f"{error}: this server cannot sleep, which sampler.colocate needs; set it to"
                    " false, or look into the server's log"
                ) from error

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """Let the servers sleep while the block runs."""
        for server in self._places:
            self._wait_until_up(server)
        with self._launcher.starting_none():
            asleep = [server for server in self._places if self._try_to_sleep(server)]
            try:
                yield
            finally:
                torch.cuda.empty_cache()  # the server takes the memory that torch has kept
                for server in asleep:
                    self._try_to_wake(server)

    def _wait_until_up(self, server: VllmServer) -> None:
        """Wait while a server loads, and then until it has the present weights.

        The launcher ends one that takes too long to load.
        """
        place = self._places[server]
        while self._launcher.is_loading(place):
            time.sleep(POLL_S)
        ends_at = time.monotonic() + self._timeout_s
        while server.state != "ready" and self._launcher.is_up(place):
            if time.monotonic() > ends_at:
                return
            time.sleep(POLL_S)

    def _try_to_sleep(self, server: VllmServer) -> bool:
        """Let a server sleep, or end it if it has a process; return whether it sleeps."""
        if server.state != "ready" and not self._launcher.has_process(self._places[server]):
            return False
        try:
            if server.state != "ready":
                raise SamplerError(f"{server.url} is {server.state} before an update")
            self._servers.run(partial(self._sleep, server))
        except SamplerError as error:
            self._end(server, error)
            return False
        return True

    def _try_to_wake(self, server: VllmServer) -> None:
        try:
            self._servers.run(partial(self._wake, server))
        except SamplerError as error:
            self._end(server, error)

    def _end(self, server: VllmServer, error: SamplerError) -> None:
        self._launcher.end(self._places[server])
        self._servers.lose(server, error)

    async def _sleep(self, server: VllmServer) -> None:
        await server.request(SLEEP, timeout_s=self._timeout_s)
        if not await self._is_asleep(server):
            raise SamplerError(f"{server.url}{SLEEP} was answered, and the server does not sleep")

    async def _wake(self, server: VllmServer) -> None:
        await server.request(WAKE, timeout_s=self._timeout_s)
        if await self._is_asleep(server):
            raise SamplerError(f"{server.url}{WAKE} was answered, and the server still sleeps")

    async def _is_asleep(self, server: VllmServer) -> bool:
        response = await server.request(IS_ASLEEP, method="GET", timeout_s=self._timeout_s)
        try:
            return _Sleeping.model_validate_json(response.content).is_sleeping
        except ValidationError as error:
            raise SamplerError(f"{server.url}{IS_ASLEEP} does not say it: is it vLLM?") from error
