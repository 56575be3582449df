"""A run of `podium-train` is watched on its page while it goes."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_pages import browsing, looking
from tests.service.process import running
from tests.trainer.evaluation.test_evaluator import recipe
from tests.trainer.runs import start_process, write_judges

pytestmark = [pytest.mark.anyio, pytest.mark.browser]
STEPS = 60


async def test_the_page_of_a_run_grows_as_it_trains(tmp_path: Path, chromium: str) -> None:
    with running("--config", str(write_judges(tmp_path)), cwd=tmp_path) as service:
        assert service.url
        changes: Any = {"steps": STEPS, "eval": {"every": 20}}
        training = start_process(recipe(tmp_path, service.url, **changes), tmp_path)
        try:
            async with browsing(chromium) as browser, looking(browser, service.url) as page:
                rows = page.locator("#steps ~ div tbody tr")
                await page.goto(f"{service.url}/ui/runs")
                while not await page.locator("tbody a").count():
                    assert training.poll() is None, (tmp_path / "train.log").read_text()
                    await page.reload()
                await page.click("tbody a")
                await rows.first.wait_for()
                assert await rows.count() < STEPS
                # Nobody loads the page again: it reads the store by itself.
                await rows.nth(STEPS - 1).wait_for()
                rate = page.locator(".headlines dt", has_text="Win rate")
                await rate.wait_for()
                assert await page.locator(".headlines dt >> nth=0").inner_text() == "Win rate"
                await page.click("#steps ~ div tbody a >> nth=0")
                await page.locator("tbody tr").first.wait_for()
            assert training.wait(60) == 0, (tmp_path / "train.log").read_text()
        finally:
            training.kill()
            training.wait()
