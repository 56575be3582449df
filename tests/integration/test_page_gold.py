"""Gold in a real browser: a set is saved, and put in order by the keyboard alone."""

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe

from podium_service.store.people.gold import GoldOrders
from tests.integration.test_pages import WIDTHS, browsing, looking, runs_of_steps, seeded

pytestmark = [pytest.mark.anyio, pytest.mark.browser]


async def test_a_set_is_put_in_order_by_keys(tmp_path: Path, chromium: str) -> None:
    async with (
        seeded(tmp_path, *runs_of_steps(2)) as (url, opened, _),
        browsing(chromium) as browser,
        looking(browser, url) as page,
    ):
        await page.goto(f"{url}/ui?run=airline")
        await page.click("summary:has-text('Save as a gold set')")
        await page.fill("#set", "mine")
        await page.keyboard.press("Enter")
        await page.click("text=mine")
        for done in range(2):
            await page.locator(f"text={done} of 2 ordered").wait_for()
            await page.wait_for_load_state()  # the line above stands over the attempts
            number = await page.locator("article.attempt").count()
            for place in range(1, number + 1):
                await page.locator(f"#place-{place}").press(str(place))
            await page.keyboard.press("Enter")
        await page.wait_for_url("**/ui/gold")
        assert await page.locator("progress").get_attribute("value") == "2"
        orders = await GoldOrders(opened.store).list_newest(9)
        assert [len(each.tiers) for each in orders] == [6, 6]


async def test_the_pages_of_gold_are_accessible_and_fit(tmp_path: Path, chromium: str) -> None:
    async with seeded(tmp_path, *runs_of_steps(1)) as (url, _, _), browsing(chromium) as browser:
        async with looking(browser, url) as page:
            await page.goto(f"{url}/ui")
            await page.click("summary:has-text('Save as a gold set')")
            await page.fill("#set", "mine")
            await page.click("button:text-is('Save')")
            await page.wait_for_url("**/ui/gold")
        for width, height in WIDTHS:
            size: Any = {"width": width, "height": height}
            async with looking(browser, url, viewport=size) as page:
                for path in ("/ui/gold", "/ui/gold/rank?set=mine"):
                    await page.goto(url + path)
                    wide = await page.evaluate("document.documentElement.scrollWidth")
                    assert wide <= width, f"{path} at {width}"
                    found = (await Axe().run(page)).response["violations"]
                    bad = [
                        each["id"] for each in found if each["impact"] in ("serious", "critical")
                    ]
                    assert bad == [], path
