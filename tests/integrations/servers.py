"""The service and a scripted judge, for tests in environments that cannot hold the service."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from tests.fakes import ScriptedJudge, Step

START_S = 180.0
SOURCES = Path(__file__).parents[2] / "service"


class PodiumServer:
    """`podium serve` on one port and one store, which outlive `kill` and `start`.

    The Python that has the service is named by PODIUM_PYTHON.

    Attributes:
        url: its URL.
    """

    def __init__(self, folder: Path, judges: Mapping[str, Any]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._folder = folder
        self._config = folder / "judges.yaml"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        if judges:  # JSON is YAML
            file = {"default_judge": next(iter(judges)), "judges": judges}
            self._config.write_text(json.dumps(file))

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    def start(self) -> None:
        """Start it, and wait until it serves."""
        config = ["--config", str(self._config)] if self._config.exists() else []
        python = os.environ.get("PODIUM_PYTHON", sys.executable)
        path = os.pathsep.join([str(SOURCES), str(SOURCES.parent / "trainer_client")])
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [python, "-P", "-m", "podium_service", "serve", "--port", str(self._port), *config],
                cwd=self._folder, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": path},
            )  # fmt: skip
        give_up_at = time.monotonic() + START_S
        while not _answers(f"{self.url}/livez"):
            assert self._process.poll() is None, self.log
            assert time.monotonic() < give_up_at, self.log
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill it by SIGKILL, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


StartPodium = Callable[..., PodiumServer]


class JudgeServer:
    """A scripted judge on a thread of its own, with the settings that name it in a judges file."""

    def __init__(self, judge: ScriptedJudge) -> None:
        self.judge = judge

    @property
    def calls(self) -> int:
        return self.judge.calls

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return an entry of a judges file: one list call a group, and no audits."""
        settings = {"model": "m", "base_urls": [self.judge.url], "context_tokens": 32768}
        return {**settings, "method": "listwise", "passes": 1, "audit": 0, "attempts": 1, **more}


StartJudge = Callable[[Step], JudgeServer]


@contextmanager
def judge_server(always: Step) -> Iterator[JudgeServer]:
    """Serve a judge that answers each call with this step."""
    judge = ScriptedJudge(always=always)
    with _running(judge.serving):
        yield JudgeServer(judge)


@contextmanager
def _running(serving: Callable[[], Any]) -> Iterator[None]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        context = serving()
        asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(START_S)
        yield
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(START_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):
            return True
    except (URLError, ConnectionError, TimeoutError):
        return False
