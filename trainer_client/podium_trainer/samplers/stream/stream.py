"""Push all weights to vLLM servers over the network.

    gather, on all ranks ──► buckets in rank 0's memory ──► each server, by a group of its own

The buckets stay until the next push, for servers that return. They take the size of the weights in
the type that the servers compute in, and twice that while the next ones are filled.
"""

import secrets
from contextlib import closing, suppress

import anyio

from podium.weights.bucket import BUCKET_BYTES, pack
from podium.weights.link import Transport
from podium_trainer.policy.policy import Policy
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.stream.links import Links
from podium_trainer.samplers.stream.push import Streamed
from podium_trainer.samplers.stream.weights import full_weights
from podium_trainer.samplers.vllm import VllmSampler
from podium_trainer.samplers.vllm_check import read_dtype
from podium_trainer.samplers.vllm_requests import Weights
from podium_trainer.samplers.vllm_server import QUICK_S, VllmServer
from podium_trainer.samplers.weight_sync import DTYPES


class WeightStream:
    """Sends all weights to the running servers, which pause meanwhile.

    Args:
        policy: the model whose weights are pushed; it has no adapters.
        sampler: holds the servers, and asks for the weights that were pushed last.
        timeout_s: the limit of one request or broadcast, in seconds.
        dtype: the name of the type to send them in; None asks the servers, and keeps the policy's
            own where they do not tell or differ.
        shares_gpu: whether a server uses the policy's GPU, over which NCCL cannot send.
        bucket_bytes: the size of what is sent at once, at most, unless one weight is larger.

    Attributes:
        run: tells this run's weights from those of other runs.
    """

    def __init__(
        self,
        policy: Policy,
        sampler: VllmSampler,
        *,
        timeout_s: float,
        dtype: str | None = None,
        shares_gpu: bool = False,
        bucket_bytes: int = BUCKET_BYTES,
    ) -> None:
        self.policy = policy
        self.sampler = sampler
        self.timeout_s = timeout_s
        is_direct = policy.device.type == "cuda" and not shares_gpu
        transport: Transport = "nccl" if is_direct else "gloo"
        self._links = Links(transport, policy.device, limit_s=timeout_s)
        self.run = secrets.token_hex(4)
        self._bucket_bytes = bucket_bytes
        name = dtype or read_dtype(sampler.servers)
        self._dtype = DTYPES.get(name) if name else None

    def push(self, version: int) -> None:
        """Gather the weights, and send them to the servers."""
        servers = self.sampler.servers
        weights = Weights(version, servers.model_name, f"{self.run}-{version}")
        with closing(full_weights(self.policy, self._dtype)) as whole:
            buckets = list(pack(whole, self._bucket_bytes))
        servers.adopt(Streamed(weights, buckets, self._links, self.timeout_s))

    def close(self) -> None:
        """Leave the groups, and let the servers leave them, also after the sampler's end."""
        self.sampler.servers.run(self._leave_all, is_last=True)

    async def _leave_all(self) -> None:
        async with anyio.create_task_group() as tasks:
            for server in self.sampler.servers.membership.members:
                tasks.start_soon(self._leave, server)
        with anyio.move_on_after(QUICK_S):
            await self._links.wait()

    async def _leave(self, server: VllmServer) -> None:
        if self._links.drop(server):
            with suppress(SamplerError):
                await server.request("/shutdown_weight_transfer_engine", timeout_s=QUICK_S)
