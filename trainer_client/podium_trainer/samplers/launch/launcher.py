"""Start all servers of a run, and start again those that end or hang.

            start                 /health and /v1/models answer
    down ───────────► loading ──────────────────────────────────► up
     ▲                   │                                        │
     │ 1 s, 2 s, ...     │ it ends, or `start_s` are over         │ it ends, or does not answer
     └───────────────────┴────────────────────────────────────────┘ for a minute

A thread looks at every server once a second, whatever a look before has met with. Only before the
first step does a server that does not come up end the run; later the run goes on with the others,
as samplers/membership.py decides. Each start has an address of its own, which membership.py is told
when the server answers there.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Self

import httpx

from podium_trainer.samplers import Failures, SamplerError
from podium_trainer.samplers.launch.plan import ServerPlan
from podium_trainer.samplers.launch.started import Start, Started, StartedHere

LOOK_EVERY_S = 1.0
ANSWER_S = 5.0
HANG_S = 60.0
MIN_WAIT_S, MAX_WAIT_S = 1.0, 60.0


class Launched:
    """One server that is kept up.

    Args:
        plan: what is started.
        start: starts it.
        start_s: the seconds that it may take until it answers.
        hang_s: the seconds that it may then be silent.

    Attributes:
        started: the present start; None while it is down.
        is_up: whether it has answered since that start.
        url: the address at which it has last answered; empty before.
    """

    def __init__(self, plan: ServerPlan, start: Start, *, start_s: float, hang_s: float) -> None:
        self.plan = plan
        self.started: Started | None = None
        self.is_up = False
        self.url = ""
        self._start = start
        self._start_s, self._hang_s = start_s, hang_s
        self._heard_at = 0.0
        self._due_at = 0.0
        self._wait_s = MIN_WAIT_S

    @property
    def name(self) -> str:
        """What lines call the server: its present address, else that of before, else its number."""
        return (self.started and self.started.url) or self.url or self.plan.log.stem

    def start(self) -> None:
        """Start the server's process."""
        self.is_up, self._heard_at = False, time.monotonic()
        self.started = self._start(self.plan)

    def listen(self, http: httpx.Client) -> None:
        """Find out whether the server answers."""
        url = self.started and self.started.url
        paths = ("/health",) if self.is_up else ("/health", "/v1/models")
        if url and all(answers(http, url + path) for path in paths):
            self.is_up, self._heard_at, self._wait_s = True, time.monotonic(), MIN_WAIT_S
            self.url = url

    def fault(self) -> str | None:
        """Say why the server must be started again; None if it need not be."""
        assert self.started is not None
        if fault := self.started.fault:
            return fault
        limit_s = self._hang_s if self.is_up else self._start_s
        if time.monotonic() < self._heard_at + limit_s:
            return None
        unit = "" if self.is_up else " = sampler.vllm.start_s"
        return f"has not answered for {limit_s:g} s{unit} ({self.started.where})"

    def drop(self) -> None:
        """End the process; `is_due` says when the next one may be started."""
        if self.started is not None:
            self.started.stop()
            self.started.wait()
        self.started, self.is_up = None, False
        self._due_at = time.monotonic() + self._wait_s
        self._wait_s = min(2 * self._wait_s, MAX_WAIT_S)

    @property
    def is_due(self) -> bool:
        """Whether the server is down and may be started."""
        return self.started is None and time.monotonic() >= self._due_at


