"""Members wait for their group, which is ranked once: seats, retries, patience, failures."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium_service.errors import (
    Draining,
    GroupIncomplete,
    InternalError,
    InvalidRequest,
    JudgeRejected,
    JudgeUnavailable,
)
from podium_service.ranking.gathering.rendezvous import Outcome, Rendezvous
from tests.fakes import until
from tests.service.ranking.gathering.helpers import Ranked, joiner, reward, settle

pytestmark = pytest.mark.anyio


@pytest.fixture
async def rendezvous() -> AsyncIterator[Rendezvous]:
    opened = Rendezvous(return_s=0.05, keep_s=60)
    yield opened
    await opened.aclose()


async def leave(*tasks: asyncio.Task[Outcome]) -> None:
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_group_is_ranked_once_and_each_gets_its_own(rendezvous: Rendezvous) -> None:
    rank = Ranked()
    join = joiner(rendezvous, rank, 4)
    tasks = [join("a" * n, str(n)) for n in (1, 2, 3)]
    await settle()
    assert not rank.requests
    outcomes = await asyncio.gather(*tasks, join("aaaa", "4"))
    assert [outcome.member for outcome in outcomes] == ["1", "2", "3", "4"]
    assert [reward(outcome) for outcome in outcomes] == [0, 0.25, 0.5, 0.75]
    assert len(rank.requests) == 1
    assert rendezvous.count_members() == 0


async def test_groups_of_other_keys_do_not_mix(rendezvous: Rendezvous) -> None:
    rank = Ranked()
    join = joiner(rendezvous, rank, 2)
    tasks = [join("a", "1", "one"), join("b", "1", "two"), join("cc", "2", "two")]
    await settle()
    assert [task.done() for task in tasks] == [False, True, True]
    await leave(tasks[0])


async def test_equal_texts_without_names_take_seats_of_their_own(rendezvous: Rendezvous) -> None:
    join = joiner(rendezvous, Ranked(), 3, is_unique=False)
    outcomes = await asyncio.gather(join("same"), join("same"), join("longer"))
    assert [outcome.member for outcome in outcomes] == ["seat-0", "seat-1", "seat-2"]


async def test_a_retry_takes_the_seat_that_its_connection_left(rendezvous: Rendezvous) -> None:
    rank = Ranked()
    join = joiner(rendezvous, rank, 3, is_unique=False)
    first, other = join("same"), join("other one")
    await settle()
    await leave(first)
    again = join("same")
    await settle()
    assert not rank.requests
    outcomes = await asyncio.gather(again, other, join("third"))
    assert [outcome.member for outcome in outcomes] == ["seat-0", "seat-1", "seat-2"]
    assert len(rank.requests[0].trajectories) == 3


async def test_a_member_that_left_counts_and_its_retry_gets_the_answer(
    rendezvous: Rendezvous,
) -> None:
    rank = Ranked()
    join = joiner(rendezvous, rank, 3, is_unique=False)
    gone, other = join("gone"), join("other")
    await settle()
    await leave(gone)
    await asyncio.gather(other, join("the last"))
    assert (await join("gone")).member == "seat-0"
    assert len(rank.requests) == 1


async def test_a_member_that_leaves_while_ranked_gets_the_kept_answer(
    rendezvous: Rendezvous,
) -> None:
    rank = Ranked()
    rank.gate.clear()
    join = joiner(rendezvous, rank, 2, is_unique=False)
    first, second = join("a"), join("bb")
    await settle()
    await leave(first, second)
    rank.gate.set()
    await settle()
    outcomes = [await join("bb"), await join("a")]
    assert [reward(outcome) for outcome in outcomes] == [0.5, 0]
    assert len(rank.requests) == 1


async def test_an_answered_seat_is_not_a_later_groups_seat(rendezvous: Rendezvous) -> None:
    rank = Ranked()
    join = joiner(rendezvous, rank, 2, is_unique=False)
    await asyncio.gather(join("yes"), join("no"))
    await asyncio.gather(join("yes"), join("no"))  # the same texts, an epoch later
    assert len(rank.requests) == 2


async def test_a_named_member_gets_the_kept_answer_any_number_of_times(
    rendezvous: Rendezvous,
) -> None:
    rank = Ranked()
    join = joiner(rendezvous, rank, 2)
    await asyncio.gather(join("a", "0"), join("bb", "1"))
    assert [reward(await join("bb", "1")) for _ in range(2)] == [0.5, 0.5]
    assert len(rank.requests) == 1


async def test_two_connections_of_one_named_member_hold_one_seat(rendezvous: Rendezvous) -> None:
    rank = Ranked()
    join = joiner(rendezvous, rank, 2)
    outcomes = await asyncio.gather(join("a", "0"), join("a", "0"), join("bb", "1"))
    assert [reward(outcome) for outcome in outcomes] == [0, 0, 0.5]
    assert len(rank.requests[0].trajectories) == 2


async def test_a_name_that_two_attempts_have_is_refused(rendezvous: Rendezvous) -> None:
    join = joiner(rendezvous, Ranked(), 2)
    first = join("a", "0")
    await settle()
    with pytest.raises(InvalidRequest, match="member '0'"):
        await join("b", "0")
    await leave(first)


async def test_names_that_come_again_an_epoch_later_are_a_new_group(
    rendezvous: Rendezvous,
) -> None:
    rank = Ranked()
    join = joiner(rendezvous, rank, 2, is_unique=False)
    await asyncio.gather(join("a", "0"), join("bb", "1"))
    outcomes = await asyncio.gather(join("ccc", "0"), join("c", "1"))
    assert [reward(outcome) for outcome in outcomes] == [0.5, 0]


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("group_size", {"size": 3}),
        ("patience_s", {"patience_s": 5.0}),
        ("judge", {"shared": {"judge": "b"}}),
    ],
)
async def test_members_must_agree(
    rendezvous: Rendezvous, field: str, other: dict[str, Any]
) -> None:
    rank = Ranked()
    first = joiner(rendezvous, rank, 2, shared={"judge": "a"})("a", "0")
    await settle()
    fields: dict[str, Any] = {"size": 2, "shared": {"judge": "a"}} | other
    with pytest.raises(InvalidRequest, match=field) as caught:
        await joiner(rendezvous, rank, **fields)("b", "1")
    assert caught.value.fields[0]["field"] == field
    await leave(first)


async def test_metadata_may_differ(rendezvous: Rendezvous) -> None:
    rank = Ranked()
    joins = [joiner(rendezvous, rank, 2, shared={"metadata": {"n": n}}) for n in (0, 1)]
    await asyncio.gather(joins[0]("a", "0"), joins[1]("b", "1"))
    assert rank.requests[0].metadata == {"n": 0}


async def test_patience_ends_with_group_incomplete_for_those_present(
    rendezvous: Rendezvous,
) -> None:
    rank = Ranked()
    join = joiner(rendezvous, rank, 4, patience_s=0.02)
    outcomes = await asyncio.gather(join("a", "0"), join("b", "1"))
    for outcome in outcomes:
        assert isinstance(outcome.result, GroupIncomplete)
        assert "2 of 4 members came in 0.02 s" in str(outcome.result)
    assert not rank.requests
    with pytest.raises(GroupIncomplete, match="is over"):
        await join("c", "2")


async def test_min_members_ranks_those_present_and_not_the_late(rendezvous: Rendezvous) -> None:
    rank = Ranked()
    join = joiner(rendezvous, rank, 4, least=2, patience_s=0.02)
    outcomes = await asyncio.gather(join("a", "0"), join("bb", "1"))
    assert [reward(outcome) for outcome in outcomes] == [0, 0.5]
    with pytest.raises(GroupIncomplete, match="this member was not in it"):
        await join("c", "2")


async def test_a_failure_that_may_pass_is_asked_anew(rendezvous: Rendezvous) -> None:
    rank = Ranked(JudgeUnavailable("it is down"))
    join = joiner(rendezvous, rank, 2)
    for outcome in await asyncio.gather(join("a", "0"), join("bb", "1")):
        assert isinstance(outcome.result, JudgeUnavailable)
    rank.error = None
    outcomes = await asyncio.gather(join("a", "0"), join("bb", "1"))
    assert [reward(outcome) for outcome in outcomes] == [0, 0.5]


async def test_a_failure_for_good_is_kept(rendezvous: Rendezvous) -> None:
    rank = Ranked(JudgeRejected("bad key"))
    join = joiner(rendezvous, rank, 2)
    await asyncio.gather(join("a", "0"), join("bb", "1"))
    assert isinstance((await join("a", "0")).result, JudgeRejected)
    assert len(rank.requests) == 1


async def test_a_bug_is_the_outcome_of_its_group(rendezvous: Rendezvous) -> None:
    rank = Ranked(ZeroDivisionError())  # type: ignore[arg-type]
    join = joiner(rendezvous, rank, 1)
    assert isinstance((await join("a", "0")).result, InternalError)


async def test_a_group_that_all_have_left_is_forgotten(rendezvous: Rendezvous) -> None:
    rank = Ranked()
    join = joiner(rendezvous, rank, 3, is_unique=False)
    tasks = [join("old"), join("older")]
    await settle()
    await leave(*tasks)
    await asyncio.sleep(0.1)
    outcomes = await asyncio.gather(join("x"), join("yy"), join("zzz"))
    assert len(rank.requests[0].trajectories) == 3
    assert [reward(outcome) for outcome in outcomes] == [0, 1 / 3, 2 / 3]


async def test_a_closed_rendezvous_answers_those_who_wait() -> None:
    rendezvous = Rendezvous()
    rank = Ranked()
    rank.gate.clear()
    waiting = joiner(rendezvous, rank, 2)("a", "0")
    ranking = joiner(rendezvous, rank, 1)("a", "0", "other")
    await settle()
    await rendezvous.aclose()
    for task in (waiting, ranking):
        assert isinstance((await task).result, Draining)


@settings(max_examples=60, deadline=None)
@given(
    order=st.permutations([(group, n) for group in range(3) for n in range(4)]),
    leavers=st.sets(st.integers(0, 11), max_size=6),
)
def test_any_order_of_arrivals_and_retries_gives_the_same(
    order: list[tuple[int, int]], leavers: set[int]
) -> None:
    """Each of three groups of four is ranked once, with exactly its members."""

    async def play() -> None:
        rendezvous, rank = Rendezvous(), Ranked()
        join = joiner(rendezvous, rank, 4, is_unique=False)
        tasks = []
        for index, (group, n) in enumerate(order):
            task = join("a" * (10 * group + n + 1), None, str(group))
            await asyncio.sleep(0)
            if index in leavers:
                await leave(task)
                task = join("a" * (10 * group + n + 1), None, str(group))
            tasks.append(task)
        outcomes = await asyncio.gather(*tasks)
        assert [reward(outcome) for outcome in outcomes] == [n / 4 for _, n in order]
        assert len(rank.requests) == 3
        await rendezvous.aclose()

    asyncio.run(play())


async def test_answers_of_answered_nameless_groups_are_not_kept(rendezvous: Rendezvous) -> None:
    join = joiner(rendezvous, Ranked(), 2, is_unique=False)
    await asyncio.gather(join("a"), join("b"))
    await until(lambda: not rendezvous.count_groups())
