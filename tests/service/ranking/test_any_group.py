"""Any group is ranked under its own ids, or refused by a typed problem."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podium_service import errors
from tests.fakes import ScriptedJudge, by_length, scores
from tests.service.helpers import client, llm, service

pytestmark = pytest.mark.fuzz

CODES = {error.code: error.status for error in errors.leaves()}
CHECKS = {"kind": "checks", "criteria": [{"check": "max_words", "words": 3}]}

# Without lone surrogates, which no UTF-8 carries; with NUL, bidi and all planes.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["\0", "\u202e\u2066x\u2069", "</trajectory>", "e\u0301", "\U0010ffff", "\ufeff", "<|im_end|>"]
)
CALL = st.fixed_dictionaries({"name": TEXT.filter(bool), "arguments": TEXT})
SAID = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "assistant"]), "content": TEXT}
)
TURN = st.lists(CALL, min_size=1, max_size=3)


@st.composite
def messages(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw a conversation: texts, tool calls, and results of most calls."""
    found: list[dict[str, Any]] = []
    for said in draw(st.lists(SAID, min_size=1, max_size=4)):
        found.append(said)
        if draw(st.booleans()):
            functions = draw(TURN)
            calls = [
                {"id": f"c{len(found)}-{index}", "type": "function", "function": function}
                for index, function in enumerate(functions)
            ]
            found.append({"role": "assistant", "content": None, "tool_calls": calls})
            found += [
                {"role": "tool", "tool_call_id": call["id"], "content": draw(TEXT)}
                for call in calls
                if draw(st.booleans())
            ]
    return found


@st.composite
def groups(draw: st.DrawFn) -> dict[str, Any]:
    ids = draw(st.lists(TEXT.filter(bool), min_size=2, max_size=5, unique=True))
    return {
        "trajectories": [{"id": each, "messages": draw(messages())} for each in ids],
        "task": draw(st.none() | TEXT),
        "rubric": draw(st.none() | TEXT),
        "metadata": {draw(TEXT): draw(TEXT)},
        "judge": draw(st.sampled_from(["main", "checks"])),
    }


def assert_ranked_or_refused(group: dict[str, Any], answer: httpx.Response) -> None:
    told = answer.json()
    if answer.status_code == 200:
        assert [each["id"] for each in told["results"]] == [
            each["id"] for each in group["trajectories"]
        ]
        assert all(0 <= each["reward"] <= 1 for each in told["results"])
        count = len(told["results"])
        assert sum(each["rank"] for each in told["results"]) == count * (count + 1) / 2
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        assert CODES[told["code"]] == answer.status_code < 500


@asynccontextmanager
async def serving(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=2), checks=CHECKS) as opened,
        client(opened) as http,
    ):
        yield http


def test_any_group_is_ranked_under_its_ids_or_refused(tmp_path: Path) -> None:
    ranked: list[bool] = []
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serving(tmp_path)) as http,
    ):

        @settings(
            max_examples=300,
            suppress_health_check=list(HealthCheck),
            database=None,
            derandomize=True,
        )
        @given(groups())
        def rank(group: dict[str, Any]) -> None:
            answer = portal.call(partial(http.post, "/rank", json=group))
            assert_ranked_or_refused(group, answer)
            ranked.append(answer.status_code == 200)

        rank()
    assert sum(ranked) > len(ranked) / 2
