"""Load that outlives what it is put on, and what a judge remembers of it."""

import asyncio
import re
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import httpx

from tests.fakes import Answer, Asked, until
from tests.service.faults import GOOD, answers
from tests.service.helpers import group
from tests.service.process import Podium

PASSES = 2
ORDER_S = 0.2  # answers so close to each other may be kept in either order
GROUPS_PER_S = 12.0


def worths(number: int) -> list[float]:
    """Return what the four trajectories of a group are worth."""
    return [value / 100 for value in Random(number).sample(range(101), 4)]


def content(number: int) -> dict[str, Any]:
    return group(*answers(number, worths(number)), group_id=str(number), deadline_s=100.0)


def rewards(number: int) -> list[float]:
    """Return what a group must earn."""
    values = worths(number)
    return [sum(other < each for other in values) / (len(values) - 1) for each in values]


@dataclass
class Paid:
    """One judge call: of a group, in an order; answered, unless its caller was gone by then."""

    asked_at: float
    answered_at: float  # when it shall be, and then when it was

    def answered(self) -> None:
        self.answered_at = time.monotonic()


@dataclass(frozen=True)
class Life:
    """From when a process was asked, and when its kill began.

    What it had sent by then may reach a judge a little later.
    """

    began_at: float
    killed_at: float = inf


class Bill:
    """A healthy judge's script that keeps every call, by group and order shown."""

    def __init__(self, slowest_s: float = 0.5) -> None:
        self.paid: dict[tuple[int, tuple[str, ...]], list[Paid]] = defaultdict(list)
        self._random = Random(3)
        self._slowest_s = slowest_s

    def __call__(self, asked: Asked) -> Answer:
        number = re.search(r"answer (\d+)\.", asked.text)
        assert number
        delay_s = self._random.uniform(0.4, 1.0) * self._slowest_s
        now = time.monotonic()
        paid = Paid(now, now + delay_s)
        self.paid[int(number[1]), tuple(asked.shown.values())].append(paid)
        return replace(GOOD(asked), delay_s=delay_s, sent=paid.answered)

    @property
    def num_calls(self) -> int:
        return sum(map(len, self.paid.values()))

    @property
    def repeated(self) -> list[list[Paid]]:
        """The calls that were made more than once."""
        return [calls for calls in self.paid.values() if len(calls) > 1]

    def assert_nothing_kept_is_paid_again(self, lives: Sequence[Life], load: "Load") -> None:
        """Assert that a call that was made again was answered after all that its process kept.

        It is known to have kept the calls of the groups that it told.
        """
        kept_until = dict.fromkeys(lives, -inf)
        for (number, _), calls in self.paid.items():
            life = life_at(load.told_at[number], lives)
            ends = [each.answered_at for each in calls if life_at(each.asked_at, lives) is life]
            kept_until[life] = max(kept_until[life], *ends, -inf)
        for one in (each for calls in self.repeated for each in calls[:-1]):
            assert one.answered_at > kept_until[life_at(one.asked_at, lives)] - ORDER_S

    def told(self, lives: Sequence[Life]) -> str:
        """Tell how the calls compare with what the kills left open."""
        every = [each for calls in self.paid.values() for each in calls]
        open_ = sum(_before_its_kill_s(each, lives) < 0 for each in every)
        again = sum(len(calls) - 1 for calls in self.repeated)
        answered = self._answered_before_kills(lives)
        return (
            f"{len(every)} calls, {again} of them paid again: {again - len(answered)} "
            f"of the {open_} in flight at a kill, and {len(answered)} answered at most "
            f"{max(answered, default=0.0):.3f} s before one"
        )

    def _answered_before_kills(self, lives: Sequence[Life]) -> list[float]:
        """Return how long before the kill the calls were answered that were made again."""
        again = [each for calls in self.repeated for each in calls[:-1]]
        ages = [_before_its_kill_s(each, lives) for each in again]
        return [age for age in ages if age > 0]


def _before_its_kill_s(call: Paid, lives: Sequence[Life]) -> float:
    """Return seconds before the kill; negative for a call in flight at the kill of its process."""
    return life_at(call.asked_at, lives).killed_at - call.answered_at


def life_at(moment: float, lives: Sequence[Life]) -> Life:
    """Return the one that lasted then, or had ended last."""
    return [each for each in lives if each.began_at <= moment][-1]


@dataclass
class Load:
    """Groups that keep coming, each asked for again and again until it is ranked."""

    urls: list[str] = field(default_factory=list)
    told: dict[int, dict[str, Any]] = field(default_factory=dict)
    told_at: dict[int, float] = field(default_factory=dict)
    asked: int = 0
    setbacks: Counter[str] = field(default_factory=Counter)

    @asynccontextmanager
    async def coming(self) -> AsyncIterator[None]:
        """Let new groups come all the while; at the end all of them are ranked."""
        async with (
            httpx.AsyncClient(
                trust_env=False, timeout=120, limits=httpx.Limits(max_connections=None)
            ) as http,
            asyncio.TaskGroup() as groups,
        ):
            coming = asyncio.create_task(self._come(http, groups))
            try:
                yield
            finally:
                coming.cancel()

    async def goes_on(self) -> None:
        """Wait for so many more to be ranked that some of them have come since."""
        told = len(self.told)
        await eventually(lambda: len(self.told) > told + 40)

    async def _come(self, http: httpx.AsyncClient, groups: asyncio.TaskGroup) -> None:
        await eventually(lambda: bool(self.urls))
        while True:
            groups.create_task(self.rank(http, self.asked))
            self.asked += 1
            await asyncio.sleep(1 / GROUPS_PER_S)

    async def rank(self, http: httpx.AsyncClient, number: int) -> None:
        while number not in self.told:
            try:
                url = self.urls[number % len(self.urls)]
                answer = await http.post(f"{url}/rank", json=content(number))
            except httpx.TransportError as error:
                self.setbacks[type(error).__name__] += 1
            else:
                if answer.status_code == 200:
                    self.told[number] = answer.json()
                    self.told_at[number] = time.monotonic()
                    return
                problem = answer.json()
                assert problem["retryable"], problem
                self.setbacks[problem["code"]] += 1
            await asyncio.sleep(0.1)


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most a minute."""
    await until(condition, 60)


@asynccontextmanager
async def serving(cwd: Path, *arguments: str) -> AsyncIterator[Podium]:
    """Run `podium serve`, and yield when it is ready; kill it at the exit, whatever it does."""
    process = Podium(("serve", "--port", "0", *arguments), cwd, {})
    try:
        await eventually(lambda: process.url is not None or process.exit_code is not None)
        assert process.url, process.err
        yield process
    finally:
        process.kill()
