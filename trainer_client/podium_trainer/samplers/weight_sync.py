"""New weights → sampler. After `push(version)` returns, new completions come from that version.

SharedWeights   the sampler reads the policy's own memory
LoraSwap        vLLM loads each version's adapter under a name of its own
FullReload      vLLM reloads all weights in place; sequences in flight wait and go on
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
from safetensors import SafetensorError
from torch import Tensor

from podium_trainer.policy.policy import Policy
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.local import LocalSampler
from podium_trainer.samplers.vllm import VllmSampler
from podium_trainer.samplers.vllm_servers import Refused, Unavailable, VllmServer
from podium_trainer.samplers.vllm_wire import Weights

RETRY_AFTER_S = 1.0


class WeightSync(Protocol):
    """To add a way: write a class with this method and give it a branch in `open_run`."""

    def push(self, version: int) -> None:
        """Give the sampler the policy's weights under this version.

        Raises:
            SamplerError: If it does not take them in time.
        """
        ...


class SharedWeights:
    """The sampler reads the policy's own memory: only the version changes."""

    def __init__(self, sampler: LocalSampler) -> None:
        self.sampler = sampler

    def push(self, version: int) -> None:
        self.sampler.policy_version = version


@dataclass(frozen=True)
class Pushed:
    """A version's name on the servers and its folder."""

    name: str
    folder: Path


class ToServers:
    """What both ways to vLLM servers need.

    Args:
        folder: for new weights, under the same path on the servers; emptied now.
        timeout_s: the limit of one call.
    """

    def __init__(
        self, policy: Policy, sampler: VllmSampler, folder: Path, *, timeout_s: float
    ) -> None:
        self.policy = policy
        self.sampler = sampler
        self.timeout_s = timeout_s
        self._folder = emptied(folder)
        self._run = secrets.token_hex(4)  # tells this run's weights from another's


class LoraSwap(ToServers):
    """Every version is an adapter with a fresh name, loaded before the last one is let go.

    The first push is an adapter, too, though it changes nothing then: a server that takes none
    says so before the first step.
    """

    def __init__(
        self, policy: Policy, sampler: VllmSampler, folder: Path, *, timeout_s: float
    ) -> None:
        super().__init__(policy, sampler, folder, timeout_s=timeout_s)
        self._live: list[Pushed] = []

    def push(self, version: int) -> None:
        """Save the adapter, load it everywhere, ask for it, drop those that nobody asks for."""
        servers = self.sampler.servers
        name = f"{servers.model_name}-{self._run}-{version}"
        new = Pushed(name, save(self.policy, self._folder, version))
        servers.on_all(partial(self._load, new))
        self.sampler.use(Weights(version, name))
        old, self._live = self._live, [new]
        for adapter in old:
            if self.sampler.is_using(adapter.name):  # its files may be read again until then
                self._live.append(adapter)
            else:
                servers.on_all(partial(self._unload, adapter))
                shutil.rmtree(adapter.folder, ignore_errors=True)

    async def _load(self, adapter: Pushed, server: VllmServer) -> None:
        body = {"lora_name": adapter.name, "lora_path": str(adapter.folder)}
        try:
            await patiently(server, "/v1/load_lora_adapter", body, self.timeout_s)
        except SamplerError as error:
            raise SamplerError(
                f"{error}: vLLM must see that folder under the same path and needs --enable-lora,"
                " --max-lora-rank of at least model.lora.rank and the environment"
                " VLLM_ALLOW_RUNTIME_LORA_UPDATING=True; its log says more (limit of a call:"
                f" sampler.admin_timeout_s = {self.timeout_s:g})"
            ) from error

    async def _unload(self, adapter: Pushed, server: VllmServer) -> None:
        try:
            await server.ask(
                "/v1/unload_lora_adapter", {"lora_name": adapter.name}, timeout_s=self.timeout_s
            )
        except Refused as error:
            if error.status != 404:  # 404: gone already, as after a restart
                raise


class FullReload(ToServers):
    """All weights go through a folder into the running servers, which pause meanwhile.

    Sequences in flight keep their tokens and go on with the new weights.
    """

    def __init__(
        self, policy: Policy, sampler: VllmSampler, folder: Path, *, timeout_s: float
    ) -> None:
        super().__init__(policy, sampler, folder, timeout_s=timeout_s)
        self._last: Path | None = None

    def push(self, version: int) -> None:
        """Save the weights, pause, reload, name them, resume."""
        folder = save(self.policy, self._folder, version)
        label = f"{self._run}-{version}"
        reload = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
        with self._paused():
            self._call("/collective_rpc", reload)
            self._call("/update_weight_version", {"new_version": label})
            self.sampler.use(Weights(version, self.sampler.servers.model_name, label))
        if self._last not in (None, folder):
            shutil.rmtree(self._last, ignore_errors=True)
        self._last = folder

    @contextmanager
    def _paused(self) -> Iterator[None]:
        """No server stays paused, whatever happens."""
        try:
            self._call("/pause?mode=keep")
            yield
        except BaseException:
            with suppress(SamplerError):  # the first failure says more
                self._call("/resume")
            raise
        self._call("/resume")

    def _call(self, path: str, body: object = None) -> None:
        async def one(server: VllmServer) -> None:
            try:
                await patiently(server, path, body, self.timeout_s)
            except SamplerError as error:
                raise SamplerError(
                    f"{error}: to reload weights vLLM needs the environment"
                    " VLLM_SERVER_DEV_MODE=1 and must see the folder of weights under the same"
                    " path; its log says more; restart it after a reload that failed (limit of a"
                    f" call: sampler.admin_timeout_s = {self.timeout_s:g})"
                ) from error

        self.sampler.servers.on_all(one)


async def patiently(server: VllmServer, path: str, body: object, timeout_s: float) -> None:
    """Ask for something that may be asked twice; once more after a broken answer, in one limit.

    Raises:
        SamplerError: If the server does not do it in time.
    """
    ends_at = anyio.current_time() + timeout_s
    try:
        await server.ask(path, body, timeout_s=timeout_s)
    except Unavailable as error:
        if error.status == 500:  # it tried and failed
            raise
        left_s = ends_at - anyio.current_time() - RETRY_AFTER_S
        if left_s <= 0:
            raise
        await anyio.sleep(RETRY_AFTER_S)
        try:
            await server.ask(path, body, timeout_s=left_s)
        except Refused as error:
            if "already" not in str(error):  # the first try came through, its answer did not
                raise


def save(policy: Policy, folder: Path, version: int) -> Path:
    """Write what the servers load into a folder of its own."""
    path = folder / f"version-{version:06d}"
    try:
        if policy.is_lora:
            policy.model.save_pretrained(path)
        else:
            policy.base.save_pretrained(path, state_dict=untied(policy.base.state_dict()))
    except (OSError, SafetensorError) as error:
        raise SamplerError(f"sampler.weights_dir: cannot write {path}: {error}") from error
    return path


def untied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights, each with memory of its own, so that all of them are written.

    vLLM 0.32 reloads a head that is tied to the embedding only where the file has it by name; left
    out, the old one goes on being used.
    """
    seen: set[int] = set()
    for name, weight in state.items():
        if weight.data_ptr() in seen:
            state[name] = weight.clone()
        seen.add(weight.data_ptr())
    return state


def emptied(folder: Path) -> Path:
    """The folder without the versions that a killed run left."""
    for left in folder.glob("version-*"):
        shutil.rmtree(left, ignore_errors=True)
    return folder.resolve()
