"""Give the sampler new weights: after `push(version)` returns, completions start with that version.

SharedWeights: the sampler reads the policy's own memory, and only the version changes.

LoraSwap: every version is an adapter with its own name, and vLLM serves several at once.

    save ──► load on every ready server ──► ask for it ──► unload the old adapter
                                                              │ a request still uses it
                                                              ▼
                                               it stays loaded until the next push

FullReload: vLLM reloads all weights in place. Open completions pause; they keep their tokens and
continue with the new weights.

    save ──► pause ──► reload ──► set label ──► resume ──► ask for it ──► delete the old files
               └──────────┴───────────┴─ any fails ─► resume

WeightStream (stream/): vLLM takes all weights over the network, else as in a reload.

All servers do this side by side, each at its own pace. One that fails is brought up later, by what
stays until the next push: files or buckets (membership.py).
"""

import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import anyio
import httpx
import torch
from pydantic import BaseModel, ValidationError

from podium_trainer.policy.policy import Policy
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.local import LocalSampler
from podium_trainer.samplers.membership import OWN_NAME
from podium_trainer.samplers.vllm import VllmSampler
from podium_trainer.samplers.vllm_check import read_dtype
from podium_trainer.samplers.vllm_requests import Weights
from podium_trainer.samplers.vllm_server import (
    QUICK_S,
    Refused,
    Unavailable,
    VllmServer,
    explain,
    request_with_retry,
)
from podium_trainer.samplers.weight_files import remove_versions, save_weights

DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16")}


class WeightSync(Protocol):
    """A way to give the sampler new weights; `run.build.open_sampler` chooses one."""

    def push(self, version: int) -> None:
        """Give the sampler the policy's weights under this version.

        Raises:
            SamplerError: If it is the first push and too few servers take it in time, or the
                weights cannot be written.
        """
        ...

    def close(self) -> None:
        """Give up what the servers and this process hold for the next push."""
        ...


class SharedWeights:
    """Sets the version of a sampler that reads the policy's own memory."""

    def __init__(self, sampler: LocalSampler) -> None:
        self.sampler = sampler

    def push(self, version: int) -> None:
        """Set the version."""
        self.sampler.policy_version = version

    def close(self) -> None:
        """Do nothing, because nothing is held."""


class _WeightInfo(BaseModel):
    weight_version: str


class _ServerSync:
    """The common part of both ways to vLLM servers.

    Args:
        policy: the model whose weights are pushed.
        sampler: holds the servers, and asks for the weights that were pushed last.
        folder: for new weights; the servers see it under the same path. Old versions are removed.
        timeout_s: the limit of one request, in seconds.
    """

    def __init__(
        self, policy: Policy, sampler: VllmSampler, folder: Path, *, timeout_s: float
    ) -> None:
        self.policy = policy
        self.sampler = sampler
        self.timeout_s = timeout_s
        self._folder = folder.resolve()
        self._run = secrets.token_hex(4)  # tells this run's weights from those of other runs
        remove_versions(self._folder)

    def close(self) -> None:
        """Leave the files, because the servers still use them."""


@dataclass(frozen=True)
class Adapter:
    """A push of an adapter: its name on the servers is the model to ask for.

    Attributes:
        weights: without a label.
        folder: of the adapter's files.
        timeout_s: the limit of one request, in seconds.
    """

    weights: Weights
    folder: Path
    timeout_s: float

    async def find(self, server: VllmServer) -> str:
        """Return the adapter's name if it is loaded there."""
        response = await ask(server, "/v1/models", self.timeout_s)
        return self.weights.name if self.weights.name.encode() in response.content else OWN_NAME

    async def give(self, server: VllmServer) -> None:
        """Load the adapter on one server."""
        body = {"lora_name": self.weights.name, "lora_path": str(self.folder)}
        try:
            await request_with_retry(server, "/v1/load_lora_adapter", body, self.timeout_s)
        except SamplerError as error:
            raise explain(
                error,
                "vLLM must see that folder under the same path and needs --enable-lora,"
                " --max-lora-rank of at least model.lora.rank and the environment"
                " VLLM_ALLOW_RUNTIME_LORA_UPDATING=True; its log says more (limit of a call:"
                f" sampler.admin_timeout_s = {self.timeout_s:g})",
            ) from error

    async def remove(self, server: VllmServer) -> None:
        """Unload the adapter from one server."""
        body = {"lora_name": self.weights.name}
        await server.request("/v1/unload_lora_adapter", body, timeout_s=self.timeout_s)


