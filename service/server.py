"""Running the service: everything opened in order, drained and closed in the reverse."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from types import FrameType

import structlog
import uvicorn

from service.app import Service, create_app
from service.errors import ConfigError
from service.judges import Judges
from service.keyring import read_keys
from service.metrics import Metrics
from service.ranking import Ranker
from service.store import open_store
from service.tracing import UNTRACED, Tracing, open_tracing

GRACE_S = 130  # a little more than the longest default deadline

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_service(
    config: Path | None, store_url: str, tracing: Tracing = UNTRACED
) -> AsyncIterator[Service]:
    """Judges, store and ranker, ready to rank; in process or behind `serve`.

    Raises:
        ConfigError: If the judges file or the store is not usable.
    """
    metrics = Metrics()
    async with open_store(store_url) as store:
        judges = Judges(config, metrics, store.ledger, tracing)
        try:
            ranker = Ranker(judges, store, metrics, tracing)
            yield Service(ranker, store, metrics, tracing)
        finally:
            await judges.aclose()


def require_key_beyond_loopback(host: str, *, guarded: bool) -> None:
    """Refuse to listen where others can reach us without asking them for a key.

    Raises:
        ConfigError: If `host` is not loopback and there is no key at all.
    """
    try:
        loopback = ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and not guarded:
        raise ConfigError(
            f"host {host} can be reached by others, and no key guards it: set PODIUM_API_KEY "
            "(clients read it, too), make one with podium keys create, or listen on 127.0.0.1"
        )


class DrainingServer(uvicorn.Server):
    """On SIGTERM readiness goes off first, and the server stops `drain_s` later; in-flight requests
    are finished. A second signal stops at once."""

    def __init__(self, config: uvicorn.Config, service: Service, drain_s: float) -> None:
        super().__init__(config)
        self._service = service
        self._drain_s = drain_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Unlike uvicorn's, forget the signal: raised again after the stop, it would turn a clean
        end into exit status -15."""
        if sig == signal.SIGTERM and not self._service.draining:
            self._service.draining = True
            loop = asyncio.get_running_loop()
            loop.call_soon_threadsafe(loop.call_later, self._drain_s, self._stop)
        else:
            self.force_exit = self.should_exit
            self.should_exit = True

    def _stop(self) -> None:
        self.should_exit = True


def event_loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed, as uvicorn itself would choose."""
    return uvicorn.Config("", log_config=None).get_loop_factory()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigError: If the address is taken, or none of ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error}: choose another --port"
        ) from error
    # Connections inherit it. Without it an answer in two parts waits 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


async def serve(
    *,
    host: str,
    port: int,
    config: Path | None,
    store_url: str,
    api_key: str | None,
    drain_s: float,
) -> None:
    """Serve until a signal comes.

    Raises:
        ConfigError: If the judges file, the store or the address is not usable.
    """
    api_key = (api_key or "").strip() or None
    async with (
        open_tracing() as tracing,
        open_service(config, store_url, tracing) as service,
    ):
        guarded = bool(api_key) or bool(await read_keys(service.store))
        require_key_beyond_loopback(host, guarded=guarded)
        app = create_app(service, api_keys=[api_key] if api_key else [])
        settings = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=GRACE_S,
        )
        judges = service.ranker.judges
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, judges.reload)
        watcher = asyncio.create_task(judges.watch())
        try:
            with listen(host, port) as listener:
                bound = listener.getsockname()[1]
                log.info("listening", url=f"http://{f'[{host}]' if ':' in host else host}:{bound}")
                await DrainingServer(settings, service, drain_s).serve(sockets=[listener])
        finally:
            watcher.cancel()
