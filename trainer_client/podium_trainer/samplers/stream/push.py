"""One version's weights, in buckets, and how a server gets them.

    pause ──► take the label off ──► start ──► bucket ──► ... ──► finish, with the label ──► resume
                                       └──────────┴─ any fails ─► end the update ──► resume

A server that fails in between has weights of two versions. It has no label of this run then, so
that it is known as a server that has restarted and nothing that it draws is trained on.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import anyio

from podium.weights.bucket import Bucket
from podium.weights.link import Link, LinkError
from podium.weights.plugin import BACKEND
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.membership import OWN_NAME
from podium_trainer.samplers.stream.beside import in_daemon, request_beside
from podium_trainer.samplers.stream.links import Links
from podium_trainer.samplers.vllm_check import end_update
from podium_trainer.samplers.vllm_requests import Weights
from podium_trainer.samplers.vllm_server import QUICK_S, VllmServer, explain
from podium_trainer.samplers.weight_sync import paused, read_label

FLAG = f"""--weight-transfer-config '{{"backend": "{BACKEND}"}}'"""
NEEDS = (
    "to take weights over the network vLLM needs the environment VLLM_SERVER_DEV_MODE=1, the flag"
    f" {FLAG} and, from the clone, `pip install .` in its own environment; its log says more (limit"
    " of a call: sampler.admin_timeout_s ="
)


@dataclass(frozen=True)
class Streamed:
    """A push of all weights over the network.

    Attributes:
        weights: with a label.
        buckets: the weights themselves.
        links: with the servers.
        timeout_s: the limit of one request, in seconds.
    """

    weights: Weights
    buckets: Sequence[Bucket]
    links: Links
    timeout_s: float

    async def find(self, server: VllmServer) -> str:
        """Return the label of the server's weights."""
        return await read_label(server, self.timeout_s)

    async def give(self, server: VllmServer) -> None:
        """Pause, send all buckets, and resume, also after a failure."""
        try:
            link = await self.links.open(server, await self.find(server))
            async with paused(server, self.timeout_s):
                await self._update(server, link)
        except LinkError as error:
            raise explain(SamplerError(f"{server.url}: {error}"), self._needs) from error
        except SamplerError as error:
            raise explain(error, self._needs) from error
        self.links.keep(server, self.weights.name)

    async def _update(self, server: VllmServer, link: Link) -> None:
        call = partial(server.request, timeout_s=self.timeout_s)
        try:
            await call("/update_weight_version", {"new_version": OWN_NAME})
            await self._start(server)
            for bucket in self.buckets:
                body = {"update_info": asdict(bucket.layout)}
                await request_beside(
                    partial(call, "/update_weights", body),
                    in_daemon(partial(link.send, bucket.data)),
                    self.timeout_s,
                )
            await call("/finish_weight_update", {"weight_version": self.weights.name})
        except BaseException:
            server.end_requests()
            self.links.drop(server)
            with anyio.move_on_after(QUICK_S, shield=True):
                await end_update(server)
            raise

    async def _start(self, server: VllmServer) -> None:
        """Start an update, after the end of one that a trainer has begun and not finished."""
        path = "/start_weight_update"
        try:
            await server.request(path, timeout_s=self.timeout_s)
        except SamplerError as error:
            if "already" not in str(error):
                raise
            await end_update(server)
            await server.request(path, timeout_s=self.timeout_s)

    @property
    def _needs(self) -> str:
        return f"{NEEDS} {self.timeout_s:g})"
