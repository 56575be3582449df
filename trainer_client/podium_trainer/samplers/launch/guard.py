"""Run a command in a process group of its own that ends when the process that wants it has ended.

It is run as a file, and imports only the standard library, so that it starts at once and needs
nothing of the environment that the command is for:

    python guard.py child|detached GRACE_S COMMAND ...

Its standard input is a pipe from the process that wants the command, so it ends with that process,
however that ends. A detached guard is no child of that process, for one that ends its children by
SIGKILL, as Ray's workers do.

The first line of its output is the id of the command's process and group, empty if it cannot be
run. Then it waits, and the second line is the exit status, 128 + the number of a signal:

    the command ends                     ──► kill what is left of the group
    STOP from the input, or SIGTERM      ──► SIGTERM to the group, SIGKILL after grace_s
    the input ends: the process is gone  ──► the same, after 10 s at most
"""

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress

GRACE_S = 10.0
POLL_S = 0.1
STOP = b"stop"
CHILD, DETACHED = "child", "detached"
CANNOT_RUN = 127


def main(arguments: list[str]) -> None:
    """Run the command, and write its id and its exit status."""
    kind, grace_s, *command = arguments
    if kind == DETACHED and os.fork():
        os._exit(0)
    asked_to_stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked_to_stop.append(number))
    try:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sys.stderr, process_group=0
        )
    except OSError as error:
        sys.stderr.write(f"error: {command[0]} cannot be run: {error.strerror}\n")
        tell("", str(CANNOT_RUN))
        return
    tell(str(child.pid))
    heard: bytes | None = None
    while not has_ended(child) and not asked_to_stop and heard is None:
        heard = listen(POLL_S)
    limit_s = float(grace_s) if heard or asked_to_stop else min(float(grace_s), GRACE_S)
    kill_at = time.monotonic() + limit_s
    if not has_ended(child):
        send(child, signal.SIGTERM)
        send(child, signal.SIGCONT)  # a process that is halted could not answer
    while not has_ended(child) and time.monotonic() < kill_at:
        time.sleep(POLL_S)
    send(child, signal.SIGKILL)
    status = child.wait()
    tell(str(status if status >= 0 else 128 - status))


def tell(*lines: str) -> None:
    """Write lines to the process that wants the command, if it is still there."""
    with suppress(BrokenPipeError):
        os.write(1, "".join(f"{line}\n" for line in lines).encode())


def listen(wait_s: float) -> bytes | None:
    """Return STOP, or nothing if the process that wants the command has ended; None if neither."""
    return os.read(0, len(STOP)) if select.select([0], [], [], wait_s)[0] else None


def has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Return whether the command has ended; it is not reaped, so that its id stays its own."""
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def send(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to the command's whole group."""
    with suppress(ProcessLookupError, PermissionError):  # macOS: a group of zombies
        os.killpg(child.pid, number)


if __name__ == "__main__":
    main(sys.argv[1:])
