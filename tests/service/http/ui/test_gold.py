"""Gold: groups of a filter are put in order without a ranking in sight, and measure judges."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from podium_service.errors import InvalidRequest
from podium_service.http.ui.view import create_view_app
from podium_service.pages.frame import Frame
from podium_service.pages.gold.blind import read_tiers
from podium_service.pages.gold.gold import measure_judges, render_gold
from podium_service.store.people.gold import GoldOrder, GoldOrders
from podium_service.store.people.gold_sets import JudgedGold
from podium_service.store.people.person import Person
from tests.fakes import ScriptedJudge, by_length, scores
from tests.service.helpers import client, client_with_key, group, llm, service
from tests.service.http.ui.test_pages import token_of

pytestmark = pytest.mark.anyio


async def rank(http: httpx.AsyncClient, *answers: str, **fields: Any) -> str:
    answer = await http.post("/rank", json=group(*answers, **fields))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def places(page: str, wanted: dict[str, int]) -> dict[str, str]:
    """Return the fields of the form on a page that give each attempt with a text its place."""
    cards = page.split('<article class="attempt"')[1:]
    found = {}
    for card in cards:
        name = re.search(r'name="(place-\d+)"', card)
        assert name
        [place] = [str(place) for text, place in wanted.items() if f">{text}</pre>" in card]
        found[name[1]] = place
    return found


async def test_a_filter_becomes_gold_that_measures_judges(tmp_path: Path) -> None:
    price = {"price": {"prompt": 1, "completion": 2}}
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=1, **price)) as opened,
        client(opened) as http,
    ):
        mine = {"run": "mine", "step": 1}
        await rank(http, "a", "bbbb", "cccccccc", metadata=mine, judge="main")
        await rank(http, "d", "eeee", metadata=mine, judge="main", group_id="disputed")
        await rank(http, "f", "gggg", judge="main")
        form = {"csrf": await token_of(http, "/ui?run=mine"), "set": "my set", "run": "mine"}
        assert (await http.post("/ui/gold/add", data=form)).headers["location"] == "/ui/gold"
        page = (await http.get("/ui/gold")).text
        assert "0 of 2" in page
        assert "Nobody has put a group in order yet" in page

        for done in range(2):
            page = (await http.get("/ui/gold/rank?set=my set")).text
            assert f"{done} of 2 ordered" in page
            for told in ("reward", "is what it is", "disputed", ">t0<"):
                assert told not in page
            # People like the short ones of one group, and agree with the judge on the other.
            wanted = {"d": 1, "eeee": 2, "a": 3, "bbbb": 2, "cccccccc": 1}
            ask = re.search(r'name="ask" value="([^"]+)"', page)
            assert ask
            fields = {"csrf": form["csrf"], "set": "my set", "ask": ask[1]}
            sent = await http.post("/ui/gold/order", data=fields | places(page, wanted))
            assert sent.headers["location"] == "/ui/gold/rank?set=my+set"
        assert (await http.get("/ui/gold/rank?set=my set")).headers["location"] == "/ui/gold"

        orders = await GoldOrders(opened.store).list_newest(10)
        assert [each.is_blind for each in orders] == [True, True]
        page = (await http.get("/ui/gold")).text
        assert "2 of 2" in page
        # Tau is 1 and -1; the best attempt is right in one of two.
        assert '<td class="num">.00</td><td class="num nowrap">-1.00 to 1.00</td>' in page
        assert "50%" in page
        assert "podium calibrate --gold --judge main" in page
        wrong = page[page.index('id="wrong"') :]
        assert "disputed" in wrong
        assert wrong.count("data-row") == 1
        assert "/ui/gold?judge=main#wrong" in page

        fields = {"csrf": form["csrf"], "set": "my set"}
        await http.post("/ui/gold/remove", data=fields)
        assert "my set" not in (await http.get("/ui/gold")).text
        assert len(await GoldOrders(opened.store).list_newest(10)) == 2


async def test_a_set_needs_a_name_and_groups(tmp_path: Path) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        form = {"csrf": await token_of(http, "/ui/keys"), "set": "s", "run": "none"}
        refused = await http.post("/ui/gold/add", data=form)
        assert refused.status_code == 422
        assert "no group of these filters" in refused.text
        refused = await http.post("/ui/gold/add", data=form | {"set": "x" * 65})
        assert "must be 1 to 64 printable" in refused.text
        assert (await http.get("/ui/gold/rank?set=none")).status_code == 404


async def test_a_key_that_may_only_read_gives_no_order(tmp_path: Path) -> None:
    async with client_with_key(tmp_path, "read") as (http, opened, _):
        assert (await http.get("/ui/gold")).status_code == 200
        token = await token_of(http, "/ui/login")
        for path in ("add", "remove", "order"):
            sent = await http.post(f"/ui/gold/{path}", data={"csrf": token, "set": "s"})
            assert sent.status_code == 403
        transport = httpx.ASGITransport(create_view_app(opened.store))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as view:
            assert (await view.get("/ui/gold")).status_code == 200
            assert (await view.post("/ui/gold/add")).status_code == 404


@pytest.mark.parametrize("place", ["", "0", "4", "x", "1.5", "-1", "١"])
def test_a_place_is_a_number_of_the_group(place: str) -> None:
    with pytest.raises(InvalidRequest, match="a place from 1"):
        read_tiers(["a", "b", "c"], {0: "1", 1: place, 2: "3"})


def test_equal_places_are_one_tier() -> None:
    assert read_tiers(["a", "b", "c"], {0: "3", 1: "1", 2: "3"}) == [["b"], ["a", "c"]]


def test_the_page_says_when_it_counts_the_newest_orders_alone() -> None:
    assert "by the newest ones" in render_gold(Frame(), [], [], [], is_cut_off=True)
    assert "by the newest ones" not in render_gold(Frame(), [], [], [])


def test_several_people_are_averaged_and_judges_sorted() -> None:
    def order(transcript: bytes, person: str, *tiers: str) -> GoldOrder:
        return GoldOrder(transcript, Person(person), ["a", "b", "c"], [list(t) for t in tiers],
                         "ask", None, 1.0, is_blind=True)  # fmt: skip

    def judged(judge: str, transcript: bytes, *rewards: float) -> JudgedGold:
        return JudgedGold(judge, "ask", transcript, None, None, list(rewards), 0.5)

    orders = [order(b"1", "x", "a", "b", "c"), order(b"1", "y", "a", "c", "b"),
              order(b"2", "x", "a", "bc")]  # fmt: skip
    good, bad, new = measure_judges(
        orders,
        [judged("bad", b"1", 0.0, 0.5, 1.0), judged("good", b"1", 1.0, 0.5, 0.5),
         judged("good", b"2", 1.0, 0.2, 0.4), judged("bad", b"gone", 1.0, 0.5, 0.0)],
        ["new"],
    )  # fmt: skip
    assert (good.judge, bad.judge, new.judge) == ("good", "bad", "new")
    # Labels of the first group are 1, .25, .25: the good judge ties what people tie.
    assert good.tau.value == pytest.approx((1 + 2 / 6**0.5) / 2)
    assert good.top1.value == 1.0
    assert (good.missing, bad.missing, new.missing) == (0, 1, 2)
    assert bad.missing_usd == pytest.approx(0.5)
    assert [each.is_top_wrong for each in bad.wrong] == [True]
    assert (new.tau.value, new.missing_usd) == (None, None)
