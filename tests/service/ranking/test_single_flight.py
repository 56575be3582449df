"""Single flight: who shares a run, who it is cancelled for, who learns of its failure."""

import asyncio
import gc
from collections.abc import Callable

import pytest

from podium_service.ranking.single_flight import SingleFlight

pytestmark = pytest.mark.anyio


class Run:
    """A run that lands when told; counts how often it was started and cancelled."""

    def __init__(self) -> None:
        self.started = self.cancelled = 0
        self.landing: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> str:
        self.started += 1
        try:
            return await asyncio.shield(self.landing)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def join(flights: SingleFlight[str], start: Run, key: str = "k") -> asyncio.Task[tuple[str, bool]]:
    return asyncio.create_task(flights.join(key, start))


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_callers_of_one_key_share_one_run_and_one_of_them_started_it() -> None:
    flights, run = SingleFlight[str](), Run()
    callers = [join(flights, run) for _ in range(5)]
    await settle()
    run.landing.set_result("verdicts")
    answers = await asyncio.gather(*callers)
    assert run.started == 1
    assert answers == [("verdicts", True)] + [("verdicts", False)] * 4


async def test_who_comes_as_a_run_ends_starts_another() -> None:
    """Its error was the first caller's; whoever tried again at once would never let it land."""
    flights, late = SingleFlight[str](), list[asyncio.Task[tuple[str, bool]]]()

    async def fails() -> str:
        late.append(asyncio.create_task(comes()))  # runs before anything that this one's end calls
        raise ValueError("of the first")

    async def comes() -> tuple[str, bool]:
        assert "k" not in flights
        return await flights.join("k", answers)

    async def answers() -> str:
        return "of the second"

    with pytest.raises(ValueError, match="of the first"):
        await flights.join("k", fails)
    assert await late[0] == ("of the second", True)


async def test_other_keys_have_their_own_runs() -> None:
    flights, one, other = SingleFlight[str](), Run(), Run()
    callers = [join(flights, one, "k"), join(flights, other, "l")]
    one.landing.set_result("one")
    other.landing.set_result("other")
    assert await asyncio.gather(*callers) == [("one", True), ("other", True)]


async def test_a_caller_who_leaves_does_not_end_the_run_of_the_others() -> None:
    flights, run = SingleFlight[str](), Run()
    first, second = join(flights, run), join(flights, run)
    await settle()
    first.cancel()  # the one who started it
    await settle()
    assert first.cancelled()
    assert run.cancelled == 0
    run.landing.set_result("verdicts")
    assert await second == ("verdicts", False)


async def test_the_run_is_cancelled_when_the_last_caller_leaves() -> None:
    flights, run = SingleFlight[str](), Run()
    callers = [join(flights, run) for _ in range(3)]
    await settle()
    for left, request_context in enumerate(callers, start=1):
        assert run.cancelled == 0
        request_context.cancel()
        await settle()
        assert run.cancelled == (left == 3)


async def test_a_caller_after_the_last_one_left_starts_a_new_run() -> None:
    flights, old, new = SingleFlight[str](), Run(), Run()
    leaver = join(flights, old)
    await settle()
    leaver.cancel()
    await asyncio.sleep(0)  # it leaves, and its run has not noticed yet
    comer = join(flights, new)
    await settle()
    assert (old.cancelled, new.started, new.cancelled) == (1, 1, 0)
    new.landing.set_result("fresh")
    assert await comer == ("fresh", True)


async def test_a_run_slow_to_end_does_not_take_its_successor_off_the_board() -> None:
    flights, new = SingleFlight[str](), Run()
    release = asyncio.Event()

    async def stubborn() -> str:
        try:
            await asyncio.sleep(3600)
        finally:
            await release.wait()
        return "never"

    leaver = asyncio.create_task(flights.join("k", stubborn))
    await settle()
    leaver.cancel()
    await settle()
    first = join(flights, new)
    await settle()
    release.set()  # the old run ends now, long after the new one took off
    await settle()
    second = join(flights, new)
    await settle()
    new.landing.set_result("fresh")
    assert [await first, await second] == [("fresh", True), ("fresh", False)]
    assert new.started == 1


async def test_a_failure_reaches_every_caller() -> None:
    flights, run = SingleFlight[str](), Run()
    callers = [join(flights, run) for _ in range(3)]
    await settle()
    run.landing.set_exception(ValueError("no verdict"))
    failures = await asyncio.gather(*callers, return_exceptions=True)
    assert [repr(failure) for failure in failures] == ["ValueError('no verdict')"] * 3
    assert run.started == 1


@pytest.mark.parametrize(
    "land", [lambda run: run.set_result("old"), lambda run: run.set_exception(ValueError())]
)
async def test_after_a_run_has_landed_the_next_caller_starts_a_new_one(
    land: Callable[[asyncio.Future[str]], None],
) -> None:
    flights, old, new = SingleFlight[str](), Run(), Run()
    land(old.landing)
    await asyncio.gather(join(flights, old), return_exceptions=True)
    new.landing.set_result("new")
    assert await flights.join("k", new) == ("new", True)


async def test_a_failure_after_everyone_left_troubles_nobody() -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    flights = SingleFlight[str]()

    async def fails_when_cancelled() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise ValueError("on the way out") from None
        return "never"

    leaver = asyncio.create_task(flights.join("k", fails_when_cancelled))
    await settle()
    leaver.cancel()
    await settle()
    assert leaver.cancelled()
    gc.collect()  # where asyncio complains of an exception that nobody has seen
    await settle()
    assert told == []


async def test_a_callers_own_deadline_ends_its_wait_not_the_run() -> None:
    flights, run = SingleFlight[str](), Run()
    patient = join(flights, run)

    async def impatient() -> tuple[str, bool]:
        async with asyncio.timeout(0.01):
            return await join(flights, run)

    with pytest.raises(TimeoutError):
        await impatient()
    run.landing.set_result("verdicts")
    assert await patient == ("verdicts", True)
    assert run.cancelled == 0
