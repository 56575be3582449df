"""Messages in the shapes of real clients are ranked over HTTP; what cannot be read is refused."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes import ScriptedJudge, scores
from tests.service.helpers import chat, client, llm, service
from tests.service.ranking.worth import STEERING, worth

pytestmark = pytest.mark.anyio

ASKS = {"role": "user", "content": "6 times 7?"}
GOOD = {"role": "assistant", "content": "worth 0.9"}
CALL = {"type": "function", "function": {"name": "multiply", "arguments": {"a": 6, "b": 7}}}


def turn(*calls: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **fields}


def tool(content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": "tool", "content": content, **fields}


# What a client sends between the question and the good answer, and what the judge sees of it.
SHOWN: list[tuple[str, list[dict[str, Any]], str]] = [
    ("TRL: no ids, arguments an object, results by name",
     [turn(CALL, content=""), tool("42", name="multiply")],
     "<tool_call>multiply(a=6, b=7)</tool_call>\n</message>\n"
     '<tool_result name="multiply">\n42\n'),
    ("verl: the call is text, the result has no id",
     [{"role": "assistant", "content": "[call multiply]"}, tool("42")],
     '<tool_result name="unknown">\n42\n'),
    ("empty ids", [turn(CALL | {"id": ""}), tool("42", tool_call_id="")],
     '<tool_result name="multiply">\n42\n'),
    ("null ids", [turn(CALL | {"id": None}), tool("42", tool_call_id=None)],
     '<tool_result name="multiply">\n42\n'),
    ("an id of 4,096 characters",
     [turn(CALL | {"id": "s" * 4096}), tool("42", tool_call_id="s" * 4096)],
     '<tool_result name="multiply">\n42\n'),
    ("null arguments",
     [turn({"id": "c", "type": "function", "function": {"name": "now", "arguments": None}})],
     "<tool_call>now()</tool_call>"),
    ("no arguments", [turn({"id": "c", "function": {"name": "now"}})],
     "<tool_call>now()</tool_call>"),
    ("an orphan after compaction", [tool("earlier", tool_call_id="old")],
     '<tool_result name="unknown">\nearlier\n'),
    ("a named orphan", [tool("earlier", tool_call_id="old", name="look")],
     '<tool_result name="look">\nearlier\n'),
    ("a result without content", [turn(CALL), tool(None)],
     '<tool_result name="multiply">\n\n'),
    ("a result in parts", [turn(CALL), tool([{"type": "text", "text": "42"}])],
     '<tool_result name="multiply">\n42\n'),
    ("the legacy call and result",
     [{"role": "assistant", "content": None, "function_call": {"name": "now", "arguments": "{}"}},
      {"role": "function", "name": "now", "content": "12:00"}],
     '<tool_call>now()</tool_call>\n</message>\n<tool_result name="now">\n12:00\n'),
    ("an empty turn", [{"role": "assistant", "content": None}],
     '<message role="assistant">\n\n</message>'),
    ("no content and no calls", [{"role": "assistant", "tool_calls": []}],
     '<message role="assistant">\n\n</message>'),
    ("a user without content", [{"role": "user"}], '<message role="user">\n\n</message>'),
    ("a developer", [{"role": "developer", "content": "Be brief."}],
     '<message role="developer">\nBe brief.\n'),
    ("a refusal part",
     [{"role": "assistant", "content": [{"type": "refusal", "refusal": "I cannot."}]}],
     '<message role="assistant">\nI cannot.\n'),
    ("a refusal beside null content",
     [{"role": "assistant", "content": None, "refusal": "I cannot."}],
     '<message role="assistant">\nI cannot.\n'),
    ("a thinking part",
     [{"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"},
                                        {"type": "text", "text": "So."}]}],
     '<message role="assistant">\nSo.\n'),
]  # fmt: skip
PNG = b64encode(b"\x89PNG\r\n\x1a\n\xfb\xff" * 4).decode()  # with a + and a /
URL = "https://a.test/b.png"
IMAGES: list[tuple[str, dict[str, Any]]] = [
    ("OpenAI", {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}),
    ("a bare URL", {"type": "image_url", "image_url": f"data:image/png;base64,{PNG}"}),
    ("another detail", {"type": "image_url", "image_url": {
        "url": f"data:image/png;base64,{PNG}", "detail": "low"}}),
    ("Responses", {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}),
    ("a wrong type", {"type": "input_image", "image_url": f"DATA:image/jpg;base64,{PNG}"}),
    ("no type", {"type": "input_image", "image_url": f"data:;base64,{PNG}"}),
    ("wrapped lines", {"type": "input_image", "image_url": f"data:;base64,{PNG[:9]}\n{PNG[9:]}"}),
    ("URL-safe base64 without padding", {"inline_data": {
        "mime_type": "image/png",
        "data": PNG.replace("+", "-").replace("/", "_").rstrip("=")}}),
    ("Gemini", {"inlineData": {"mimeType": "image/png", "data": PNG}}),
    ("Anthropic", {"type": "image", "source": {
        "type": "base64", "media_type": "image/png", "data": PNG}}),
    ("MCP", {"type": "image", "data": PNG, "mimeType": "image/png"}),
    ("LangChain", {
        "type": "image", "source_type": "base64", "data": PNG, "mime_type": "image/png"}),
    ("transformers", {"type": "image", "image": PNG}),
]  # fmt: skip
LINKS: list[tuple[str, dict[str, Any]]] = [
    ("OpenAI", {"type": "image_url", "image_url": {"url": URL}}),
    ("Responses", {"type": "input_image", "image_url": URL}),
    ("Anthropic", {"type": "image", "source": {"type": "url", "url": URL}}),
    ("Gemini", {"file_data": {"file_uri": URL, "mime_type": "image/png"}}),
    ("transformers", {"type": "image", "url": URL}),
]
THOUGHTS = [
    {"content": None, "reasoning_content": "secret"},
    {"content": "", "reasoning": "secret"},
    {"reasoning_content": [{"type": "text", "text": "secret"}], "content": []},
    {"content": [{"type": "thinking", "thinking": "secret", "signature": "c2ln"}]},
    {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "secret"}]}]},
    {"content": [{"type": "reasoning", "text": "secret"}, {"type": "text", "text": " "}]},
    {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "secret"}]}]},
]


def group_of(*conversations: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    trajectories = [{"id": f"t{i}", "messages": each} for i, each in enumerate(conversations)]
    return {"trajectories": trajectories, **fields}


@asynccontextmanager
async def judged(
    tmp_path: Path, **judge_settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, ScriptedJudge]]:
    async with (
        ScriptedJudge(always=scores(worth)).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=2, **judge_settings)) as opened,
        client(opened) as http,
    ):
        yield http, judge


async def ranked(http: httpx.AsyncClient, asked: dict[str, Any]) -> dict[str, Any]:
    """Return the ranking of a group; a refusal fails the test with its words."""
    answer = await http.post("/rank", json=asked)
    assert answer.status_code == 200, answer.text
    ranking: dict[str, Any] = answer.json()
    return ranking


async def test_messages_of_real_clients_are_ranked_and_shown(tmp_path: Path) -> None:
    async with judged(tmp_path) as (http, judge):
        for what, messages, shown in SHOWN:
            bad = chat("worth 0.1", ASKS["content"])
            asked = group_of([ASKS, *messages, GOOD], bad, task=what)  # stored under its own key
            answer = await http.post("/rank", json=asked)
            assert answer.status_code == 200, (what, answer.text)
            assert [each["reward"] for each in answer.json()["results"]] == [1, 0], what
            assert shown in judge.asked[-1].text, what
            assert "hm" not in judge.asked[-1].text.split(), what


@pytest.mark.parametrize("thoughts", THOUGHTS, ids=json.dumps)
async def test_an_attempt_that_only_thought_is_empty(
    thoughts: dict[str, Any], tmp_path: Path
) -> None:
    cut_off = {"role": "assistant", **thoughts}
    asked = group_of([ASKS, cut_off], [ASKS, GOOD], chat("worth 0.1", ASKS["content"]))
    asked["trajectories"][0]["finish_reason"] = "length"
    async with judged(tmp_path, show_reasoning=True) as (http, judge):
        ranking = await ranked(http, asked)
    empty, good, bad = ranking["results"]
    assert (empty["reward"], empty["rank"], empty["flags"]) == (0, 3, ["gate:not_empty"])
    assert good["reward"] > bad["reward"] > empty["reward"]
    assert ranking["basis"] == "judged"
    assert not any("secret" in each.text for each in judge.asked)


@pytest.mark.parametrize("messages", [[], None, [ASKS], [ASKS, {"role": "assistant"}]], ids=str)
async def test_one_member_without_an_attempt_fails_alone(messages: Any, tmp_path: Path) -> None:
    asked = group_of(messages, [ASKS, GOOD], chat("worth 0.1", ASKS["content"]))
    async with judged(tmp_path) as (http, _):
        results = (await ranked(http, asked))["results"]
    assert results[0]["flags"] == ["gate:not_empty"]
    assert [each["reward"] for each in results] == [0, 1, 0.5]
    assert [each["rank"] for each in results] == [3, 1, 2]


@pytest.mark.parametrize("thoughts", THOUGHTS, ids=json.dumps)
async def test_reasoning_is_shown_only_where_the_judge_asks(
    thoughts: dict[str, Any], tmp_path: Path
) -> None:
    text = {"type": "text", "text": "worth 0.9"}
    content = [*(thoughts.get("content") or []), text]
    one = [ASKS, {"role": "assistant", **thoughts, "content": content}]
    asked = group_of(one, [ASKS, GOOD], chat("worth 0.1", ASKS["content"]))
    async with judged(tmp_path) as (http, judge):
        hidden = await ranked(http, asked)
        assert not any("secret" in each.text for each in judge.asked)
    (tmp_path / "shown").mkdir()
    async with judged(tmp_path / "shown", show_reasoning=True) as (http, judge):
        shown = await ranked(http, asked)
        assert all("<thoughts>\nsecret\n</thoughts>" in each.text for each in judge.asked)
    # Without the reasoning, the two good attempts are one.
    assert hidden["results"][0]["reward"] == hidden["results"][1]["reward"]
    assert shown["id"] != hidden["id"]


async def test_steering_in_thoughts_counts_only_if_they_are_shown(tmp_path: Path) -> None:
    asked = group_of(
        [ASKS, GOOD | {"reasoning_content": STEERING}], [ASKS, {**GOOD, "content": "worth 0.1"}]
    )
    for show_reasoning in (False, True):
        folder = tmp_path / str(show_reasoning)
        folder.mkdir()
        async with judged(folder, show_reasoning=show_reasoning, datamark="never") as (http, _):
            flags = (await ranked(http, asked))["results"][0]["flags"]
        assert bool(flags) == show_reasoning


async def test_numbers_stand_for_ids_names_and_references(tmp_path: Path) -> None:
    asked = group_of([ASKS, GOOD], chat("worth 0.1", "?"), reference=42, group_id=2**70, task=7)
    for number, trajectory in enumerate(asked["trajectories"]):
        trajectory["id"] = number
    async with judged(tmp_path) as (http, judge):
        ranking = await ranked(http, asked)
        batch = await http.post("/rank/batch", json={"groups": [asked | {"tsak": 1}]})
    assert ranking["group_id"] == json.loads(batch.text)["group_id"] == str(2**70)
    assert [each["id"] for each in ranking["results"]] == ["0", "1"]
    assert "<reference>\n42\n</reference>" in judge.asked[0].text


@pytest.mark.parametrize("forms", [IMAGES, LINKS], ids=["data", "links"])
async def test_images_in_any_form_are_one_image(
    http: httpx.AsyncClient, forms: list[tuple[str, dict[str, Any]]]
) -> None:
    (_, first), *others = forms
    for what, part in others:
        turns: list[dict[str, Any]] = [
            {"role": "assistant", "content": [each]} for each in (first, part)
        ]
        asked = group_of(*([ASKS, turn] for turn in turns), reference="42")
        answer = await http.post("/rank", json=asked)
        assert answer.status_code == 200, (what, answer.text)
        assert answer.json()["basis"] == "identical", what


_ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        "",
        "x",
        0,
        7,
        2**70,
        1.5,
        True,
        [],
        {},
        [None],
        ["x"],
        [7],
        [{}],
        {"a": 1},
        "{}",
        "null",
    ]
)
_PICTURE = _ODD | st.sampled_from(
    [PNG, f"data:image/png;base64,{PNG}", "data:image/png;base64,", "data:", "https://a.test/b.png",
     "https://", "http://a.test", "iVBORw", "\u00e9", "data:image/png;base64,\u00e9"]
)  # fmt: skip
_MEDIA_TYPE = _ODD | st.sampled_from(["image/png", "image/svg+xml"])
_HOLDER = _PICTURE | st.fixed_dictionaries(
    {}, optional={"url": _PICTURE, "data": _PICTURE, "media_type": _MEDIA_TYPE, "type": _ODD}
)
_PART = _ODD | st.fixed_dictionaries(
    {},
    optional={
        "type": _ODD | st.sampled_from(
            ["text", "thinking", "reasoning", "refusal", "image_url", "image", "input_image",
             "audio", "output_text"]
        ),
        "text": _ODD, "thinking": _ODD, "refusal": _ODD, "summary": _ODD,
        **dict.fromkeys(("image_url", "source", "inline_data", "fileData", "image"), _HOLDER),
        **dict.fromkeys(("url", "data", "base64"), _PICTURE), "mime_type": _MEDIA_TYPE,
    },
)  # fmt: skip
_FUNCTION = _ODD | st.fixed_dictionaries({}, optional={"name": _ODD, "arguments": _ODD})
_CALL = _ODD | st.fixed_dictionaries(
    {}, optional={"id": _ODD, "type": _ODD | st.just("function"), "function": _FUNCTION,
                  "name": _ODD, "arguments": _ODD},
)  # fmt: skip
_MESSAGE = _ODD | st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "function", "system", "x"])},
    optional={
        "content": _ODD | st.lists(_PART, max_size=3), "name": _ODD, "refusal": _ODD,
        "tool_calls": _ODD | st.lists(_CALL, max_size=3), "tool_call_id": _ODD,
        "function_call": _FUNCTION, "reasoning_content": _ODD, "reasoning": _ODD,
    },
)  # fmt: skip


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(_MESSAGE, max_size=4))
async def test_any_messages_are_ranked_or_refused_by_a_rule(
    http: httpx.AsyncClient, messages: list[Any]
) -> None:
    await assert_ranked_or_refused(http, messages)


async def assert_ranked_or_refused(http: httpx.AsyncClient, messages: list[Any]) -> None:
    asked = group_of([ASKS, *messages], chat("42"), reference="42")
    answer = await http.post("/rank", json=asked)
    if answer.status_code == 200:
        assert len(answer.json()["results"]) == 2
        return
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid_request"), problem
    for fault in problem["errors"]:
        assert fault["field"].startswith("trajectories.0.messages"), problem
        assert fault["rule"]


@pytest.fixture
async def seen(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    judge = ScriptedJudge(always=scores(lambda text: min(1.0, len(text) / 200)))
    async with (
        judge.serving(),
        service(tmp_path, main=llm(judge.url, passes=1, vision=True, gates=[])) as opened,
        client(opened) as http,
    ):
        yield http


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(_MESSAGE, max_size=4))
async def test_a_judge_with_vision_is_shown_any_messages(
    seen: httpx.AsyncClient, messages: list[Any]
) -> None:
    await assert_ranked_or_refused(seen, messages)
