"""The pages in a real browser: hostile texts, keys, no JavaScript, phones, accessibility.

They need Chromium: see the fixture `chromium`.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright, expect

from podium_service.http.access.api_key import create_key
from podium_service.http.access.api_key_store import add_key
from podium_service.http.service import Service
from podium_service.schemas import RankRequest
from tests.fakes import Answer, Asked, ScriptedJudge, says
from tests.service.helpers import chat, llm, service
from tests.service.pages.samples import example_group
from tests.service.tcp import serving

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

XSS = (
    "<script>window.xss=1</script>",
    "<img src=x onerror=window.xss=1>",
    "\"'><svg/onload=window.xss=1>",
    "javascript:window.xss=1//",
    "</pre></textarea></title><script>window.xss=1</script>",
    "{{ 7 * 7 }}${window.xss=1}<%= 1 %>",
    "<a href='javascript:window.xss=1' hx-get='/ui' hx-on:load='window.xss=1'>x</a>",
    "\u202e\u2066reordered\u2069\u200b\0\x1b[31m",
    "&lt;b&gt; &#x3c;script&#x3e;",
    "<style>*{display:none}</style><base href='https://evil.example/'>",
)
CONTRAST_ONLY = {"runOnly": ["color-contrast"]}  # nothing else differs between themes
PATIENCE_MS = 120_000  # other tests may keep the machine busy
WIDTHS = ((1440, 900), (390, 844))
expect.set_options(timeout=PATIENCE_MS)  # a click returns before the new page is whole


@asynccontextmanager
async def browsing(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--no-zygote"]
        )
        yield browser
        await browser.close()


@asynccontextmanager
async def looking(browser: Browser, url: str, **settings: Any) -> AsyncIterator[Page]:
    """Yield a page that fails the test on errors in the console, dialogs, and other hosts."""
    context = await browser.new_context(**settings)
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    faults: list[str] = []
    page.on("console", lambda each: faults.append(each.text) if each.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: faults.append(f"dialog {dialog.message}"))
    page.on("request", lambda sent: None if sent.url.startswith(url) else faults.append(sent.url))
    yield page
    assert await page.evaluate("window.xss === undefined")
    assert faults == []
    await context.close()


def says_something(explanation: str) -> Any:
    """Return a judge's step that scores by length, and explains itself by this text."""

    def step(asked: Asked) -> Answer:
        verdict = {
            shown: {"explanation": explanation, "score": min(1.0, len(text) / 900)}
            for shown, text in asked.shown.items()
        }
        return says(json.dumps(verdict))(asked)

    return step


def hostile_group(text: str, index: int) -> dict[str, Any]:
    """Return a group with a text in each field that a client may fill."""
    call = {"id": "c1", "type": "function", "function": {"name": text[:60], "arguments": text}}
    attempts = [
        {
            "id": f"{text}{each}",
            "finish_reason": text[:60],
            "messages": [
                *chat(f"{text} {'x' * 100 * each}", question=text),
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": text},
                {"role": "assistant", "content": text},
            ],
        }
        for each in range(3)
    ]
    return {
        "group_id": f"{text}{index}", "task": text, "reference": text, "rubric": text,
        "metadata": {"run": text, "step": index, "note": text, text: text},
        "trajectories": attempts,
    }  # fmt: skip


@asynccontextmanager
async def seeded(
    tmp_path: Path, *groups: dict[str, Any], say: str = "It is what it is."
) -> AsyncIterator[tuple[str, Service, list[str]]]:
    """Yield the URL of a service that ranked some groups, the service, and the rankings' ids."""
    async with (
        ScriptedJudge(always=says_something(say)).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=2, explanations="after")) as opened,
        serving(opened) as url,
    ):
        requests = [RankRequest.model_validate({**each, "judge": None}) for each in groups]
        yield url, opened, [(await opened.ranker.rank(each)).id for each in requests]


def runs_of_steps(number: int) -> list[dict[str, Any]]:
    return [
        example_group() | {"metadata": {"run": "airline", "step": step}, "task": f"Cancel. {step}"}
        for step in range(number)
    ]


PAGES = (
    "/ui",
    "/ui/runs",
    "/ui/runs/airline",
    "/ui/judges",
    "/ui/gold",
    "/ui/failures",
    "/ui/keys",
    "/ui/api",
    "/ui/config",
)


async def test_no_text_of_a_client_runs_or_hides(tmp_path: Path, chromium: str) -> None:
    texts = ["".join(XSS[:4]), "".join(XSS[4:7]), "".join(XSS[7:])]
    groups = [hostile_group(text, index) for index, text in enumerate(texts)]
    async with (
        seeded(tmp_path, *groups, say="".join(XSS)[:200]) as (url, _, rankings),
        browsing(chromium) as browser,
        looking(browser, url) as page,
    ):
        for path in ("/ui", "/ui/runs", "/ui/failures", *(f"/ui/rankings/{e}" for e in rankings)):
            await page.goto(url + path)
            assert await page.locator("main script, main img, main iframe, main base").count() == 0
            assert await page.locator("a[href^='javascript'], main style").count() == 0
        await page.goto(url + "/ui/runs")
        links = await page.locator("table a").evaluate_all("all => all.map(each => each.href)")
        assert len(links) == len(texts)
        for link in links:
            await page.goto(link)
            assert await page.locator("#live").count() == 1
        await page.goto(f"{url}/ui/rankings/{rankings[2]}")
        assert await page.locator("mark.hidden", has_text="U+202E").count() > 0


