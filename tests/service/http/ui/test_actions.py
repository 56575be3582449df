"""What people do on the page of a group: judge it again, put it in order, write a note."""

import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from podium_service.http.access.api_key import Scope
from podium_service.http.service import Service
from podium_service.http.ui.view import create_view_app
from podium_service.schemas import RankRequest
from podium_service.store.history.reader import HistoryReader
from podium_service.store.people.gold import GoldOrders
from podium_service.store.people.notes import Notes
from podium_service.store.people.person import Person
from tests.fakes import ScriptedJudge, by_length, fails, scores
from tests.service.helpers import add_new_key, client, group, llm, service
from tests.service.tcp import serving

pytestmark = pytest.mark.anyio
PRICE = {"prompt": 1, "completion": 2}
GROUP = group("a", "bb", "ccc", task="Say a lot.", metadata={"run": "demo", "step": 3})
HOSTILE = "</textarea><script>alert(1)</script>\u202e{{ 7 * 7 }}"


class Reader:
    """A person's browser without scripts, at the page of a group that was ranked."""

    def __init__(self, http: httpx.AsyncClient, opened: Service, judge: ScriptedJudge) -> None:
        self.http, self.opened, self.judge = http, opened, judge
        self.reader = HistoryReader(opened.store)
        self.path = self.ask = self.ranking_id = ""

    async def open(self, **fields: Any) -> None:
        ranking = await self.opened.ranker.rank(RankRequest.model_validate({**GROUP, **fields}))
        await self.go(ranking.id)

    async def go(self, ranking_id: str) -> None:
        detail = await self.reader.read_ranking(ranking_id)
        assert detail
        self.ask, self.ranking_id = detail.summary.ask, detail.summary.id
        self.path = f"/ui/rankings/{self.ask}"

    async def page(self) -> str:
        return (await self.http.get(self.path)).text

    async def post(self, form: str, **fields: Any) -> httpx.Response:
        csrf = value_of(await self.page(), "csrf")
        return await self.http.post(f"{self.path}/{form}", data={"csrf": csrf, **fields})

    async def price(self, **choice: Any) -> httpx.Response:
        rubric = field_of(await self.page(), "again-rubric")
        return await self.post(
            "again", step="price", **{"rubric": rubric, "judge": "main"} | choice
        )

    async def send(self, **choice: Any) -> httpx.Response:
        """Judge again: look at the price, and send what it is of."""
        rubric = choice.pop("rubric", field_of(await self.page(), "again-rubric"))
        choice = {"rubric": rubric, "judge": "main", **choice}
        priced = await self.price(**choice)
        assert priced.status_code == 200, priced.text
        return await self.post("again", step="send", seal=value_of(priced.text, "seal"), **choice)


def value_of(page: str, name: str) -> str:
    found = re.search(f'name="{name}" value="([^"]*)"', page)
    assert found, name
    return html.unescape(found[1])


