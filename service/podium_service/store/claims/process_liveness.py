"""Name processes so that one process can tell that another one of its machine has ended."""

import os
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from socket import gethostname


def process_name() -> str:
    """Return a name for this process that no other one ever has; at most 32 characters."""
    return f"{machine_id()}-{os.getpid()}-{token_hex(6)}"


def machine_id() -> str:
    """Return an id that is common to all processes that see each other's process ids.

    These share one boot of one machine and, on Linux, one namespace of process ids, because two
    containers may have everything else in common.
    """
    identity = [gethostname()]
    with suppress(OSError):
        identity = [
            Path("/proc/sys/kernel/random/boot_id").read_text(),
            os.readlink("/proc/self/ns/pid"),
        ]
    return sha256("".join(identity).encode()).hexdigest()[:8]


def find_ended(names: Iterable[str], own: str) -> list[str]:
    """Return the names of other processes that ran on this machine and have ended."""
    here = machine_id()
    return [
        name
        for name in names
        if name != own and name.startswith(f"{here}-") and not _is_running(int(name.split("-")[1]))
    ]


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs as another user
        pass
    return True
