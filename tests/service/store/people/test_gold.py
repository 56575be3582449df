"""Orders of people: kept by the group's texts, one per person, and read with their ranks."""

import pytest

from podium_service.errors import InvalidRequest, NotFound
from podium_service.store.asks.ids import ask_name
from podium_service.store.asks.records import Ask
from podium_service.store.people.gold import GoldOrders
from podium_service.store.people.person import Person
from podium_service.store.store import SQLStore, open_store
from tests.service.helpers import request
from tests.service.store.helpers import ASK_IDS, KEY, OTHER_KEY, ranking

pytestmark = pytest.mark.anyio
ANN, BOB = Person("a1", "Ann's laptop"), Person("b2", "Bob \U0001f3c6")


async def add(store: SQLStore, *answers: str, key: str = KEY, group_id: str | None = None) -> str:
    sent = request(*answers, group_id=group_id)
    asked = Ask(ASK_IDS.next(), sent, ranking(f"rk_{key[0]}"), "main", key)
    await store.add_ranking(asked)
    return ask_name(asked.id)


async def test_an_order_has_tiers_ranks_and_its_person(url: str) -> None:
    async with open_store(url) as store:
        gold, ask = GoldOrders(store), await add(store, "5", "6", "7", "8", group_id="g")
        put = await gold.put(ask, [["t3"], ["t0", "t2"], [], ["t1"]], ANN, is_blind=True)
        [order] = await gold.list_of(ask)
    assert order == put
    assert order.tiers == [["t3"], ["t0", "t2"], ["t1"]]
    assert order.ranks == [2.5, 4.0, 2.5, 1.0]
    assert (order.person, order.ask, order.group_id, order.is_blind) == (ANN, ask, "g", True)


async def test_an_order_counts_for_all_asks_with_the_same_texts(url: str) -> None:
    async with open_store(url) as store:
        gold = GoldOrders(store)
        first = await add(store, "5", "6")
        again = await add(store, "5", "6", key=OTHER_KEY)
        other = await add(store, "5", "7", key="c" * 64)
        await gold.put(first, [["t1"], ["t0"]], ANN, is_blind=False)
        await gold.put(again, [["t0"], ["t1"]], BOB, is_blind=False)
        assert [each.person for each in await gold.list_of(first)] == [BOB, ANN]
        assert await gold.list_of(other) == []
        assert await gold.list_of("no-ask") == []
        [newest] = await gold.list_newest(1)
        assert newest.ask == again
        assert [each.ask for each in await gold.list_newest(9, before=newest.at)] == [first]


async def test_a_persons_next_order_takes_the_place_of_the_first(url: str) -> None:
    async with open_store(url) as store:
        gold, ask = GoldOrders(store), await add(store, "5", "6")
        await gold.put(ask, [["t1"], ["t0"]], ANN, is_blind=True)
        await gold.put(ask, [["t0", "t1"]], ANN, is_blind=False)
        [order] = await gold.list_of(ask)
        assert (order.tiers, order.is_blind) == ([["t0", "t1"]], False)
        assert not await gold.remove(ask, BOB)
        assert await gold.remove(ask, ANN)
        assert await gold.list_newest(9) == []


@pytest.mark.parametrize(
    ("tiers", "fault"),
    [
        ([["t0"]], "lacks 't1'"),
        ([["t0", "t1"], ["t2"]], "holds 't2', which is no attempt"),
        ([["t0", "t1"], ["t0"]], "holds 't0' twice"),
        ([], "lacks 't0'"),
    ],
)
async def test_an_order_places_each_attempt_once(
    url: str, tiers: list[list[str]], fault: str
) -> None:
    async with open_store(url) as store:
        ask = await add(store, "5", "6")
        with pytest.raises(InvalidRequest, match=fault):
            await GoldOrders(store).put(ask, tiers, ANN, is_blind=False)


async def test_a_group_without_texts_cannot_be_ordered(tmp_path: str) -> None:
    async with open_store(f"{tmp_path}/podium.db", keep_texts=False) as store:
        ask = await add(store, "5", "6")
        with pytest.raises(InvalidRequest, match="the texts of this group are not kept"):
            await GoldOrders(store).put(ask, [["t0", "t1"]], ANN, is_blind=False)
        with pytest.raises(NotFound, match="no ranking 'rk_none'"):
            await GoldOrders(store).put("rk_none", [["t0", "t1"]], ANN, is_blind=False)