async def test_pages_are_accessible_in_both_themes(tmp_path: Path, chromium: str) -> None:
    async with (
        seeded(tmp_path, *runs_of_steps(4)) as (url, _, rankings),
        browsing(chromium) as browser,
    ):
        for scheme, options in (("light", {}), ("dark", CONTRAST_ONLY)):
            async with looking(browser, url, color_scheme=scheme) as page:
                for path in (*PAGES, f"/ui/rankings/{rankings[0]}"):
                    await page.goto(url + path)
                    found = (await Axe().run(page, options=options)).response["violations"]
                    bad = [each for each in found if each["impact"] in ("serious", "critical")]
                    said = [(each["id"], each["nodes"][0]["html"][:200]) for each in bad]
                    assert said == [], f"{path} in {scheme}"


async def test_pages_fit_a_phone_and_work_without_scripts(tmp_path: Path, chromium: str) -> None:
    async with (
        seeded(tmp_path, *runs_of_steps(3)) as (url, _, rankings),
        browsing(chromium) as browser,
    ):
        for width, height in WIDTHS:
            size: Any = {"width": width, "height": height}
            async with looking(browser, url, viewport=size) as page:
                for path in (*PAGES, f"/ui/rankings/{rankings[0]}"):
                    await page.goto(url + path)
                    wide = await page.evaluate("document.documentElement.scrollWidth")
                    assert wide <= width, f"{path} at {width}"
        context = await browser.new_context(java_script_enabled=False)
        page = await context.new_page()
        await page.goto(f"{url}/ui")
        await page.fill("#q", "Cancel. 1")
        await page.click("text=Filter")
        await expect(page.locator("tbody tr")).to_have_count(1)
        await page.click("tbody a")
        await expect(page.locator("article.attempt")).to_have_count(6)
        await page.click("summary >> nth=0")
        await page.click("a[title*=theme]")
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")


async def test_keys_move_and_reach_everything(tmp_path: Path, chromium: str) -> None:
    async with (
        seeded(tmp_path, *runs_of_steps(3)) as (url, _, rankings),
        browsing(chromium) as browser,
        looking(browser, url) as page,
    ):
        await page.goto(f"{url}/ui")
        await page.keyboard.press("j")
        await page.keyboard.press("j")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/ui/rankings/*")
        await page.keyboard.press("3")
        assert await page.evaluate("document.activeElement.closest('article')?.id") == "attempt-3"
        await page.keyboard.press("k")
        assert await page.evaluate("document.activeElement.closest('article')?.id") == "attempt-2"
        await page.keyboard.press("?")
        assert await page.locator("dialog[open]").count() == 1
        await page.keyboard.press("Escape")
        await page.goto(f"{url}/ui/rankings/{rankings[0]}")
        everything = "main a[href], main button:visible, main input:visible, main summary"
        unreachable = await page.locator(everything).evaluate_all(
            "all => all.filter(each => each.tabIndex < 0).map(each => each.outerHTML)"
        )
        assert unreachable == []
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.className") == "skip"


async def test_a_person_signs_in_and_out(tmp_path: Path, chromium: str) -> None:
    async with (
        seeded(tmp_path, *runs_of_steps(1)) as (url, opened, _),
        browsing(chromium) as browser,
        looking(browser, url) as page,
    ):
        key, text = create_key("alice", ["admin"])
        await add_key(opened.store, key)
        while not await page.locator("#key").count():  # until the service reads its keys again
            await page.goto(f"{url}/ui/keys")
        await page.fill("#key", text)
        await page.click("button:has-text('Sign in')")
        await page.wait_for_url("**/ui/keys")
        assert await page.evaluate("document.cookie") == ""
        await page.fill("#name-new", "trainer")
        await page.click("button:text-is('Make')")
        assert (await page.inner_text("#new-key")).startswith("pk_")
        await page.click("button[aria-label='Revoke trainer']")
        await page.wait_for_url("**/ui/keys")
        await page.click("button:has-text('Sign out')")
        await page.wait_for_url("**/ui/login")


async def test_a_run_is_watched_as_it_goes(tmp_path: Path, chromium: str) -> None:
    async with (
        seeded(tmp_path, *runs_of_steps(2)) as (url, opened, _),
        browsing(chromium) as browser,
        looking(browser, url) as page,
    ):
        await page.goto(f"{url}/ui/runs/airline")
        assert await page.locator("#steps ~ div tbody tr").count() == 2
        group = runs_of_steps(3)[2] | {"judge": None}
        await opened.ranker.rank(RankRequest.model_validate(group))
        await page.locator("#steps ~ div tbody tr >> nth=2").wait_for()
        await page.click("#steps ~ div tbody a >> nth=0")
        await expect(page.locator("tbody tr")).to_have_count(1)
