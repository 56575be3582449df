"""`podium serve --workers N`: N processes on one socket. One that dies is started again, signals
are passed on, and all are gone before the parent is."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from contextlib import suppress
from dataclasses import dataclass
from tempfile import TemporaryDirectory

import structlog
from prometheus_client.multiprocess import mark_process_dead

from podium_service.errors import ConfigError
from podium_service.http.server.server import ServeOptions, announce, check, listen

MAX_FAILED_STARTS = 3
_PAUSE_S = 0.5  # after a failed start, times their number
_LONGEST_PAUSE_S = 30.0

WORKER = "podium_service.http.server.worker"

log = structlog.get_logger(__name__)


async def serve_by_workers(options: ServeOptions, number: int) -> None:
    """Serve by so many processes until a signal comes and all have ended.

    Raises:
        ConfigError: If the service cannot start, or its processes die at their start.
    """
    await check(options)
    with listen(options) as listener, TemporaryDirectory(prefix="podium-metrics-") as folder:
        await _Workers(options, listener, number, folder).run()


@dataclass(frozen=True, eq=False, slots=True)
class _Worker:
    process: Process
    line: socket.socket  # to it; that it breaks tells each of the other's death

    async def starts(self) -> bool:
        """Wait until it serves, or does not."""
        try:
            return bool(await asyncio.get_running_loop().sock_recv(self.line, 1))
        except ConnectionError:
            return False

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has ended, and nobody has noticed yet
            self.process.send_signal(number)


class _Workers:
    def __init__(
        self, options: ServeOptions, listener: socket.socket, number: int, metrics_folder: str
    ) -> None:
        self._options = options
        self._listener = listener
        self._number = number
        self._metrics_folder = metrics_folder
        self._serve: set[_Worker] = set()
        self._all: set[_Worker] = set()
        self._announced = False
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        places = [asyncio.create_task(self._keep_one()) for _ in range(self._number)]
        try:
            await asyncio.gather(*places)
        finally:
            self._stop(signal.SIGTERM)
            await asyncio.gather(*places, return_exceptions=True)

    def _stop(self, number: signal.Signals) -> None:
        """Pass a signal on, and let go of the listener: workers have it as long as they serve, and
        the last of them takes whom the kernel still keeps. If we had it any longer, the kernel
        would go on taking connections, and nobody would ever answer them."""
        self._stopping.set()
        for worker in self._all:
            worker.send(number)
        self._listener.close()

    async def _keep_one(self) -> None:
        """Keep one process running until all shall stop. Once all have served, the others still do
        while one cannot start (a judges file gone bad, a store away): it is tried on and on.

        Raises:
            ConfigError: If it dies at its start again and again before that.
        """
        failed = 0
        while not self._stopping.is_set():
            worker = await self._start()
            if await worker.starts():
                failed = 0
                self._served_by(worker)
            else:
                failed += 1
            status = await self._ended(worker)
            if self._stopping.is_set():
                return
            pause_s = min(_LONGEST_PAUSE_S, _PAUSE_S * failed)
            log.error("worker_died", pid=worker.process.pid, status=status, again_in_s=pause_s)
            if failed >= MAX_FAILED_STARTS and not self._announced:
                raise ConfigError(
                    f"a worker died at its start {failed} times (exit status {status}): see its "
                    "own words above, or start with --workers 1"
                )
            await self._pause(pause_s)

    async def _start(self) -> _Worker:
        line, other_end = socket.socketpair()
        line.setblocking(False)
        with other_end:
            descriptors = (self._listener.fileno(), other_end.fileno())
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", WORKER, *map(str, descriptors),
                pass_fds=descriptors, stdin=DEVNULL,
                env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": self._metrics_folder},
                start_new_session=True,  # Ctrl-C comes from us, once
            )  # fmt: skip
        worker = _Worker(process, line)
        self._all.add(worker)
        if self._stopping.is_set():
            worker.send(signal.SIGTERM)
        with suppress(OSError):  # it has died; `starts` will tell
            line.send(self._options.to_json() + b"\n")
        return worker

    def _served_by(self, worker: _Worker) -> None:
        self._serve.add(worker)
        if self._stopping.is_set():
            return
        if len(self._serve) == self._number and not self._announced:
            self._announced = True
            announce(self._options, self._listener, self._number)

    async def _ended(self, worker: _Worker) -> int:
        status = await worker.process.wait()
        worker.line.close()
        self._all.discard(worker)
        self._serve.discard(worker)
        mark_process_dead(worker.process.pid, self._metrics_folder)  # type: ignore[no-untyped-call]
        return status

    async def _pause(self, seconds: float) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({stopping}, timeout=seconds)
        stopping.cancel()
