"""Run `podium serve --workers N`: N worker processes that listen on one socket.

Each of the N places runs this loop, until a signal comes:

    start a worker -> it serves -> it dies -> log, and start another one at once
                  \\
                   +-> it dies before it serves -> log, pause, and start another one

The worker of the first place gathers the groups of `/bridge/`, because the members of a group must
meet in one process. The others pass such requests on to it, over a Unix socket.

Until all N workers have served at the same time, a place that fails `MAX_FAILED_STARTS` times in a
row ends the service. After that it tries for ever, because the other workers still serve.

SIGTERM and SIGINT are passed on to the workers. The supervisor ends after its last worker.
"""

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
from podium_service.http.server import server
from podium_service.http.server.acceptor import BACKLOG
from podium_service.http.server.server import ServeOptions

MAX_FAILED_STARTS = 3
_PAUSE_S = 0.5  # after a failed start, times the number of failed starts
_MAX_PAUSE_S = 30.0

WORKER = "podium_service.http.server.worker"

log = structlog.get_logger(__name__)


async def serve_by_workers(options: ServeOptions, num_workers: int) -> None:
    """Serve by several processes until a signal comes and all of them have ended.

    Raises:
        ConfigError: If the options are not usable, or the workers die before they serve.
    """
    await server.check_options(options)
    with (
        server.listen(options) as listener,
        TemporaryDirectory(prefix="podium-metrics-") as folder,
        _listen_in(folder) as gathers_on,
    ):
        await _Supervisor(options, listener, gathers_on, num_workers, folder).run()


def _listen_in(folder: str) -> socket.socket:
    """Return a listening Unix socket in a folder that other users cannot enter."""
    path = os.path.join(folder, "gatherer")
    gathers_on = socket.socket(socket.AF_UNIX)
    try:
        gathers_on.bind(path)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {path}: {error}: set TMPDIR to a short path"
        ) from error
    gathers_on.listen(BACKLOG)
    return gathers_on


@dataclass(frozen=True, eq=False, slots=True)
class _Worker:
    """A worker process, and a socket to it; each side sees the other's death as its end of file."""

    process: Process
    channel: socket.socket

    async def wait_until_serving(self) -> bool:
        """Return True once the process serves, or False if it dies first."""
        try:
            return bool(await asyncio.get_running_loop().sock_recv(self.channel, 1))
        except ConnectionError:
            return False

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # the process has ended and is not reaped yet
            self.process.send_signal(number)


class _Supervisor:
    def __init__(
        self,
        options: ServeOptions,
        listener: socket.socket,
        gathers_on: socket.socket,
        num_workers: int,
        metrics_folder: str,
    ) -> None:
        self._options = options
        self._listener = listener
        self._gathers_on = gathers_on
        self._num_workers = num_workers
        self._metrics_folder = metrics_folder
        self._workers: set[_Worker] = set()
        self._num_serving = 0
        self._announced = False
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        places = [
            asyncio.create_task(self._keep_one_running(gathers=place == 0))
            for place in range(self._num_workers)
        ]
        try:
            await asyncio.gather(*places)
        finally:
            self._stop(signal.SIGTERM)
            await asyncio.gather(*places, return_exceptions=True)

    def _stop(self, number: signal.Signals) -> None:
        """Pass a signal on to the workers, and close the listener.

        The listener closes now, because the workers have it as long as they accept connections. If
        it stayed open longer, the kernel would go on taking connections that nobody serves.
        """
        self._stopping.set()
        for worker in self._workers:
            worker.send(number)
        self._listener.close()
        self._gathers_on.close()

    async def _keep_one_running(self, *, gathers: bool) -> None:
        """Run one worker after another until the service stops."""
        num_failed = 0
        while not self._stopping.is_set():
            worker = await self._start(gathers=gathers)
            serves = await worker.wait_until_serving()
            num_failed = 0 if serves else num_failed + 1
            self._num_serving += serves
            is_complete = self._num_serving == self._num_workers
            if is_complete and not self._announced and not self._stopping.is_set():
                self._announced = True
                server.announce(self._options, self._listener, self._num_workers)
            status = await self._wait_for_end(worker)
            self._num_serving -= serves
            if self._stopping.is_set():
                return
            pause_s = min(_MAX_PAUSE_S, _PAUSE_S * num_failed)
            log.error("worker_died", pid=worker.process.pid, status=status, again_in_s=pause_s)
            if num_failed >= MAX_FAILED_STARTS and not self._announced:
                raise ConfigError(
                    f"a worker died at its start {num_failed} times (exit status {status}): see "
                    "its own words above, or start with --workers 1"
                )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)

    async def _start(self, *, gathers: bool) -> _Worker:
        channel, other_end = socket.socketpair()
        channel.setblocking(False)
        with other_end:
            descriptors = [self._listener.fileno(), other_end.fileno()]
            path = [] if gathers else [str(self._gathers_on.getsockname())]
            descriptors += [self._gathers_on.fileno()] if gathers else []
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", WORKER, *map(str, descriptors), *path,
                pass_fds=descriptors, stdin=DEVNULL,
                env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": self._metrics_folder},
                start_new_session=True,  # so that Ctrl-C reaches it once, through `_stop`
            )  # fmt: skip
        worker = _Worker(process, channel)
        self._workers.add(worker)
        if self._stopping.is_set():
            worker.send(signal.SIGTERM)
        with suppress(OSError):  # the process has died, which `wait_until_serving` tells
            channel.send(server.OPTIONS_JSON.dump_json(self._options) + b"\n")
        return worker

    async def _wait_for_end(self, worker: _Worker) -> int:
        status = await worker.process.wait()
        worker.channel.close()
        self._workers.discard(worker)
        # prometheus-client does not type it.
        mark_process_dead(worker.process.pid, self._metrics_folder)  # type: ignore[no-untyped-call]
        return status
