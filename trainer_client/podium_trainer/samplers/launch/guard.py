"""Run a command in a process group of its own that ends when the process that wants it has ended.

It is run as a file, and imports only the standard library, so that it starts at once and needs
nothing of the environment that the command is for:

    python guard.py PID_OF_ITS_PARENT COMMAND ...

The first line of its output is the id of the command's process and group. Then it waits:

    the command ends                     ──► kill what is left of the group, exit with its status
    the parent has ended, or SIGTERM     ──► SIGTERM to the group, SIGKILL after GRACE_S
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

GRACE_S = 10.0
POLL_S = 0.1


def main(arguments: list[str]) -> int:
    """Run the command, and return its exit status; 128 + the number of a signal that ended it."""
    parent, command = int(arguments[0]), arguments[1:]
    asked_to_stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked_to_stop.append(number))
    try:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sys.stderr, process_group=0
        )
    except OSError as error:
        sys.stderr.write(f"error: {command[0]} cannot be run: {error.strerror}\n")
        return 127
    sys.stdout.write(f"{child.pid}\n")
    sys.stdout.flush()
    while not has_ended(child) and os.getppid() == parent and not asked_to_stop:
        time.sleep(POLL_S)
    kill_at = time.monotonic() + GRACE_S
    if not has_ended(child):
        send(child, signal.SIGTERM)
        send(child, signal.SIGCONT)  # a process that is halted could not answer
    while not has_ended(child) and time.monotonic() < kill_at:
        time.sleep(POLL_S)
    send(child, signal.SIGKILL)
    status = child.wait()
    return status if status >= 0 else 128 - status


def has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Return whether the command has ended; it is not reaped, so that its id stays its own."""
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def send(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to the command's whole group."""
    with suppress(ProcessLookupError, PermissionError):  # macOS: a group of zombies
        os.killpg(child.pid, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