class LoraSwap(_ServerSync):
    """Loads each version as an adapter with a fresh name, then unloads the version before.

    The first push is an adapter, too, although it changes nothing then, because a server that takes
    no adapters must be reported before the first step.
    """

    def __init__(
        self, policy: Policy, sampler: VllmSampler, folder: Path, *, timeout_s: float
    ) -> None:
        super().__init__(policy, sampler, folder, timeout_s=timeout_s)
        self._loaded: list[Adapter] = []

    def push(self, version: int) -> None:
        """Save and load the adapter, ask for it, and unload those without open requests."""
        servers = self.sampler.servers
        weights = Weights(version, f"{servers.model_name}-{self._run}-{version}")
        new = Adapter(weights, save_weights(self.policy, self._folder, version), self.timeout_s)
        servers.adopt(new)
        old, self._loaded = self._loaded, [new]
        for adapter in old:
            if self.sampler.has_open_requests(adapter.weights.model):  # vLLM may read its files
                self._loaded.append(adapter)
            else:
                servers.call_ready(adapter.remove)
                shutil.rmtree(adapter.folder, ignore_errors=True)


@dataclass(frozen=True)
class Reload:
    """A push of all weights.

    Attributes:
        weights: with a label.
        folder: of the weights' files.
        timeout_s: the limit of one request, in seconds.
    """

    weights: Weights
    folder: Path
    timeout_s: float

    async def find(self, server: VllmServer) -> str:
        """Return the label of the server's weights."""
        return await read_label(server, self.timeout_s)

    async def give(self, server: VllmServer) -> None:
        """Pause, reload, set the label, and resume, also after a failure."""
        reload = {"method": "reload_weights", "kwargs": {"weights_path": str(self.folder)}}
        label = {"new_version": self.weights.name}
        try:
            async with paused(server, self.timeout_s):
                await request_with_retry(server, "/collective_rpc", reload, self.timeout_s)
                await request_with_retry(server, "/update_weight_version", label, self.timeout_s)
        except SamplerError as error:
            raise explain(
                error,
                "to reload weights vLLM needs the environment VLLM_SERVER_DEV_MODE=1 and must see"
                " the folder of weights under the same path; its log says more (limit of a call:"
                f" sampler.admin_timeout_s = {self.timeout_s:g})",
            ) from error


class FullReload(_ServerSync):
    """Reloads all weights in the running servers, which pause meanwhile.

    The files have the type that the servers compute in, which is half as many bytes for bfloat16.

    Args:
        policy, sampler, folder, timeout_s: as above.
        dtype: the name of the type; None asks the servers, and keeps the policy's own where they
            do not tell or differ.
    """

    def __init__(
        self,
        policy: Policy,
        sampler: VllmSampler,
        folder: Path,
        *,
        timeout_s: float,
        dtype: str | None = None,
    ) -> None:
        super().__init__(policy, sampler, folder, timeout_s=timeout_s)
        self._loaded_folder: Path | None = None
        name = dtype or read_dtype(sampler.servers)
        self._dtype = DTYPES.get(name) if name else None

    def push(self, version: int) -> None:
        """Save the weights, give them to the servers, and delete those before."""
        servers = self.sampler.servers
        folder = save_weights(self.policy, self._folder, version, self._dtype)
        weights = Weights(version, servers.model_name, f"{self._run}-{version}")
        servers.adopt(Reload(weights, folder, self.timeout_s))
        if self._loaded_folder not in (None, folder):
            shutil.rmtree(self._loaded_folder, ignore_errors=True)
        self._loaded_folder = folder


@asynccontextmanager
async def paused(server: VllmServer, timeout_s: float) -> AsyncIterator[None]:
    """Let a server's completions wait while the block runs, and resume them also if it fails.

    Args:
        server: the server.
        timeout_s: the limit of one request, in seconds.
    """
    try:
        await request_with_retry(server, "/pause?mode=keep", None, timeout_s)
        yield
    except BaseException as error:
        # The first failure says more, and nothing answers where nobody listens.
        if not (isinstance(error, Unavailable) and error.is_unreachable):
            with suppress(SamplerError), anyio.move_on_after(QUICK_S, shield=True):
                await request_with_retry(server, "/resume", None, timeout_s)
        raise
    await request_with_retry(server, "/resume", None, timeout_s)


async def read_label(server: VllmServer, timeout_s: float) -> str:
    """Return the label of a server's weights."""
    try:
        response = await ask(server, "/weight_info", timeout_s)
        return _WeightInfo.model_validate_json(response.content).weight_version
    except (Refused, ValidationError):  # what gives new weights says better what is missing
        return OWN_NAME


async def ask(server: VllmServer, path: str, timeout_s: float) -> httpx.Response:
    """Ask a server which weights it has."""
    return await server.request(path, method="GET", timeout_s=min(QUICK_S, timeout_s))
