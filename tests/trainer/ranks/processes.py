"""Start ranks as torchrun does, without torchrun."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running_ranks(
    size: int, command: Sequence[str], log: Path, **environment: str
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run `size` processes of a Python command, whose output goes to `log`-RANK."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    common = {"WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = []
    for rank in range(size):
        own = {"RANK": rank, "LOCAL_RANK": rank, **common}
        with Path(f"{log}-{rank}").open("wb") as output:
            processes.append(
                subprocess.Popen(
                    [sys.executable, *command],
                    stdout=output,
                    stderr=output,
                    env=os.environ
                    | {name: str(value) for name, value in own.items()}
                    | {"OMP_NUM_THREADS": "1"}
                    | environment,
                )
            )
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
