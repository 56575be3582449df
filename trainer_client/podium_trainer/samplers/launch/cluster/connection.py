"""Connect to a Ray cluster."""

import logging
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.exceptions import RayError

from podium_trainer.samplers import SamplerError

ANSWER_S = 10.0
MAX_REASON = 300  # characters


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect this process to a cluster until the block ends; its actors end then.

    Args:
        address: `auto` for the cluster that this machine belongs to, or HOST:PORT of its head.

    Raises:
        SamplerError: If no cluster answers, or if it fails in the block; one line with the remedy.
    """
    handler = signal.getsignal(signal.SIGTERM)
    try:
        try_out(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SamplerError(
            f"--ray {address}: no Ray cluster can be used there ({reason}): `ray start --head`"
            " starts one, and `ray start --address HEAD:6379` adds this machine to it"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray has replaced it
    try:
        with told_in_a_line(address):
            yield
    finally:
        ray.shutdown()


@contextmanager
def told_in_a_line(address: str) -> Iterator[None]:
    """Raise SamplerError, with the remedy, for what Ray raises in the block."""
    try:
        yield
    except RayError as error:
        reason = (" ".join(str(error).split()) or type(error).__name__)[:MAX_REASON]
        raise SamplerError(
            f"--ray {address}: the cluster cannot be used any more ({reason}): start again with"
            " --resume"
        ) from error


def try_out(address: str) -> None:
    """Raise OSError if nobody listens at HOST:PORT, for which Ray would wait for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()


def has_gpus() -> bool:
    """Return whether a machine of the cluster has a GPU."""
    return bool(ray.cluster_resources().get("GPU"))
