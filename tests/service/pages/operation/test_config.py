"""The judges file as it is shown: no secrets, and why a newer file is refused."""

from pathlib import Path

import pytest

from podium_service.judges import judges_file
from podium_service.pages.operation.config import to_yaml
from tests.service.helpers import client, llm, service
from tests.service.helpers import judges_file as write_judges_file

pytestmark = pytest.mark.anyio


def test_the_yaml_is_a_file_that_loads_again() -> None:
    config = judges_file.parse(
        "judges: {main: {model: m, base_urls: ['http://127.0.0.1:9/v1'], passes: 2}}", "a"
    )
    assert judges_file.parse(to_yaml(config, with_defaults=False), "b") == config
    assert "fallback" not in to_yaml(config, with_defaults=False)
    assert "fallback: []" in to_yaml(config, with_defaults=True)


def test_a_rubric_of_several_lines_is_shown_as_lines() -> None:
    text = (
        "judges: {main: {model: m, base_urls: ['http://127.0.0.1:9/v1'], rubric: 'One.\n\n Two.'}}"
    )
    config = judges_file.parse(text, "a")
    shown = to_yaml(config, with_defaults=False)
    assert "rubric: |-\n      One.\n      Two.\n" in shown
    assert judges_file.parse(shown, "b") == config


async def test_the_page_shows_no_secret(tmp_path: Path) -> None:
    judge = llm("http://127.0.0.1:9/v1", headers={"X-Team": "hush"}, extra_body={"a": ["hush"]})
    async with service(tmp_path, main=judge) as opened, client(opened) as http:
        page = (await http.get("/ui/config")).text
    assert "X-Team" in page
    assert "hush" not in page
    assert str(tmp_path / "judges.yaml") in page


async def test_a_refused_file_is_shown_until_it_is_repaired(tmp_path: Path) -> None:
    judge = llm("http://127.0.0.1:9/v1")
    async with service(tmp_path, main=judge) as opened, client(opened) as http:
        assert "was refused" not in (await http.get("/ui/config")).text
        path = tmp_path / "judges.yaml"
        path.write_text("judges:\n  <b>: {mode: m}\n")
        opened.ranker.judges.reload()
        page = (await http.get("/ui/config")).text
        assert "The file as it is now was refused" in page
        assert "judges.yaml:2" in page
        assert "<b>: " not in page
        assert "model: m" in page  # the old one is still in use
        write_judges_file(path, main={**judge, "model": "other"})
        opened.ranker.judges.reload()
        page = (await http.get("/ui/config")).text
        assert "was refused" not in page
        assert "model: other" in page


async def test_without_a_file_there_is_one_to_begin_with(tmp_path: Path) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        page = (await http.get("/ui/config")).text
    assert "No judges file" in page
    assert "api_key_env: OPENAI_API_KEY" in page
