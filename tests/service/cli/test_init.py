"""`podium init`: a judges file for each provider, checked at once."""

from datetime import date
from pathlib import Path

import pytest

from podium_service.judges.judges_file import parse
from podium_service.judges.settings import LLMJudge
from podium_service.judges.settings.prices import find_price, known_prices
from podium_service.judges.settings.providers import PROVIDERS, write_judges_file
from tests.fakes import ScriptedJudge
from tests.service.cli.helpers import assert_one_line
from tests.service.process import podium


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize("options", ["none", "all"])
def test_the_file_of_each_provider_is_usable(
    name: str, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = PROVIDERS[name]
    if provider.key:
        monkeypatch.setenv(provider.key, "k")
    text = write_judges_file(name, provider, provider.base_url, provider.model)
    if options == "all":  # what stands in comments is usable, too
        for line in ("passes: {", "spend: {", "price: {", "rubric: |", "  The better answer"):
            text = text.replace(f"# {line}", line)
        if "\n    price: " not in text:
            text += "    price: {prompt: 1}\n"
    judge = parse(text, name).judges["main"]
    assert isinstance(judge, LLMJudge)
    assert [str(url) for url in judge.base_urls] == [provider.base_url]
    assert judge.api_key_env == provider.key
    assert judge.api == provider.api
    if options == "all":
        assert judge.spend is not None
        assert judge.rubric is not None


@pytest.mark.anyio
async def test_init_takes_the_model_that_a_server_serves(tmp_path: Path) -> None:
    async with ScriptedJudge().serving() as judge:
        command = ["init", "vllm", "--base-url", judge.url]
        made = await podium(*command, cwd=tmp_path)
        again = await podium(*command, cwd=tmp_path)
        forced = await podium(*command, "--force", "--model", "typo", cwd=tmp_path)
    assert (made.code, made.err) == (0, "")
    assert "judges.yaml has the judge main at vllm." in made.out
    assert "rank GROUPS.jsonl --config judges.yaml" in made.out
    assert_one_line(again, "judges.yaml exists", "--force")
    assert forced.code == 1
    assert "does not list" in " ".join(forced.out.split())


@pytest.mark.anyio
async def test_init_takes_no_model_that_writes_nothing(tmp_path: Path) -> None:
    async with ScriptedJudge().serving() as judge:
        judge.models = {"data": [{"id": "nomic-embed-text:latest"}, {"id": "qwen3:8b"}]}
        made = await podium("init", "ollama", "--base-url", judge.url, cwd=tmp_path)
        judge.models = {"data": []}
        none = await podium("init", "vllm", "--base-url", judge.url, "--force", cwd=tmp_path)
    assert (made.code, "qwen3:8b" in made.out) == (0, True)
    assert none.code == 1
    assert "write the model's name in the place of YOUR-MODEL" in none.err


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("localhost:8000", "a URL begins with http://"),
        ("http://judge/v1/chat/completions", "leave /chat/completions out"),
        ("http://judge/v1/models", "leave /models out"),
        ("http://a/v1, http://b/v1", "these are several URLs"),
    ],
)
async def test_init_refuses_a_url_in_one_line(url: str, rule: str, tmp_path: Path) -> None:
    finished = await podium("init", "vllm", "--base-url", url, cwd=tmp_path)
    assert_one_line(finished, "--base-url: ", rule)
    assert not (tmp_path / "judges.yaml").exists()


@pytest.mark.anyio
async def test_init_says_which_key_is_missing_and_keeps_the_file(tmp_path: Path) -> None:
    finished = await podium("init", "openai", cwd=tmp_path)
    assert finished.code == 1
    assert "OPENAI_API_KEY is not set" in finished.err
    assert "gpt-5-mini" in (tmp_path / "judges.yaml").read_text()


@pytest.mark.anyio
async def test_init_without_a_provider_takes_the_one_with_a_key(tmp_path: Path) -> None:
    none = await podium("init", cwd=tmp_path)
    assert_one_line(none, "no provider's key is set", "llama.cpp")
    strange = await podium("init", "nope", cwd=tmp_path)
    assert_one_line(strange, "nope: is no provider", "openrouter")
    async with ScriptedJudge().serving() as judge:
        found = await podium(
            "init", "--base-url", judge.url, "--model", "m", cwd=tmp_path, LITELLM_API_KEY="k"
        )
    assert found.code == 0
    assert "at litellm." in found.out


@pytest.mark.parametrize(
    ("model", "prompt"),
    [
        ("gpt-5-mini", 0.25),
        ("gpt-5-mini-2025-08-07", 0.25),
        ("openai/gpt-5-mini", 0.25),
        ("gpt-5", 1.25),
        ("claude-sonnet-4-20250514", 3),
        ("claude-sonnet-4-5-20250929", None),
        ("gpt-5-turbo", None),
        ("my-own-model", None),
    ],
)
def test_a_known_model_has_a_price_by_any_dated_name(model: str, prompt: float | None) -> None:
    known = find_price(model)
    assert (known and known.price.prompt) == prompt


def test_each_known_price_has_its_date() -> None:
    assert all(isinstance(each.checked, date) for each in known_prices().values())
    assert all(each.price.completion > 0 for each in known_prices().values())