def field_of(page: str, name: str) -> str:
    found = re.search(f'<textarea id="{name}"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)
    assert found, name
    return html.unescape(found[1])


def section_of(page: str, name: str) -> str:
    return page[page.index(f'<section id="{name}"') :].partition("</section>")[0]


@asynccontextmanager
async def reading(
    tmp_path: Path, *scopes: Scope, limits: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Reader]:
    """Yield a reader of a service with the judges `main`, `other`, `alone` and `checks`.

    With scopes, the service has a key of them, and the reader sends it.
    """
    async with ScriptedJudge(always=scores(by_length)).serving() as judge:
        main = llm(judge.url, passes=1, price=PRICE, **settings)
        other = llm(judge.url, model="m2", passes=2, price=PRICE, rubric="Short is good.")
        alone = llm(judge.url, method="pointwise", passes=1)
        checks = {"kind": "checks", "criteria": [{"check": "max_words", "words": 2}]}
        async with (
            service(tmp_path, main=main, other=other, alone=alone, checks=checks) as opened,
            serving(opened) as url,
            httpx.AsyncClient(base_url=url) as http,
        ):
            if scopes:
                _, headers = await add_new_key(opened.store, *scopes, **(limits or {}))
                http.headers.update(headers)
            reader = Reader(http, opened, judge)
            await reader.open()
            yield reader


async def test_the_price_is_shown_before_anything_is_asked(tmp_path: Path) -> None:
    async with reading(tmp_path) as reader:
        before = reader.judge.calls
        priced = await reader.price(judge="other")
        text = section_of(priced.text, "again")
        assert re.search(r"<b class=\"tab\">\$0\.\d+ to \$0\.\d+</b>: 2 calls, [\d,]+ to", text)
        assert "Judge again, for at most $0." in text
        unpriced = await reader.post("again", step="send", judge="other", rubric="")
        assert "Judge again, for at most $0." in unpriced.text
        assert reader.judge.calls == before
        assert not await reader.reader.list_again(reader.ask)


async def test_another_judges_ranking_stands_beside_the_first(tmp_path: Path) -> None:
    async with reading(tmp_path) as reader:
        first = await reader.reader.read_ranking(reader.ask)
        reader.judge.always = scores(lambda text: 1 - by_length(text))
        answer = await reader.send(judge="other")
        assert answer.status_code == 303
        assert answer.headers["location"] == f"{reader.path}#again"
        [(again, is_rubric_new)] = await reader.reader.list_again(reader.ask)
        assert first
        assert (again.judge, again.run, again.step, is_rubric_new) == ("other", None, None, False)
        assert (again.prompt_id, again.again_of) == (first.summary.prompt_id, reader.ask)
        assert (again.cached, again.tokens > 0) == (False, True)
        text = section_of(await reader.page(), "again")
        assert '<span class="big tab">−1.00</span>' in text or "-1.00</span>" in text
        assert text.count('<span class="flag">turns</span>') == 2
        assert "2 of 3 rewards change sign" in text
        run = await reader.reader.read_run("demo")
        assert run
        assert run.summary.groups == 1
        await reader.go(again.ask)
        text = section_of(await reader.page(), "again")
        assert "main ranked first" in text
        assert text.count('<span class="flag">turns</span>') == 2


async def test_a_flipped_order_is_asked_anew_an_equal_choice_is_free(tmp_path: Path) -> None:
    async with reading(tmp_path) as reader:
        same = await reader.price()
        assert "<b>Free</b>: the store has this answer." in same.text
        before = reader.judge.calls
        assert (await reader.send(flip="1")).status_code == 303
        assert reader.judge.calls == before + 1
        [(again, _)] = await reader.reader.list_again(reader.ask)
        assert again.flip_order
        first, second = [await reader.reader.read_calls(each) for each in (reader.ask, again.ask)]
        assert first
        assert second
        assert second[0].order == first[0].order[::-1]
        assert "order flipped" in section_of(await reader.page(), "again")
        await reader.go(again.ask)
        assert "&#34;flip_order&#34;: true" in await reader.page()


@pytest.mark.parametrize("judge", ["alone", "checks"])
async def test_no_order_is_flipped_where_there_is_none(tmp_path: Path, judge: str) -> None:
    async with reading(tmp_path) as reader:
        answer = await reader.price(judge=judge, flip="1")
        assert answer.status_code == 422
        assert f"{judge} looks at each attempt alone" in answer.text


async def test_an_edited_rubric_is_applied_and_an_unedited_one_is_not(tmp_path: Path) -> None:
    async with reading(tmp_path) as reader:
        await reader.send(judge="other")
        assert "Short is good." in str(reader.judge.asked[-1].body)
        await reader.send(judge="other", rubric=f"Long is good.\r\n{HOSTILE}")
        assert "Long is good.\\n</textarea>" in str(reader.judge.asked[-1].body)
        [(edited, is_new), (_, is_first_new)] = await reader.reader.list_again(reader.ask)
        assert (is_new, is_first_new) == (True, False)
        assert "other rubric" in section_of(await reader.page(), "again")
        await reader.go(edited.ask)
        page = await reader.page()
        assert "<script>alert" not in page
        assert field_of(page, "again-rubric") == f"Long is good.\n{HOSTILE}"


async def test_a_price_that_was_not_seen_is_shown_first(tmp_path: Path) -> None:
    async with reading(tmp_path) as reader:
        seal = value_of((await reader.price(judge="other")).text, "seal")
        before = reader.judge.calls
        answer = await reader.post("again", step="send", seal=seal, judge="main", flip="1")
        assert "The choice or its price has changed" in answer.text
        assert reader.judge.calls == before


async def test_a_failure_is_one_line_and_is_kept(tmp_path: Path) -> None:
    async with reading(tmp_path, attempts=1) as reader:
        reader.judge.always = fails(400, "no such <model>")
        answer = await reader.send(flip="1")
        assert answer.status_code == 502
        assert 'role="alert"' in section_of(answer.text, "again")
        assert "no such <model>" not in answer.text
        await reader.opened.store.flush()
        [(again, _)] = await reader.reader.list_again(reader.ask)
        assert again.code
        assert again.code in section_of(await reader.page(), "again")
        unknown = await reader.price(judge="none")
        assert unknown.status_code in (404, 422)


async def test_judging_again_is_paid_by_the_key_that_asks(tmp_path: Path) -> None:
    limits = {"requests_per_minute": 1}
    async with reading(tmp_path, "rank", "read", limits=limits) as reader:
        assert (await reader.send(flip="1")).status_code == 303
        answer = await reader.send(judge="other")
        assert answer.status_code == 429
        assert "may send 1 groups a minute" in answer.text
        [(again, _)] = await reader.reader.list_again(reader.ask)
        assert again.api_key_id


async def test_a_key_that_may_only_read_sees_no_actions(tmp_path: Path) -> None:
    async with reading(tmp_path, "read") as reader:
        await Notes(reader.opened.store).add(reader.ranking_id, "Look here.", Person())
        page = await reader.page()
        assert "Look here." in page
        assert '<form method="post"' not in page
        assert 'name="place"' not in page
        csrf = value_of((await reader.http.get("/ui/login")).text, "csrf")
        for form in ("again", "order", "notes"):
            answer = await reader.http.post(f"{reader.path}/{form}", data={"csrf": csrf})
            assert answer.status_code == 403
            assert "may only read" in answer.text


async def test_forms_of_other_sites_do_nothing(tmp_path: Path) -> None:
    async with reading(tmp_path) as reader:
        for form in ("again", "order", "notes"):
            answer = await reader.http.post(f"{reader.path}/{form}", data={"text": "x"})
            assert answer.status_code == 403
        assert not await Notes(reader.opened.store).list_of(reader.ranking_id)


async def test_an_order_with_ties_is_kept_replaced_and_removed(tmp_path: Path) -> None:
    async with reading(tmp_path) as reader:
        gold = GoldOrders(reader.opened.store)
        sent = {"attempt": ["0", "2", "1"], "place": ["1", "1", "3"]}
        answer = await reader.post("order", **sent)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{reader.path}#order")
        [order] = await gold.list_of(reader.ask)
        assert (order.tiers, order.is_blind) == ([["t0", "t2"], ["t1"]], False)
        text = section_of(await reader.page(), "order")
        assert re.search(r"t0 = t2 <span[^>]*>›</span> t1", text)
        assert 'class="tied"' in text
        sent["place"] = ["3", "1", "2"]
        await reader.post("order", **sent)
        [order] = await gold.list_of(reader.ask)
        assert order.tiers == [["t2"], ["t1"], ["t0"]]
        assert "tau with the judge <b>1.00</b>" in await reader.page()
        await reader.post("order", remove="1")
        assert not await gold.list_of(reader.ask)


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"attempt": ["0", "1"], "place": ["1", "2"]},
        {"attempt": ["0", "1", "7"], "place": ["1", "2", "3"]},
        {"attempt": ["0", "1", "2"], "place": ["1", "2"]},
        {"attempt": ["0", "1", "x"], "place": ["1", "2", "3"]},
        {"attempt": ["0", "1", "1"], "place": ["1", "2", "3"]},
    ],
)
async def test_an_order_that_is_none_says_why(tmp_path: Path, sent: dict[str, Any]) -> None:
    async with reading(tmp_path) as reader:
        answer = await reader.post("order", **sent)
        assert answer.status_code == 422
        assert 'role="alert"' in section_of(answer.text, "order")


