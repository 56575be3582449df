"""Start all servers of a run, and start again those that end or hang.

            start                 /health and /v1/models answer
    down ───────────► loading ──────────────────────────────────► up
     ▲                   │                                        │
     │ 1 s, 2 s, ...     │ it ends, or `start_s` are over         │ it ends, or does not answer
     └───────────────────┴────────────────────────────────────────┘ for a minute

A thread looks at every server once a second. Only before the first step does a server that does
not come up end the run; later the run goes on with the others, as samplers/membership.py decides.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Self

import httpx

from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.launch.child import Child
from podium_trainer.samplers.launch.plan import ServerPlan

LOOK_EVERY_S = 1.0
ANSWER_S = 5.0
HANG_S = 60.0
MIN_WAIT_S, MAX_WAIT_S = 1.0, 60.0


class Launched:
    """One server that is kept up.

    Args:
        plan: what is started.
        start_s: the seconds that it may take until it answers.
        hang_s: the seconds that it may then be silent.
    """

    def __init__(self, plan: ServerPlan, *, start_s: float, hang_s: float) -> None:
        self.plan = plan
        self.child: Child | None = None
        self.is_up = False
        self._start_s, self._hang_s = start_s, hang_s
        self._heard_at = 0.0
        self._due_at = 0.0
        self._wait_s = MIN_WAIT_S

    def start(self) -> None:
        """Start the server's process."""
        self.is_up = False
        self.child = Child(self.plan.command, os.environ | self.plan.environment, self.plan.log)
        self._heard_at = self.child.started_at

    def listen(self, http: httpx.Client) -> None:
        """Find out whether the server answers."""
        paths = ("/health",) if self.is_up else ("/health", "/v1/models")
        if all(answers(http, self.plan.url + path) for path in paths):
            self.is_up, self._heard_at, self._wait_s = True, time.monotonic(), MIN_WAIT_S

    def fault(self) -> str | None:
        """Say why the server must be started again; None if it need not be."""
        assert self.child is not None
        if self.child.status is not None:
            return f"has ended with status {self.child.status}: {self.child.why_ended()}"
        limit_s = self._hang_s if self.is_up else self._start_s
        if time.monotonic() < self._heard_at + limit_s:
            return None
        unit = "" if self.is_up else " = sampler.vllm.start_s"
        return f"has not answered for {limit_s:g} s{unit} (its log: {self.plan.log})"

    def drop(self) -> None:
        """End the process; `is_due` says when the next one may be started."""
        if self.child is not None:
            self.child.stop()
            self.child.wait()
        self.child, self.is_up = None, False
        self._due_at = time.monotonic() + self._wait_s
        self._wait_s = min(2 * self._wait_s, MAX_WAIT_S)

    @property
    def is_due(self) -> bool:
        """Whether the server is down and may be started."""
        return self.child is None and time.monotonic() >= self._due_at


class Launcher:
    """The servers that a run has started. Use a `with` block, at whose end they are ended.

    Args:
        plans: the servers.
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
        look_every_s: float = LOOK_EVERY_S,
        hang_s: float = HANG_S,
    ) -> None:
        self.servers = [Launched(plan, start_s=start_s, hang_s=hang_s) for plan in plans]
        self._note = note
        self._look_every_s = look_every_s
        self._lock = threading.Lock()  # held while processes are started or ended
        self._is_closing = threading.Event()
        self._are_starts_held = False
        self._thread = threading.Thread(target=self._keep_up, name="launcher", daemon=True)
        self._exits = ExitStack()
        self._http = httpx.Client(timeout=min(ANSWER_S, hang_s), trust_env=False)

    @property
    def urls(self) -> list[str]:
        """The addresses of the servers."""
        return [server.plan.url for server in self.servers]

    def __enter__(self) -> Self:
        """Start all servers, and wait until each of them answers.

        Raises:
            SamplerError: If one does not come up; one line with the reason.
        """
        try:
            for server in self.servers:
                server.plan.log.parent.mkdir(parents=True, exist_ok=True)
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
                raise SamplerError(f"the vLLM server {server.plan.url} {fault}")

    def close(self) -> None:
        """End all servers."""
        self._is_closing.set()
        if self._thread.is_alive():
            self._thread.join()
        children = [server.child for server in self.servers if server.child]
        for child in children:
            child.stop()
        for child in children:
            child.wait()
        self._http.close()

    def end(self, url: str) -> None:
        """End one server; it is started again."""
        with self._lock:
            next(server for server in self.servers if server.plan.url == url).drop()

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
            for server in self.servers:
                with self._lock:
                    self._look_at(server)

    def _look_at(self, server: Launched) -> None:
        if server.child is not None:
            server.listen(self._http)
            if fault := server.fault():
                self._note(f"vLLM server {server.plan.url} {fault}; it is started again")
                server.drop()
        if server.is_due and not self._are_starts_held:
            try:
                server.start()
            except OSError as error:
                self._note(f"vLLM server {server.plan.url} cannot be started: {error}")
                server.drop()


def answers(http: httpx.Client, url: str) -> bool:
    """Return whether a request is answered with 200."""
    try:
        return http.get(url).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
