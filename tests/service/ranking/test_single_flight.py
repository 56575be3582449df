"""Single flight: callers share a run, leave it, and learn of its failure."""

import asyncio
import gc
from collections.abc import Callable

import pytest

from podium_service.ranking.single_flight import SingleFlight

pytestmark = pytest.mark.anyio


class Run:
    """A run that ends with `result`; counts how often it was started and cancelled."""

    def __init__(self) -> None:
        self.started = self.cancelled = 0
        self.result: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> str:
        self.started += 1
        try:
            return await asyncio.shield(self.result)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def call(runs: SingleFlight[str], start: Run, key: str = "k") -> asyncio.Task[str]:
    return asyncio.create_task(runs.do(key, start))


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_callers_of_one_key_share_one_run() -> None:
    runs, run = SingleFlight[str](), Run()
    callers = [call(runs, run) for _ in range(5)]
    await settle()
    assert "k" in runs
    run.result.set_result("verdicts")
    assert await asyncio.gather(*callers) == ["verdicts"] * 5
    assert run.started == 1
    assert "k" not in runs


async def test_a_caller_who_comes_as_a_run_fails_starts_another() -> None:
    """The error belongs to the callers of the first run."""
    runs, late = SingleFlight[str](), list[asyncio.Task[str]]()

    async def fail() -> str:
        late.append(asyncio.create_task(come()))  # runs before the callbacks of this run's end
        raise ValueError("of the first")

    async def come() -> str:
        assert "k" not in runs
        return await runs.do("k", answer)

    async def answer() -> str:
        return "of the second"

    with pytest.raises(ValueError, match="of the first"):
        await runs.do("k", fail)
    assert await late[0] == "of the second"


async def test_other_keys_have_their_own_runs() -> None:
    runs, one, other = SingleFlight[str](), Run(), Run()
    callers = [call(runs, one, "k"), call(runs, other, "l")]
    one.result.set_result("one")
    other.result.set_result("other")
    assert await asyncio.gather(*callers) == ["one", "other"]
    assert one.started == other.started == 1


async def test_a_caller_who_leaves_does_not_end_the_run() -> None:
    runs, run = SingleFlight[str](), Run()
    first, second = call(runs, run), call(runs, run)
    await settle()
    first.cancel()  # the caller that started the run
    await settle()
    assert first.cancelled()
    assert run.cancelled == 0
    run.result.set_result("verdicts")
    assert await second == "verdicts"
    assert run.started == 1


async def test_the_run_is_cancelled_when_the_last_caller_leaves() -> None:
    runs, run = SingleFlight[str](), Run()
    callers = [call(runs, run) for _ in range(3)]
    await settle()
    for num_left, caller in enumerate(callers, start=1):
        assert run.cancelled == 0
        caller.cancel()
        await settle()
        assert run.cancelled == (num_left == 3)


async def test_a_caller_after_the_last_one_left_starts_a_new_run() -> None:
    runs, old, new = SingleFlight[str](), Run(), Run()
    leaver = call(runs, old)
    await settle()
    leaver.cancel()
    await asyncio.sleep(0)  # the caller leaves, and its run has not noticed yet
    comer = call(runs, new)
    await settle()
    assert (old.cancelled, new.started, new.cancelled) == (1, 1, 0)
    new.result.set_result("fresh")
    assert await comer == "fresh"


async def test_a_run_slow_to_end_does_not_remove_its_successor() -> None:
    runs, new = SingleFlight[str](), Run()
    release = asyncio.Event()

    async def stubborn() -> str:
        try:
            await asyncio.sleep(3600)
        finally:
            await release.wait()
        return "never"

    leaver = asyncio.create_task(runs.do("k", stubborn))
    await settle()
    leaver.cancel()
    await settle()
    first = call(runs, new)
    await settle()
    release.set()  # the old run ends now, long after the new one started
    await settle()
    second = call(runs, new)
    await settle()
    new.result.set_result("fresh")
    assert [await first, await second] == ["fresh", "fresh"]
    assert new.started == 1


async def test_a_failure_reaches_every_caller() -> None:
    runs, run = SingleFlight[str](), Run()
    callers = [call(runs, run) for _ in range(3)]
    await settle()
    run.result.set_exception(ValueError("no verdict"))
    failures = await asyncio.gather(*callers, return_exceptions=True)
    assert [repr(failure) for failure in failures] == ["ValueError('no verdict')"] * 3
    assert run.started == 1


@pytest.mark.parametrize(
    "end", [lambda run: run.set_result("old"), lambda run: run.set_exception(ValueError())]
)
async def test_the_next_caller_after_a_run_starts_a_new_one(
    end: Callable[[asyncio.Future[str]], None],
) -> None:
    runs, old, new = SingleFlight[str](), Run(), Run()
    end(old.result)
    await asyncio.gather(call(runs, old), return_exceptions=True)
    new.result.set_result("new")
    assert await runs.do("k", new) == "new"
    assert new.started == 1


async def test_a_failure_after_all_callers_left_is_not_logged() -> None:
    reports: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    runs = SingleFlight[str]()

    async def fail_when_cancelled() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise ValueError("on the way out") from None
        return "never"

    leaver = asyncio.create_task(runs.do("k", fail_when_cancelled))
    await settle()
    leaver.cancel()
    await settle()
    assert leaver.cancelled()
    gc.collect()  # where asyncio reports an exception that nobody retrieved
    await settle()
    assert reports == []


async def test_a_callers_own_deadline_ends_its_wait_not_the_run() -> None:
    runs, run = SingleFlight[str](), Run()
    patient = call(runs, run)

    async def wait_briefly() -> str:
        async with asyncio.timeout(0.01):
            return await call(runs, run)

    with pytest.raises(TimeoutError):
        await wait_briefly()
    run.result.set_result("verdicts")
    assert await patient == "verdicts"
    assert (run.started, run.cancelled) == (1, 0)
