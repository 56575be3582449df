"""Give the sampler new weights: after `push(version)` returns, completions start with that version.

SharedWeights: the sampler reads the policy's own memory, and only the version changes.

LoraSwap: every version is an adapter with its own name, and vLLM serves several at once.

    save ──► load on all servers ──► sampler.use(new) ──► unload the old adapter on all servers
                  │ any fails                                 │ a request still uses it
                  ▼                                           ▼
        the old version stays in use,             it stays loaded until the next push
        SamplerError

FullReload: vLLM reloads all weights in place. Open completions pause; they keep their tokens and
continue with the new weights.

    save ──► pause ──► reload ──► set label ──► sampler.use(new) ──► resume ──► delete the old files
               └──────────┴───────────┴─ any fails ─► resume ──► SamplerError

A step is sent to all servers side by side, and the next one begins when all have answered.
"""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import anyio

from podium_trainer.policy.policy import Policy
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.local import LocalSampler
from podium_trainer.samplers.vllm import VllmSampler
from podium_trainer.samplers.vllm_requests import Weights
from podium_trainer.samplers.vllm_server import Refused, Unavailable, VllmServer
from podium_trainer.samplers.weight_files import remove_versions, save_weights

RETRY_AFTER_S = 1.0


class WeightSync(Protocol):
    """A way to give the sampler new weights; `run.build.open_sampler` chooses one."""

    def push(self, version: int) -> None:
        """Give the sampler the policy's weights under this version.

        Raises:
            SamplerError: If it does not take them in time.
        """
        ...


class SharedWeights:
    """Sets the version of a sampler that reads the policy's own memory."""

    def __init__(self, sampler: LocalSampler) -> None:
        self.sampler = sampler

    def push(self, version: int) -> None:
        """Set the version."""
        self.sampler.policy_version = version


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


@dataclass(frozen=True)
class Adapter:
    """A version's adapter: its name on the servers and the folder of its files."""

    name: str
    folder: Path


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
        name = f"{servers.model_name}-{self._run}-{version}"
        new = Adapter(name, save_weights(self.policy, self._folder, version))
        servers.call_all(partial(self._load, new))
        self.sampler.use(Weights(version, name))
        old, self._loaded = self._loaded, [new]
        for adapter in old:
            if self.sampler.has_open_requests(adapter.name):  # vLLM may read its files again
                self._loaded.append(adapter)
            else:
                servers.call_all(partial(self._unload, adapter))
                shutil.rmtree(adapter.folder, ignore_errors=True)

    async def _load(self, adapter: Adapter, server: VllmServer) -> None:
        """Load an adapter on one server; a second attempt does no harm."""
        body = {"lora_name": adapter.name, "lora_path": str(adapter.folder)}
        try:
            await request_with_retry(server, "/v1/load_lora_adapter", body, self.timeout_s)
        except SamplerError as error:
            raise SamplerError(
                f"{error}: vLLM must see that folder under the same path and needs --enable-lora,"
                " --max-lora-rank of at least model.lora.rank and the environment"
                " VLLM_ALLOW_RUNTIME_LORA_UPDATING=True; its log says more (limit of a call:"
                f" sampler.admin_timeout_s = {self.timeout_s:g})"
            ) from error

    async def _unload(self, adapter: Adapter, server: VllmServer) -> None:
        """Unload an adapter from one server, unless it is not loaded there."""
        try:
            await server.request(
                "/v1/unload_lora_adapter", {"lora_name": adapter.name}, timeout_s=self.timeout_s
            )
        except Refused as error:
            if error.status != 404:  # a server that has restarted has lost the adapter already
                raise


class FullReload(_ServerSync):
    """Reloads all weights in the running servers, which pause meanwhile."""

    def __init__(
        self, policy: Policy, sampler: VllmSampler, folder: Path, *, timeout_s: float
    ) -> None:
        super().__init__(policy, sampler, folder, timeout_s=timeout_s)
        self._loaded_folder: Path | None = None

    def push(self, version: int) -> None:
        """Save the weights, pause, reload, set the label, resume."""
        folder = save_weights(self.policy, self._folder, version)
        label = f"{self._run}-{version}"
        reload = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
        with self._pause_servers():
            self._call_all("/collective_rpc", reload)
            self._call_all("/update_weight_version", {"new_version": label})
            self.sampler.use(Weights(version, self.sampler.servers.model_name, label))
        if self._loaded_folder not in (None, folder):
            shutil.rmtree(self._loaded_folder, ignore_errors=True)
        self._loaded_folder = folder

    @contextmanager
    def _pause_servers(self) -> Iterator[None]:
        """Hold all servers paused, and resume them even if pausing or the block fails."""
        try:
            self._call_all("/pause?mode=keep")
            yield
        except BaseException:
            with suppress(SamplerError):  # the first failure says more
                self._call_all("/resume")
            raise
        self._call_all("/resume")

    def _call_all(self, path: str, body: object = None) -> None:
        """Send one step of a push to all servers."""

        async def call_one(server: VllmServer) -> None:
            try:
                await request_with_retry(server, path, body, self.timeout_s)
            except SamplerError as error:
                raise SamplerError(
                    f"{error}: to reload weights vLLM needs the environment"
                    " VLLM_SERVER_DEV_MODE=1 and must see the folder of weights under the same"
                    " path; its log says more; restart it after a reload that failed (limit of a"
                    f" call: sampler.admin_timeout_s = {self.timeout_s:g})"
                ) from error

        self.sampler.servers.call_all(call_one)


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
