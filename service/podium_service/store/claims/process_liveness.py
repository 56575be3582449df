"""Names of processes by which those of one machine can tell that another one has ended."""

import os
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from socket import gethostname


def process_name() -> str:
    """A name for this process that no other one ever has; at most 32 characters."""
    return f"{machine()}-{os.getpid()}-{token_hex(6)}"


def machine() -> str:
    """What processes have in common that see each other's ids: one boot of one machine and, on
    Linux, one namespace of process ids, since two containers may share all else."""
    seen = [gethostname()]
    with suppress(OSError):
        seen = [
            Path("/proc/sys/kernel/random/boot_id").read_text(),
            os.readlink("/proc/self/ns/pid"),
        ]
    return sha256("".join(seen).encode()).hexdigest()[:8]


def ended(names: Iterable[str], own: str) -> list[str]:
    """Those of the names whose processes ran here and run no more."""
    here = machine()
    return [
        name
        for name in names
        if name != own and name.startswith(f"{here}-") and not _runs(int(name.split("-")[1]))
    ]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True
