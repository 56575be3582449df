"""Join a trainer and the workers of one vLLM server to a group, and broadcast from the trainer.

    trainer, rank 0                          worker, ranks 1 to N
    host() ──► Meeting ──(HTTP)────────────► Meeting
    until are_joining(meeting, store)        join(meeting, rank, device)
    join(meeting, 0, device, store)
    link.send(data) ───────────────────────► link.receive(num_bytes)

The groups are apart from torch's default one, which vLLM and a trainer of several ranks have for
themselves. Each has one server, so that a server that dies takes no other along.
"""

import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed
from torch import Tensor

dist: Any = torch.distributed  # its types depend on how torch was built
Transport = Literal["nccl", "gloo"]
POLL_S = 0.001
GRACE_S = 1.0
FOREVER = timedelta(days=30)


class LinkError(Exception):
    """The other side of a link is gone, or does not do its part in time."""


@dataclass(frozen=True)
class Meeting:
    """The place where a group meets, and the way; it travels as the `init_info` of vLLM's API.

    Attributes:
        address: of the trainer, as the server reaches it.
        port: where the trainer's store listens.
        num_ranks: the trainer and all workers of the server.
        transport: `nccl` from GPU to GPU, `gloo` through the memory of the CPU.
        limit_s: the seconds that one broadcast, or the meeting, may take.
    """

    address: str
    port: int
    num_ranks: int
    transport: Transport
    limit_s: float


def own_address(host: str, port: int) -> str:
    """Return the address of this machine from which it reaches a host; nothing is sent.

    Raises:
        OSError: If the host's name is unknown, or no route leads there.
    """
    family, kind, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(target)
        return str(probe.getsockname()[0])


def host(address: str, num_ranks: int, transport: Transport, limit_s: float) -> tuple[Meeting, Any]:
    """Open the store by which a group meets; it listens at this address alone.

    Raises:
        LinkError: If it cannot listen there.
    """
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as listener:
            listener.bind((address, 0))
            port = listener.getsockname()[1]
            store = dist.TCPStore(
                address, port, is_master=True, wait_for_workers=False,
                timeout=timedelta(seconds=limit_s), master_listen_fd=listener.detach(),
            )  # fmt: skip
    except (OSError, RuntimeError) as error:
        raise LinkError(f"cannot listen at {address}: {reason(error)}") from error
    return Meeting(address, port, num_ranks, transport, limit_s), store


def are_joining(meeting: Meeting, store: Any) -> bool:
    """Return whether all ranks but the trainer's have called `join`.

    The trainer joins only then, because torch cannot be made to stop waiting for others: a process
    that ends while a thread of it waits there may be aborted (SIGABRT) instead.

    Raises:
        LinkError: If the store does not answer.
    """
    try:
        return bool(store.check([_key(rank) for rank in range(1, meeting.num_ranks)]))
    except RuntimeError as error:
        raise LinkError(f"no store at {_where(meeting)}: {reason(error)}") from error


class Link:
    """One rank of a group.

    Args:
        meeting: of the group.
        group: torch's.
        device: what tensors are sent from and received on.
        store: by which the group has met; NCCL needs it for longer.
    """

    def __init__(self, meeting: Meeting, group: Any, device: torch.device, store: Any) -> None:
        self.meeting = meeting
        self._group: Any = group
        self._device = device
        self._store = store
        self._lock = threading.Lock()
        self._is_busy = self._is_aborted = False

    def send(self, data: Tensor) -> None:
        """Send bytes from rank 0.

        Args:
            data: uint8 tensor of one dimension, on any device.

        Raises:
            LinkError: If the other side is gone or does not do its part within the limit, or the
                device has no room for the bytes. The link is then of no more use.
        """
        self._broadcast(lambda: data.to(self._device))

    def receive(self, num_bytes: int) -> Tensor:
        """Receive bytes on the other ranks, as a uint8 tensor of shape (num_bytes,).

        Raises:
            LinkError: As `send`.
        """
        return self._broadcast(
            lambda: torch.empty(num_bytes, dtype=torch.uint8, device=self._device)
        )

    def _broadcast(self, place: Callable[[], Tensor]) -> Tensor:
        with self._lock:
            group = self._group
            if group is None:
                raise LinkError("the link is aborted")
            self._is_busy = True
        try:
            data = place()
            work = group.broadcast(data, 0)
            self._wait(work.is_completed)
            work.wait()
            if data.is_cuda:
                torch.cuda.current_stream(data.device).synchronize()
            return data
        except RuntimeError as error:
            raise LinkError(f"the broadcast failed: {reason(error)}") from error
        finally:
            with self._lock:
                self._is_busy = False
                if self._is_aborted:
                    self._group = None

    def _wait(self, is_completed: Callable[[], bool]) -> None:
        ends_at = time.monotonic() + self.meeting.limit_s
        while not is_completed():
            if time.monotonic() > ends_at + GRACE_S:  # gloo ends it itself at the limit
                self.abort()
                raise LinkError(f"no broadcast within {self.meeting.limit_s:g} s")
            time.sleep(POLL_S)

    def abort(self) -> None:
        """Leave the group, so that a broadcast that waits for this side fails on the other one.

        One that waits on this side ends at once with NCCL, and at its limit with gloo. Then its
        thread gives the group up: that takes as long as the broadcast, and a process that ended
        meanwhile would do so with an error.
        """
        with self._lock, suppress(RuntimeError):
            self._is_aborted = True
            if self._group is not None and self.meeting.transport == "nccl":
                self._group.abort()
            if not self._is_busy:
                self._group = None


def join(meeting: Meeting, rank: int, device: torch.device, store: Any = None) -> Link:
    """Join a group; this returns when all ranks have.

    Args:
        meeting: of the group.
        rank: 0 for the trainer.
        device: of this rank's weights; gloo goes through the memory of the CPU, whatever it is.
        store: that of `host`; None opens a connection to it.

    Raises:
        LinkError: If the others do not come within the limit.
    """
    limit = timedelta(seconds=meeting.limit_s)
    try:
        store = store or dist.TCPStore(meeting.address, meeting.port, timeout=limit)
        store.set(_key(rank), "joining")
        if meeting.transport == "nccl":
            options = dist.ProcessGroupNCCL.Options()
            # Its watchdog would end the whole process; `broadcast` has a limit of its own.
            options._timeout = FOREVER
            group: Any = dist.ProcessGroupNCCL(store, rank, meeting.num_ranks, options)
        else:
            device = torch.device("cpu")
            group = dist.ProcessGroupGloo(store, rank, meeting.num_ranks, limit)
    except RuntimeError as error:
        where = _where(meeting)
        raise LinkError(f"the group does not meet at {where}: {reason(error)}") from error
    return Link(meeting, group, device, store)


def _key(rank: int) -> str:
    return f"podium-rank-{rank}"


def _where(meeting: Meeting) -> str:
    return f"{meeting.address}:{meeting.port}"


def reason(error: Exception) -> str:
    """Return the first sentence of torch's error, without the place in its sources."""
    line = str(error).strip().split("\n", 1)[0]
    return re.sub(r"^\[\S+:\d+\] ", "", line).split(". ", 1)[0]
