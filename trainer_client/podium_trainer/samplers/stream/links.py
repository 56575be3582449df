"""Keep a group with each server: join it once, and anew after a restart or a failure."""

import asyncio
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import anyio
import httpx
import torch
from pydantic import BaseModel, ValidationError

from podium.weights.link import (
    Link,
    LinkError,
    Meeting,
    Transport,
    are_joining,
    host,
    join,
    own_address,
)
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.stream.beside import in_daemon, request_beside
from podium_trainer.samplers.vllm_server import VllmServer

POLL_S = 0.01


class _WorldSize(BaseModel):
    world_size: int


@dataclass
class _Joined:
    """A link, and the name of the weights that the server got over it last."""

    link: Link
    given: str | None = None


class Links:
    """The groups with the servers of a run, one each.

    Args:
        transport: what weights go by.
        device: the policy's.
        limit_s: the seconds that a meeting or a broadcast may take.
    """

    def __init__(self, transport: Transport, device: torch.device, *, limit_s: float) -> None:
        self.transport = transport
        self.device = device
        self.limit_s = limit_s
        self._joined: dict[VllmServer, _Joined] = {}
        self._ending: set[asyncio.Future[None]] = set()

    async def open(self, server: VllmServer, found: str) -> Link:
        """Return the link with a server, after joining it if need be.

        Args:
            server: the server.
            found: the name of the weights that it has. If they are not those that it got over the
                link, it has restarted or listens to another trainer.

        Raises:
            SamplerError: If the server does not join in time.
            LinkError: If the trainer does not.
        """
        joined = self._joined.get(server)
        if joined is not None and joined.given == found:
            return joined.link
        self.drop(server)
        link = await self._join(server)
        self._joined[server] = _Joined(link)
        return link

    def keep(self, server: VllmServer, given: str) -> None:
        """Note that a server has got weights of this name over its link."""
        self._joined[server].given = given

    def drop(self, server: VllmServer) -> bool:
        """End the link with a server without waiting for that; return whether there was one."""
        joined = self._joined.pop(server, None)
        if joined is not None:
            ending = in_daemon(joined.link.abort)
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
        return joined is not None

    async def wait(self) -> None:
        """Wait for the ends of all links that were dropped."""
        if self._ending:
            await asyncio.wait(self._ending)

    async def _join(self, server: VllmServer) -> Link:
        url = httpx.URL(server.url)
        try:
            address = own_address(url.host, url.port or 80)
        except OSError as error:
            raise SamplerError(f"{server.url}: no way there for weights: {error}") from error
        num_ranks = 1 + await self._count_workers(server)
        meeting, store = host(address, num_ranks, self.transport, self.limit_s)
        body = {"init_info": asdict(meeting)}
        request = partial(
            server.request, "/init_weight_transfer_engine", body, timeout_s=self.limit_s
        )
        return await request_beside(request, self._meet(meeting, store), self.limit_s)

    async def _meet(self, meeting: Meeting, store: Any) -> Link:
        """Join once all workers do: until then this can be cancelled, and a join could not."""
        try:
            with anyio.fail_after(self.limit_s):
                while not are_joining(meeting, store):  # noqa: ASYNC110 - by other processes
                    await anyio.sleep(POLL_S)
        except TimeoutError as error:
            raise LinkError(f"the group does not meet within {self.limit_s:g} s") from error
        return await in_daemon(partial(join, meeting, 0, self.device, store))

    async def _count_workers(self, server: VllmServer) -> int:
        path = "/get_world_size"
        response = await server.request(path, method="GET", timeout_s=self.limit_s)
        try:
            return _WorldSize.model_validate_json(response.content).world_size
        except ValidationError as error:
            raise SamplerError(f"{server.url}{path} names no number of workers") from error
