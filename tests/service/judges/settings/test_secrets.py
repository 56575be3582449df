"""A key pasted anywhere into the judges file is shown by no error, log line or listing."""

import traceback
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from podium_service.errors import ConfigError
from podium_service.judges.judges_file import parse
from podium_service.judges.registry import JudgeRegistry
from podium_service.judges.settings import LLMJudge
from podium_service.judges.settings.secrets import dump_without_secrets, find_secret
from podium_service.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio

KEY = "sk-Proj0123456789abcdef"
HEAD = """\
default_judge: main
judges:
  main:
    model: m
"""
URLS = "    base_urls: [http://judge/v1]\n"


def refused(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(text, "judges.yaml")
    return caught.value


@pytest.mark.parametrize(
    "key",
    [
        KEY,
        "gsk_4nP0Ahq8ZJWGdyb3FYxT1qk7",
        "hf_aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH",
        "AKIAIOSFODNN7EXAMPLE",
        "3f1c9e0d5b7a48c2a6e4f0b1d2c3e4f5",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
        "Bearer abc",
        "hunter2",
    ],
)
def test_a_key_in_api_key_env_is_refused_and_not_shown(key: str) -> None:
    error = refused(f"{HEAD}{URLS}    api_key_env: {key}\n")
    assert str(error).startswith(
        "judges.yaml:6: judges.main.api_key_env: this looks like a key (not shown), not like the "
        "name of an environment variable that is set: put the key into a variable"
    )
    assert key not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize("reference", ["$OPENAI_API_KEY", "${OPENAI_API_KEY}"])
def test_a_reference_to_a_variable_is_told_from_its_name(reference: str) -> None:
    error = refused(f"{HEAD}{URLS}    api_key_env: '{reference}'\n")
    assert str(error).endswith("write its name, without $ and braces")


@pytest.mark.parametrize("name", ["OPENAI_API_KEY_2", "AZURE_GPT4O_KEY", "KEY", "_K8S_TOKEN"])
def test_a_variable_that_is_not_set_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name, raising=False)
    error = refused(f"{HEAD}{URLS}    api_key_env: {name}\n")
    assert str(error).endswith(f"the environment variable {name} is not set")


def test_a_variable_of_any_name_may_hold_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("my-Key1", KEY)
    judge = parse(f"{HEAD}{URLS}    api_key_env: my-Key1\n", "judges.yaml").judges["main"]
    assert isinstance(judge, LLMJudge)
    assert judge.api_key == KEY


def test_a_key_that_no_header_can_carry_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", f"{KEY}\u20ac")
    error = refused(f"{HEAD}{URLS}    api_key_env: JUDGE_KEY\n")
    assert str(error).endswith("the key in JUDGE_KEY holds characters that a header cannot carry")
    assert KEY not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    "lines",
    [
        f"{URLS}    api_key: {KEY}\n",
        f"{URLS}    token: {KEY}\n",
        f"{URLS}    headers: {{Authorization: Bearer {KEY}}}\n",
        f"{URLS}    extra_headers: [{KEY}]\n",
        f"{URLS}    api_key_env: [{KEY}]\n",
        f"{URLS}    api_key_env: {{key: {KEY}}}\n",
        f"{URLS}    api_key_env: *{KEY}\n",
        f"{URLS}    api_key_env: !{KEY} x\n",
        f"{URLS}    api_key_env: &{KEY} x\n    rubric: &{KEY} y\n",
        f"{URLS}    api_key_env {KEY}\n    passes: 1\n",
        f"{URLS}    api_key_env: {KEY}\n    rubric: [\n",
        f"{URLS}    extra_body: {KEY}\n",
        f"{URLS}    extra_body: {{api_key: {KEY}, n: 2}}\n    price: {{prompt: 1}}\n",
        f"{URLS}    price: {KEY}\n",
        f"{URLS}    timeout_s: {KEY}\n",
        f"{URLS}    response_format: {KEY}\n",
        f"{URLS}    seed: !!int {KEY}\n",
        f"    base_urls: [http://user:{KEY}@judge/v1]\n",
        f"    base_urls: [http://{KEY}@judge/v1]\n",
        f"    base_urls: [http://judge/v1?key={KEY}]\n",
        f"    base_urls: ['http://judge/v1#{KEY}']\n",
        f"    base_urls: ['http://user:{KEY}@judge:port/v1']\n",
        f"    base_urls: ['http://user:{KEY}@169.254.169.254/v1']\n",
        f"    base_urls: ftp://user:{KEY}@judge/v1\n",
        f"    base_url: http://user:{KEY}@judge/v1\n",
    ],
)
def test_a_key_in_another_setting_is_refused_and_not_shown(lines: str) -> None:
    error = refused(HEAD + lines)
    assert KEY not in "".join(traceback.format_exception(error))


