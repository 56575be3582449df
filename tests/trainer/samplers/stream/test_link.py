"""Groups of a trainer and other processes: what comes over, and what happens if one side ends."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch

from podium.weights.link import Link, LinkError, Meeting, host, join, own_address

CPU = torch.device("cpu")
WORKER = """
import sys, time
import torch
from podium.weights.link import Meeting, join
link = join(Meeting("127.0.0.1", int(sys.argv[1]), 2, "gloo", 60.0), 1, torch.device("cpu"))
print("joined", flush=True)
time.sleep(60)
"""


def meet(num_ranks: int = 2, limit_s: float = 10.0) -> list[Link]:
    """Join a group with all its ranks in this process."""
    meeting, store = host("127.0.0.1", num_ranks, "gloo", limit_s)
    with ThreadPoolExecutor(num_ranks) as threads:
        others = [threads.submit(join, meeting, rank, CPU) for rank in range(1, num_ranks)]
        return [join(meeting, 0, CPU, store), *(other.result() for other in others)]


@contextmanager
def worker(meeting: Meeting) -> Iterator[subprocess.Popen[str]]:
    """Run another process, which joins and then does nothing."""
    command = [sys.executable, "-c", WORKER, str(meeting.port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_bytes_come_over_to_all_ranks() -> None:
    trainer, *others = meet(3)
    data = torch.arange(100_000, dtype=torch.int32).view(torch.uint8)
    with ThreadPoolExecutor(2) as threads:
        received = [threads.submit(other.receive, len(data)) for other in others]
        trainer.send(data)
        assert all(torch.equal(each.result(), data) for each in received)
    for link in (trainer, *others):
        link.abort()


def test_no_room_on_the_device_is_an_error_of_the_link() -> None:
    [alone] = meet(1)
    with pytest.raises(LinkError, match=r"^the broadcast failed: Cannot copy out of meta tensor"):
        alone.send(torch.empty(4, dtype=torch.uint8, device="meta"))
    alone.abort()


def test_a_broadcast_without_the_other_side_ends_at_the_limit() -> None:
    trainer, other = meet(limit_s=3.0)  # of the meeting, too, on a machine that may be busy
    with pytest.raises(LinkError, match=r"the broadcast failed|no broadcast within 3 s"):
        other.receive(8)
    trainer.abort()
    other.abort()


def test_an_abort_ends_a_broadcast_that_waits_on_the_other_side() -> None:
    trainer, other = meet(limit_s=30.0)
    with ThreadPoolExecutor(1) as threads:
        received = threads.submit(other.receive, 8)
        started = time.monotonic()
        trainer.abort()
        with pytest.raises(LinkError, match=r"Connection (closed|reset) by peer"):
            received.result()
    assert time.monotonic() - started < 10
    with pytest.raises(LinkError, match="is aborted"):
        trainer.send(torch.zeros(8, dtype=torch.uint8))
    other.abort()


def test_a_group_that_does_not_meet_is_given_up_at_the_limit() -> None:
    meeting, store = host("127.0.0.1", 2, "gloo", 0.3)
    with pytest.raises(LinkError, match=r"does not meet at 127\.0\.0\.1") as caught:
        join(meeting, 0, CPU, store)
    assert "\n" not in str(caught.value)


def test_a_process_that_is_killed_breaks_the_broadcast_at_once() -> None:
    meeting, store = host("127.0.0.1", 2, "gloo", 60.0)
    with worker(meeting) as process:
        trainer = join(meeting, 0, CPU, store)
        assert process.stdout
        assert process.stdout.readline() == "joined\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        started = time.monotonic()
        with pytest.raises(LinkError, match="the broadcast failed"):
            trainer.send(torch.zeros(2**24, dtype=torch.uint8))
        assert time.monotonic() - started < 10
    trainer.abort()


def test_the_store_listens_at_one_address() -> None:
    meeting, _store = host("127.0.0.2", 2, "gloo", 1.0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", meeting.port), timeout=1)


def test_the_way_to_a_server_says_the_own_address() -> None:
    assert own_address("127.0.0.1", 8001) == "127.0.0.1"
    with pytest.raises(OSError, match=r".+"):
        own_address("no-such-host.invalid", 8001)
