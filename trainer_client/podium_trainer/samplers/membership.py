"""Say which vLLM servers may be asked, and bring the others back to the present weights.

                    push: not yet given these weights, or a restart
          ready ───────────────────────────────────────────────────► behind
            ▲  │                                                      │   ▲
            │  └──(no connection, or no answer three times)──► gone ──┘   │ the next push, or a
            │                                   answers, passes the check │ look every two seconds
            └──────────────── has the weights ◄───────────────────────────┘

Only a ready server is asked for completions, so a server that returns has the present weights
before it is asked anything. What was open on a server that is gone is asked for elsewhere, whole.
The run goes on with `min_servers`; with fewer it waits for at most `wait_s`.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import anyio

from podium_trainer.samplers import Failures, SamplerError
from podium_trainer.samplers.vllm_requests import Weights
from podium_trainer.samplers.vllm_server import (
    LostWeights,
    State,
    Unavailable,
    VllmServer,
    join_errors,
)

LOOK_EVERY_S = 2.0
MAX_LOOK_S = 32.0  # between attempts to bring up a server that answers
MAX_MISSES = 3  # a busy server may be slow to answer
OWN_NAME = "default"  # of the weights that a server has started with


class Push(Protocol):
    """One version's weights, and how a server gets them; weight_sync.py has two kinds.

    Attributes:
        weights: what to ask for, once a server has them.
    """

    @property
    def weights(self) -> Weights: ...

    async def find(self, server: VllmServer) -> str:
        """Return the name of the weights that a server has; OWN_NAME for its first ones.

        Raises:
            SamplerError: If it does not tell.
        """
        ...

    async def give(self, server: VllmServer) -> None:
        """Give a server the weights; a second time does no harm.

        Raises:
            SamplerError: If it does not take them in time.
        """
        ...


class NotEnoughServers(SamplerError):
    """Fewer servers than `sampler.min_servers` are ready, for longer than `sampler.wait_s`."""


class Membership:
    """The servers of a run; all its coroutines run on the thread of `VllmServers`.

    Args:
        members: the servers.
        check: refuses a server that cannot be used, when it answers again.
        min_servers: the number with which the run goes on.
        wait_s: the limit of a wait for that number, in seconds.
        look_every_s: seconds between looks at a server.
        note: told in one line about each change.

    Attributes:
        push: the present version's; None before the first.
        version_of_label: the version of each label that this run has given.
    """

    def __init__(
        self,
        members: Sequence[VllmServer],
        check: Callable[[VllmServer], Awaitable[None]],
        *,
        min_servers: int,
        wait_s: float,
        look_every_s: float,
        note: Callable[[str], None],
    ) -> None:
        self.members = list(members)
        self.min_servers = min_servers
        self.wait_s = wait_s
        self.look_every_s = look_every_s
        self.push: Push | None = None
        self.version_of_label: dict[str, int] = {}
        self._check = check
        self._note = note
        self._changed = anyio.Event()
        self._short_since: float | None = None
        self._is_pushing = False
        self._is_begun = False  # whether the first push has succeeded

    @property
    def ready(self) -> list[VllmServer]:
        """The servers that have the present weights."""
        return [server for server in self.members if server.state == "ready"]

    async def check_all(self) -> None:
        """Check all servers side by side; one that does not answer may come later.

        Raises:
            SamplerError: If one is unfit, or fewer than `min_servers` answer; one line that names
                those that failed.
        """
        unfit: list[SamplerError] = []

        async def check_one(server: VllmServer) -> None:
            try:
                await self._check(server)
            except Unavailable as error:
                self._set(server, "gone", error)
            except SamplerError as error:
                unfit.append(error)

        async with anyio.create_task_group() as tasks:
            for server in self.members:
                tasks.start_soon(check_one, server)
        if unfit or len(self.ready) < self.min_servers:
            gone = [server.last_error for server in self.members if server.last_error]
            raise join_errors(unfit or gone, self.members)

    def choose(self) -> tuple[VllmServer, float]:
        """Return the ready server to ask next, and the seconds until it is available."""
        now = anyio.current_time()
        best = min(self.ready, key=lambda s: (max(0.0, s.available_at - now), s.open_requests))
        return best, max(0.0, best.available_at - now)

    async def wait_until_enough(self) -> float:
        """Wait until enough servers are ready, and return the seconds that it took.

        While a push is on, no server counts as missing, because a push has limits of its own.

        Raises:
            NotEnoughServers: If there are too few for `wait_s`, counted over all that wait.
        """
        started = anyio.current_time()
        while len(self.ready) < self.min_servers:
            if self._is_pushing:
                self._short_since = None
                await self._changed.wait()
                continue
            if self._short_since is None:
                self._short_since = anyio.current_time()
            left_s = self._short_since + self.wait_s - anyio.current_time()
            if left_s <= 0:
                raise NotEnoughServers(
                    f"{len(self.ready)} of {len(self.members)} vLLM servers ready for"
                    f" sampler.wait_s = {self.wait_s:g} s, fewer than sampler.min_servers"
                    f" {self.min_servers}; {self._reasons()}; start them and --resume"
                )
            with anyio.move_on_after(left_s):
                await self._changed.wait()
        self._short_since = None
        return anyio.current_time() - started

    async def adopt(self, push: Push) -> None:
        """Make a push the present one, and give it to all servers that answer, side by side.

        A server that fails is behind, and does not stop the run; nor does one wait for those that
        were behind before. Only the first push must succeed on `min_servers`, because a server that
        is set up wrongly fails there.

        Raises:
            SamplerError: If the first push failed on too many; one line that names the servers.
        """
        self.push = push
        if push.weights.label is not None:
            self.version_of_label[push.weights.label] = push.weights.version
        reached = self.ready
        for server in reached:
            server.state = "behind"
        self._is_pushing = True
        try:
            async with anyio.create_task_group() as tasks:
                for server in reached:
                    tasks.start_soon(self._bring_up, server)
        finally:
            self._is_pushing = False
            self._tell_waiting()
        if not self._is_begun and len(self.ready) < self.min_servers:
            raise join_errors([s.last_error for s in self.members if s.last_error], self.members)
        self._is_begun = True

    def lose(self, server: VllmServer, error: SamplerError) -> None:
        """Count a server as gone; what is open there is asked for elsewhere."""
        if server.state != "gone":
            self._set(server, "gone", error)
        server.end_requests()

    async def move(self, server: VllmServer, url: str) -> None:
        """Count a server as gone from its address, and look for it at another one from now on."""
        self._set(server, "gone", SamplerError(f"it has been started again at {url}"))
        server.end_requests()
        async with server.in_push:  # it may still be given weights at the old address
            server.url, server.state = url, "gone"

    def doubt(self, server: VllmServer, error: Unavailable) -> None:
        """Draw the conclusion from a sampling request that failed."""
        if isinstance(error, LostWeights):
            self._set_behind(server, error)
            return
        server.back_off(error)
        if error.is_unreachable:
            self.lose(server, error)

    def _set_behind(self, server: VllmServer, error: SamplerError) -> None:
        if server.state == "ready":
            self._set(server, "behind", error)

    async def watch(self, server: VllmServer) -> None:
        """Look at a server again and again, for as long as the run lasts."""
        wait_s, failures = self.look_every_s, Failures(f"the watch of {server.url}", self._note)
        while True:
            await anyio.sleep(wait_s)
            with failures:
                await self.look_at(server)
            wait_s = min(2 * wait_s, MAX_LOOK_S) if server.state == "behind" else self.look_every_s

    async def look_at(self, server: VllmServer) -> None:
        """Ask a server which weights it has, and bring it up if they are not the present ones."""
        push = self.push
        if push is None or not self._is_begun or server.is_taken or server.in_push.locked():
            return
        if server.state == "ready":
            found = push.weights.name
            try:
                found = await push.find(server)
                server.num_misses = 0
            except Unavailable as error:
                server.num_misses += 1
                if error.is_unreachable or server.num_misses >= MAX_MISSES:
                    self.lose(server, error)
            except SamplerError:
                pass  # it answers, though it does not say
            if found != push.weights.name and push is self.push:
                reason = f"{server.url} has weights {found!r}: it has restarted"
                self._set_behind(server, SamplerError(reason))
        if server.state != "ready":
            await self._bring_up(server)

    async def _bring_up(self, server: VllmServer) -> None:
        """Give a server the present weights, after a check if it was gone."""
        async with server.in_push:
            push = self.push
            if push is None or server.state == "ready":
                return
            try:
                if server.state == "gone":
                    await self._check(server)
                found = await push.find(server)
                self._refuse_shared(server, found)
                if server.state == "behind" or found != push.weights.name:
                    await push.give(server)
            except SamplerError as error:
                is_gone = isinstance(error, Unavailable) and error.is_unreachable
                self._set(server, "gone" if is_gone else server.state, error)
                return
            if push is self.push:
                server.weights, server.num_misses = push.weights, 0
                server.reset_backoff()
                self._set(server, "ready", None)

    def _refuse_shared(self, server: VllmServer, found: str) -> None:
        """Leave a server alone for good that had this run's weights and has another run's now."""
        own = self.version_of_label
        if server.weights.name in own and found != OWN_NAME and found not in own:
            server.is_taken = True
            raise SamplerError(
                f"{server.url} has weights {found!r}, which this run did not push: give each run"
                " servers of its own"
            )

    def _set(self, server: VllmServer, state: State, error: SamplerError | None) -> None:
        """Change a server's state, and say so if that is news."""
        before, reason = server.last_error, str(error) if error else None
        server.state, server.last_error = state, error
        if reason != (str(before) if before else None):
            self._note(f"vLLM server {server.url} is {state}" + (f": {reason}" if reason else ""))
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _reasons(self) -> str:
        return "; ".join(str(s.last_error) for s in self.members if s.last_error)
