"""What people do on the page of a group, in a real browser: by keys, by dragging, and by forms."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from podium_service.http.service import Service
from podium_service.schemas import RankRequest
from podium_service.store.history.reader import HistoryReader
from podium_service.store.people.gold import GoldOrders
from podium_service.store.people.notes import Notes
from tests.fakes import ScriptedJudge
from tests.integration.test_pages import XSS, browsing, looking, says_something
from tests.service.helpers import llm, service
from tests.service.pages.samples import example_group
from tests.service.tcp import serving

pytestmark = [pytest.mark.anyio, pytest.mark.browser]
HOSTILE = "".join(XSS).replace("\0", "")
PRICE = {"prompt": 1, "completion": 2}


@asynccontextmanager
async def ranked(tmp_path: Path) -> AsyncIterator[tuple[str, Service, str]]:
    """Yield the URL of a service with two judges, the service, and the ask of a group."""
    async with ScriptedJudge(always=says_something(HOSTILE[:200])).serving() as judge:
        judges = {
            name: llm(judge.url, model=name, passes=1, explanations="after", price=PRICE)
            for name in ("main", "other")
        }
        async with service(tmp_path, **judges) as opened, serving(opened) as url:
            request = RankRequest.model_validate({**example_group(), "judge": None})
            await opened.ranker.rank(request)
            page = await HistoryReader(opened.store).list_rankings()
            yield url, opened, page.rankings[0].ask


async def require_harmless(page: Page, width: int = 1440) -> None:
    """Fail if a text of the page became an element, it scrolls sideways, or axe finds a fault."""
    assert await page.locator("main script, main img, main iframe, main style").count() == 0
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    found = (await Axe().run(page)).response["violations"]
    bad = [each for each in found if each["impact"] in ("serious", "critical")]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in bad] == []


async def test_a_group_is_priced_judged_again_and_compared(tmp_path: Path, chromium: str) -> None:
    async with (
        ranked(tmp_path) as (url, opened, ask),
        browsing(chromium) as browser,
        looking(browser, url, viewport={"width": 1440, "height": 900}) as page,
    ):
        await page.goto(f"{url}/ui/rankings/{ask}")
        await page.select_option("#again-judge", "other")
        await page.check("[name=flip]")
        await page.click("#again summary")
        await page.fill("#again-rubric", HOSTILE)
        await page.click("button:text-is('Price it')")
        await page.wait_for_selector("#again .price:has-text('$0.')")
        assert await page.input_value("#again-rubric") == HOSTILE
        await require_harmless(page)
        await page.click("#again button[value=send]")
        await page.wait_for_selector("#again .beside-table")
        assert page.url.endswith(ask)  # only the section was replaced
        text = await page.inner_text("#again")
        assert "order flipped" in text
        assert "other rubric" in text
        assert await page.locator(".beside-table tbody tr").count() == 6
        assert await page.locator("svg.dumbbell").count() == 6
        [(again, _)] = await HistoryReader(opened.store).list_again(ask)
        await page.click("#again a:text-is('open')")
        await page.wait_for_url(f"**/{again.ask}")
        await require_harmless(page)


async def test_an_order_is_given_by_keys_and_dragging(tmp_path: Path, chromium: str) -> None:
    async with (
        ranked(tmp_path) as (url, opened, ask),
        browsing(chromium) as browser,
        looking(browser, url) as page,
    ):
        await page.goto(f"{url}/ui/rankings/{ask}")
        items = page.locator("[data-place]")
        first, second, third, fourth, *rest = await items.locator("b").all_inner_texts()
        await items.nth(2).focus()
        await page.keyboard.press("1")  # third, first, second, fourth
        await page.keyboard.press("j")
        await page.keyboard.press("J")  # third, second, first, fourth
        await page.keyboard.press("=")
        places = [await each.input_value() for each in await items.locator("select").all()]
        assert places == ["1", "2", "2", "4", "5", "6"]
        await items.nth(3).hover()
        await page.mouse.down()
        for move in range(100):  # a busy browser drops moves of a drag
            if await items.locator("b").first.inner_text() == fourth:
                break
            await items.nth(0).hover(position={"x": 200, "y": 4 + move % 3}, force=True)
        await page.mouse.up()
        await page.click("button:text-is('Keep my order')")
        await page.wait_for_selector("#order .said-list")
        [order] = await GoldOrders(opened.store).list_of(ask)
        assert order.tiers == [[fourth], [third], [second, first], *([each] for each in rest)]


async def test_notes_and_orders_need_no_scripts(tmp_path: Path, chromium: str) -> None:
    phone: Any = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
    async with ranked(tmp_path) as (url, opened, ask), browsing(chromium) as browser:
        context = await browser.new_context(java_script_enabled=False)
        page = await context.new_page()
        await page.goto(f"{url}/ui/rankings/{ask}")
        await page.fill("#note-text", HOSTILE)
        await page.click("button:text-is('Keep the note')")
        await page.select_option("[data-place] >> nth=5 >> select", "1")
        await page.click("button:text-is('Keep my order')")
        await page.check("[name=flip]")
        await page.click("button:text-is('Price it')")
        await page.click("#again button[value=send]")
        await expect(page.locator("#again .beside-table")).to_have_count(1)
        assert page.url.endswith(f"{ask}#again")
        [order] = await GoldOrders(opened.store).list_of(ask)
        assert [len(tier) for tier in order.tiers] == [2, 1, 1, 1, 1]
        async with looking(browser, url, **phone) as page:
            await page.goto(f"{url}/ui/rankings/{ask}")
            shown = await page.inner_text("#notes .words")
            assert "<script>window.xss=1</script>" in shown
            assert "U+202E" in shown
            await require_harmless(page, width=390)
            await page.click("#notes button:text-is('Remove')")
            await page.wait_for_selector("#notes .words", state="detached")
        ranking = await HistoryReader(opened.store).read_ranking(ask)
        assert ranking
        assert not await Notes(opened.store).list_of(ranking.summary.id)
