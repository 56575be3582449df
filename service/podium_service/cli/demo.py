"""`make demo`: start the service, rank a group that ships with it, show the ranking, stop.

No key, no GPU, no network: the judge is a set of checks.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from socket import create_server

import httpx

EXAMPLES = Path(__file__).parents[1] / "examples"
READY_S = 60


def main() -> None:
    """Exit with the status of `podium rank`, or 1 with the service's words if it does not start."""
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        options = ["--port", str(port), "--store", f"{folder}/podium.db", "--log-level", "warning"]
        service = subprocess.Popen(
            [*_podium("serve"), "--config", str(EXAMPLES / "judges.yaml"), *options]
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(url, service)
            group = str(EXAMPLES / "group.json")
            sys.exit(subprocess.call([*_podium("rank"), group, "--service", url]))
        finally:
            service.terminate()
            service.wait()


def _podium(command: str) -> list[str]:
    return [sys.executable, "-P", "-m", "podium_service", command]


def _free_port() -> int:
    with create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _wait_until_ready(url: str, service: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if service.poll() is not None:
            sys.exit("demo: the service did not start; it says why above")
        try:
            if httpx.get(f"{url}/readyz", trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    sys.exit(f"demo: {url} was not ready within {READY_S} s")


if __name__ == "__main__":
    main()
