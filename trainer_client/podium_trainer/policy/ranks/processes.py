"""The processes that train one model: rank 0 leads, and the others follow its calls."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from podium.weights.link import reason
from podium_trainer.policy.ranks.environment import (
    RanksError,
    backend,
    ended_by_signals,
    open_store,
    read_number,
)
from podium_trainer.policy.ranks.watch import SILENCE_S, Watch

T = TypeVar("T")

LIMIT_S = 600.0  # of one collective
FOREVER = timedelta(days=365)  # of the wait for the next call, which `Watch` ends


class RankLost(RuntimeError):
    """The ranks can do nothing together any more; one line with the reason and the remedy."""


class FailedTogether(Exception):
    """Raised by a call on all ranks at once; then they are in step, and can go on."""


class Ranks:
    """This process among those that train one model; without arguments it is the only one.

    Args:
        rank: the number of this process, in [0, size).
        size: the number of processes.
        local_rank: the number of this process on its machine, which is that of its GPU.
        calls: the process group of the calls; None if there is only one process.

    Attributes:
        shield: entered by rank 0 for each call, so that a signal to stop does not end it in its
            middle.
    """

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        local_rank: int = 0,
        calls: dist.ProcessGroup | None = None,
    ) -> None:
        self.rank = rank
        self.size = size
        self.local_rank = local_rank
        self._lost: str | None = None
        self._called: str | None = None  # what all ranks do at present
        self._calls = calls
        self.shield: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def are_many(self) -> bool:
        """Whether there is more than one process."""
        return self.size > 1

    @property
    def lost(self) -> str | None:
        """Why the ranks can do nothing together (any more); None if they can.

        Within a call they can do nothing else. Whoever is stopped in its middle, at whatever
        point, therefore finds them lost.
        """
        if self._lost is None and self._called is not None:
            return f"rank {self.rank} was stopped in the middle of {self._called!r}"
        return self._lost

    def mesh(self, device: torch.device) -> DeviceMesh:
        """Return all ranks as a mesh of one dimension, whose tensors are on a kind of device."""
        return init_device_mesh(device.type, (self.size,))

    @contextmanager
    def lead(self, name: str, *args: Any, **settings: Any) -> Iterator[None]:
        """Have the followers call their function of this name, while the block does the same.

        A follower's function may lead, too, and then only does what the block does.

        Raises:
            RankLost: If a rank does not answer any more, or did not before.
            Exception: What the block raises. Unless it is a `FailedTogether`, the ranks are lost.
        """
        if not self.are_many:
            yield
            return
        if self.rank == 0:
            self._check()
        with self.shield():
            try:
                self._called = name
                if self.rank == 0:
                    self._send((name, args, settings))
                yield
            except RuntimeError as error:
                raise self._lose(error) from error
            except (
                FailedTogether,
                GeneratorExit,
            ):  # closed generators have done their part
                raise
            except BaseException:
                self._lost = self.lost
                raise
            finally:
                self._called = None

    def follow(self, functions: Mapping[str, Callable[..., Any]]) -> None:
        """Do what rank 0 calls for, until it ends.

        Args:
            functions: by name; a function may add others.

        Raises:
            RankLost: If rank 0 does not answer any more.
            Exception: What a function raises, but for a `FailedTogether`, which rank 0 deals with.
        """
        while (call := self._receive()) is not None:
            name, args, settings = call
            try:
                functions[name](*args, **settings)
            except FailedTogether:
                pass
            except RuntimeError as error:
                raise self._lose(error) from error

    def end(self) -> None:
        """Let the followers return.

        Raises:
            RankLost: If a rank does not answer any more, or did not before.
        """
        if self.are_many:
            self._check()
            self._send(None)

    def gather(self, value: T) -> list[T]:
        """Return the value of each rank, in order; all ranks call it at once."""
        return self._gather(value, None)

    def _gather(self, value: T, group: dist.ProcessGroup | None) -> list[T]:
        if not self.are_many:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=group)
        return values

    @contextmanager
    def agree(self, kind: type[FailedTogether]) -> Iterator[None]:
        """Run a block on all ranks, none of which waits for another in it; all or none succeed.

        One may take longer than a collective, because it reads files that may be large and far.

        Args:
            kind: of the errors that the block raises.

        Raises:
            Exception: Of that kind, on all ranks, if it was raised on one.
        """
        own: Exception | None = None
        try:
            yield
        except kind as error:
            own = error
        failures = self._gather(None if own is None else str(own), self._calls)
        if own is not None:
            raise own
        for rank, words in enumerate(failures):
            if words is not None:
                raise kind(f"rank {rank}: {words}")

    def _check(self) -> None:
        if self.lost is not None:
            raise RankLost(self.lost)

    def _send(self, call: Any) -> None:
        try:
            dist.broadcast_object_list([call], src=0, group=self._calls)
        except RuntimeError as error:
            raise self._lose(error) from error

    def _receive(self) -> Any:
        box = [None]
        try:
            dist.broadcast_object_list(box, src=0, group=self._calls)
        except RuntimeError as error:
            raise self._lose(error) from error
        return box[0]

    def _lose(self, error: RuntimeError) -> RankLost:
        """Note that the ranks are out of step, and return the error that says why."""
        if self._lost is None:
            self._lost = describe_loss(error, self.rank)
        return RankLost(self._lost)


def describe_loss(error: RuntimeError, rank: int) -> str:
    """Say in one line why the ranks can do nothing together any more."""
    if isinstance(error, RankLost):
        return str(error)
    words = reason(error) or type(error).__name__
    if isinstance(error, torch.OutOfMemoryError):
        return (
            f"rank {rank} ran out of memory ({words}): lower"
            " optimizer.micro_batch_tokens, set model.gradient_checkpointing, or start more ranks,"
            " and add --resume"
        )
    return f"rank {rank} cannot go on with the others ({words}): start all again with --resume"


@contextmanager
def open_ranks(
    environment: Mapping[str, str], limit_s: float = LIMIT_S, silence_s: float = SILENCE_S
) -> Iterator[Ranks]:
    """Join the processes that torchrun has started; without torchrun this one is alone.

    Args:
        environment: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, as torchrun sets
            them.
        limit_s: the longest that one collective may take, in seconds.
        silence_s: a rank that shows no sign of life for so many seconds is lost.

    Raises:
        RanksError: If they cannot be joined.
    """
    size = read_number(environment, "WORLD_SIZE", "1")
    if size == 1:
        yield Ranks()
        return
    rank = read_number(environment, "RANK")
    local_rank = read_number(environment, "LOCAL_RANK", "0")
    os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1")
    try:
        with ended_by_signals():
            stores = [open_store(limit_s) for _ in range(2)]
            dist.init_process_group(
                backend(local_rank), store=stores[0], rank=rank, world_size=size,
                timeout=timedelta(seconds=limit_s),
            )  # fmt: skip
            calls = dist.new_group(backend="gloo", timeout=FOREVER)
    except (RuntimeError, ValueError) as error:
        words = reason(error) or type(error).__name__
        raise RanksError(f"rank {rank} of {size} cannot join the others: {words}") from error
    ranks = Ranks(rank, size, local_rank, calls)
    with Watch(stores[1], rank, size, silence_s):
        try:
            yield ranks
        except BaseException:
            if rank == 0:
                with suppress(RankLost):  # what ends the run says more
                    ranks.end()
            raise
        if rank == 0 and ranks.lost is None:
            ranks.end()
    if ranks.lost is None:
        dist.destroy_process_group()
