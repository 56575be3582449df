"""`make demo-rank`: start the service, rank a group that ships with it, show the ranking, stop.

No key, no GPU and no network is needed, because the judge is a set of checks. The store stays, so
that the line printed at the end replays the ranking.
"""

import subprocess
import sys
import time
from pathlib import Path
from socket import create_server

import httpx
import typer
from rich.console import Console

from podium_service.cli.display.rankings import lines_view
from podium_service.cli.options import podium_command
from podium_service.schemas import BatchLine

EXAMPLES = Path(__file__).parents[1] / "examples"
STORE = Path("runs/demo-rank/podium.db")
READY_S = 60


def main() -> None:
    """Exit with the status of `podium rank`, or with 1 if the service does not start."""
    STORE.parent.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    options = ["--port", str(port), "--store", str(STORE), "--log-level", "warning"]
    service = subprocess.Popen(
        [*_podium("serve"), "--config", str(EXAMPLES / "judges.yaml"), *options]
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, service)
        rank = [*_podium("rank"), str(EXAMPLES / "group.json"), "--service", url, "--json"]
        ranked = subprocess.run(rank, stdout=subprocess.PIPE, check=False)
    finally:
        service.terminate()
        service.wait()
    for text in ranked.stdout.splitlines():
        line = BatchLine.model_validate_json(text)
        Console().print(lines_view([line]))
        if line.ranking:
            podium = podium_command()
            typer.echo(f"\nLook at it again: {podium} replay {line.ranking.id} --store {STORE}")
    sys.exit(ranked.returncode)


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