class Launcher:
    """The servers that a run has started. Use a `with` block, at whose end they are ended.

    Args:
        plans: the servers.
        start: starts a server.
        start_s: the seconds that each may take until it answers.
        note: told in one line about each server that is started again.
        look_every_s: seconds between looks at the servers.
        hang_s: the seconds that a server may be silent.
    """

    def __init__(
        self,
        plans: Sequence[ServerPlan],
        *,
        start_s: float,
        note: Callable[[str], None],
        start: Start = StartedHere,
        look_every_s: float = LOOK_EVERY_S,
        hang_s: float = HANG_S,
    ) -> None:
        self.servers = [Launched(plan, start, start_s=start_s, hang_s=hang_s) for plan in plans]
        self._note = note
        self._failures = Failures("the watch of the vLLM servers", note)
        self._tell: Callable[[int, str], None] | None = None
        self._told: list[str] = []
        self._look_every_s = look_every_s
        self._lock = threading.Lock()  # held while processes are started or ended
        self._is_closing = threading.Event()
        self._are_starts_held = False
        self._thread = threading.Thread(target=self._keep_up, name="launcher", daemon=True)
        self._exits = ExitStack()
        self._http = httpx.Client(timeout=min(ANSWER_S, hang_s), trust_env=False)

    @property
    def urls(self) -> list[str]:
        """The addresses at which the servers have last answered."""
        return [server.url for server in self.servers]

    def __enter__(self) -> Self:
        """Start all servers, and wait until each of them answers.

        Raises:
            SamplerError: If one does not come up; one line with the reason.
        """
        try:
            for server in self.servers:
                server.start()
            while not all(server.is_up for server in self.servers):
                time.sleep(min(self._look_every_s, 0.25))
                self._refuse_failed()
            self._thread.start()
        except OSError as error:
            self.close()
            raise SamplerError(f"the vLLM servers cannot be started: {error}") from error
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _refuse_failed(self) -> None:
        for server in self.servers:
            server.listen(self._http)
            if fault := server.fault():
                raise SamplerError(f"the vLLM server {server.name} {fault}")

    def close(self) -> None:
        """End all servers."""
        self._is_closing.set()
        if self._thread.is_alive():
            self._thread.join()
        started = [server.started for server in self.servers if server.started]
        for each in started:
            each.stop()
        for each in started:
            each.wait()
        self._http.close()

    def end(self, place: int) -> None:
        """End the server at a place in `servers`; it is started again."""
        with self._lock:
            self.servers[place].drop()

    def has_process(self, place: int) -> bool:
        """Return whether a server has a process, which may load, answer or hang."""
        with self._lock:
            return self.servers[place].started is not None

    def is_loading(self, place: int) -> bool:
        """Return whether a server has a process that has not answered yet."""
        with self._lock:
            server = self.servers[place]
            return server.started is not None and not server.is_up

    def is_up(self, place: int) -> bool:
        """Return whether a server has answered since it was started."""
        with self._lock:
            return self.servers[place].is_up

    @contextmanager
    def telling(self, tell: Callable[[int, str], None], known: Sequence[str]) -> Iterator[None]:
        """While the block runs, tell the place and the address of each server that has moved.

        Args:
            tell: is called when the server answers at its new address.
            known: the addresses that are known already.
        """
        with self._lock:
            self._tell, self._told = tell, list(known)
        try:
            yield
        finally:
            with self._lock:
                self._tell = None

    @contextmanager
    def starting_none(self) -> Iterator[None]:
        """Start no server while the block runs."""
        with self._lock:
            self._are_starts_held = True
        try:
            yield
        finally:
            with self._lock:
                self._are_starts_held = False

    def _keep_up(self) -> None:
        while not self._is_closing.wait(self._look_every_s):
            for place in range(len(self.servers)):
                with self._failures, self._lock:
                    self._look_at(place)

    def _look_at(self, place: int) -> None:
        server = self.servers[place]
        if server.started is not None:
            server.listen(self._http)
            if fault := server.fault():
                self._note(f"vLLM server {server.name} {fault}; it is started again")
                server.drop()
        if server.is_due and not self._are_starts_held:
            try:
                server.start()
            except OSError as error:
                self._note(f"vLLM server {server.name} cannot be started: {error}")
                server.drop()
        if self._tell and server.url != self._told[place]:
            self._told[place] = server.url
            self._tell(place, server.url)


def answers(http: httpx.Client, url: str) -> bool:
    """Return whether a request is answered with 200."""
    try:
        return http.get(url).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