async def test_a_note_is_kept_shown_as_it_is_and_removed(tmp_path: Path) -> None:
    async with reading(tmp_path) as reader:
        answer = await reader.post("notes", text=f"Why?\r\n{HOSTILE}")
        assert answer.headers["location"] == f"{reader.path}#notes"
        page = await reader.page()
        assert "<script>alert" not in page
        assert "Why?\n&lt;/textarea&gt;" in page
        assert '<mark class="hidden"' in section_of(page, "notes")
        [note] = await Notes(reader.opened.store).list_of(reader.ranking_id)
        too_long = await reader.post("notes", text="x" * 4001)
        assert too_long.status_code == 422
        assert field_of(too_long.text, "note-text") == "x" * 4001
        assert (await reader.post("notes", remove="0" * 16)).status_code == 404
        assert (await reader.post("notes", remove=note.id)).status_code == 303
        assert not await Notes(reader.opened.store).list_of(reader.ranking_id)


async def test_a_group_without_texts_says_what_cannot_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PODIUM_NO_TEXTS", "1")
    async with reading(tmp_path) as reader:
        page = await reader.page()
        assert "were not kept, so it cannot be judged again." in page
        assert "were not kept, so it cannot be put in order." in page
        csrf = value_of(page, "csrf")
        sent = {"csrf": csrf, "judge": "main", "step": "price"}
        answer = await reader.http.post(f"{reader.path}/again", data=sent)
        assert answer.status_code == 422
        assert "cannot be judged again." in answer.text


async def test_a_view_shows_what_people_said_and_no_form(tmp_path: Path) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        sent = RankRequest.model_validate({**GROUP, "reference": "ccc"})
        reader = Reader(http, opened, ScriptedJudge())
        await reader.go((await opened.ranker.rank(sent)).id)
        await reader.post("notes", text="Look here.")
        await reader.post("order", attempt=["2", "1", "0"], place=["1", "2", "3"])
        assert (await reader.http.get(f"{reader.path}/json")).json()["summary"]["ask"] == reader.ask
        transport = httpx.ASGITransport(create_view_app(opened.store))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as view:
            page = (await view.get(reader.path)).text
            assert "Look here." in page
            assert "Orders of people" in page
            assert '<form method="post"' not in page
            assert (await view.post(f"{reader.path}/notes")).status_code in (404, 405)