def test_headers_and_query_show_no_values_but_names_of_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GATEWAY_KEY", KEY)
    settings = {
        "model": "m", "base_urls": ["http://judge/v1"],
        "headers": {"X-Key": "${GATEWAY_KEY}", "X-Auth": "Key ${GATEWAY_KEY}", "X-Team": "rl"},
        "query": {"api-version": "2024-10-21", "key": "${GATEWAY_KEY}"},
    }  # fmt: skip
    judge = LLMJudge.model_validate(settings)
    shown = dump_without_secrets(judge)
    assert shown["headers"] == {"X-Key": "${GATEWAY_KEY}", "X-Auth": "***", "X-Team": "***"}
    assert shown["query"] == {"api-version": "***", "key": "${GATEWAY_KEY}"}
    assert judge.read_headers() == {"X-Key": KEY, "X-Auth": f"Key {KEY}", "X-Team": "rl"}
    assert judge.read_query()["key"] == KEY
    assert KEY in judge.read_secrets()


@pytest.mark.parametrize(
    ("setting", "rule"),
    [
        ("headers: {X-Key: '${NOT_SET_AT_ALL}'}", "variable NOT_SET_AT_ALL is not set"),
        ("headers: {X-Api-Key: abc}", "X-Api-Key holds a key, and keys stay out of this file"),
        ("query: {key: abc}", "key holds a key, and keys stay out of this file"),
        ("headers: {'X Team': rl}", "the name of a header holds characters that none may have"),
        ("headers: {Content-Length: '3'}", "Content-Length is set by each request itself"),
        ('headers: {X-Team: "a\\nb"}', "X-Team holds characters that a request cannot carry"),
        ("ca_file: /no/such.pem", "/no/such.pem cannot be read: No such file or directory"),
        (f"ca_file: {__file__}", "test_secrets.py holds no certificates in PEM form"),
    ],
)
def test_headers_and_certificates_of_no_use_are_refused(setting: str, rule: str) -> None:
    assert rule in str(refused(f"{HEAD}{URLS}    {setting}\n"))


@pytest.mark.parametrize(
    ("secret", "text", "left"),
    [
        ("k", "unknown key 'k', ask", "unknown key '***', ask"),
        ("EMPTY", "the message is EMPTYish (EMPTY)", "the message is EMPTYish (***)"),
        ("a.c", "abc, a.c", "abc, ***"),
        ("sk-12345", "xsk-12345x", "x***x"),
    ],
)
def test_a_short_key_is_found_as_a_word_alone(secret: str, text: str, left: str) -> None:
    assert find_secret(secret).sub("***", text) == left


def test_strings_of_extra_body_are_hidden_in_dumps() -> None:
    body = {"api_key": KEY, "top_k": 5, "auth": {"tokens": [KEY, 1, True]}}
    judge = LLMJudge.model_validate(
        {"model": "m", "base_urls": ["http://judge/v1"], "extra_body": body}
    )
    shown = dump_without_secrets(judge)["extra_body"]
    assert shown == {"api_key": "***", "top_k": 5, "auth": {"tokens": ["***", 1, True]}}
    assert judge.extra_body == body


async def test_a_reloaded_file_that_holds_a_key_is_logged_without_it(tmp_path: Path) -> None:
    path = tmp_path / "judges.yaml"
    path.write_text(f"{HEAD}{URLS}", encoding="utf-8")
    judges = JudgeRegistry(path, Metrics())
    path.write_text(f"{HEAD}{URLS}    api_key_env: {KEY}\n", encoding="utf-8")
    with capture_logs() as logged:
        judges.reload()
    await judges.aclose()
    [line] = logged
    assert "looks like a key" in line["detail"]
    assert KEY not in str(line)


async def test_the_listing_of_judges_shows_no_string_of_extra_body(tmp_path: Path) -> None:
    path = tmp_path / "judges.yaml"
    urls = "    base_urls: ['http://127.0.0.1:1/v1']\n"
    path.write_text(f"{HEAD}{urls}    extra_body: {{api_key: {KEY}}}\n", encoding="utf-8")
    judges = JudgeRegistry(path, Metrics())
    [listed] = await judges.describe()
    await judges.aclose()
    assert listed["extra_body"] == {"api_key": "***"}
    assert KEY not in str(listed)
