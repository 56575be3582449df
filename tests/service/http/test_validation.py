"""Validation: a bad body is a 4xx that names field and rule, and its text never comes back."""

import json
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes import ScriptedJudge, by_length, scores
from tests.service.helpers import client, group, llm, service
from tests.service.http.bad_requests import (
    BATCHES,
    BODIES,
    GROUPS,
    JSON,
    MARKER,
    MESSAGES,
    REFERENCE,
    Bad,
    but,
    call,
    nested,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def http(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a service that all tests share, since what it refuses leaves no trace."""
    folder = tmp_path_factory.mktemp("service")
    async with service(folder) as opened, client(opened) as http:
        yield http


@pytest.mark.parametrize(
    "bad", [*BODIES, *GROUPS, *MESSAGES, *BATCHES], ids=lambda bad: bad.what.replace(" ", "-")
)
async def test_a_bad_request_gets_field_and_rule_but_not_its_own_text(
    bad: Bad, http: httpx.AsyncClient
) -> None:
    answer = await http.post(bad.path, content=bad.content(), headers=bad.headers)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (bad.status, bad.code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == bad.status
    assert problem["type"] == f"urn:podium:{bad.code}"
    assert problem["retryable"] is False
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert MARKER not in answer.text
    assert len(answer.content) < 4000
    named = problem.get("errors") or [{"field": problem["detail"], "rule": problem["detail"]}]
    assert len(named) <= 10
    assert any(bad.place in each["field"] and bad.rule in each["rule"] for each in named), named
    assert named[0]["field"] in problem["detail"]


async def test_at_most_ten_faults_are_listed(
    http: httpx.AsyncClient,
) -> None:
    bad = group(*["x"] * 30)
    for trajectory in bad["trajectories"]:
        trajectory["messages"] = [{"role": MARKER, "content": MARKER}]
    answer = await http.post("/rank", json=bad)
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 10
    assert MARKER not in answer.text


@pytest.mark.parametrize(
    "bad",
    [
        {"trajectories": [{"id": "a", "messages": [1] * 50_000}] * 2},
        {"trajectories": [{"id": "a", "messages": [{"role": "user", "content": [1] * 50_000}]}]},
        {"trajectories": [], **{f"field {index}": 1 for index in range(50_000)}},
    ],
    ids=["wrong messages", "wrong parts", "unknown fields"],
)
async def test_refusing_50_000_faults_takes_little_memory(
    bad: dict[str, Any], http: httpx.AsyncClient
) -> None:
    content = json.dumps(bad)
    await http.post("/rank", content="{}", headers=JSON)  # so that caches are filled
    tracemalloc.start()
    try:
        answer = await http.post("/rank", content=content, headers=JSON)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.status_code == 422
    assert peak < 30 * len(content)  # because 16 MiB can hold eight million faults


@pytest.mark.parametrize(
    "group_id",
    ["\0", "a\0b", "\u202etxt.exe", "\u2066x", "e\u0301", "\U0001f3c6", '"\\\n\r\t', "x" * 256],
)
async def test_an_id_of_any_256_characters_is_returned_unchanged(
    group_id: str, http: httpx.AsyncClient
) -> None:
    asked = group("5", "6", group_id=group_id, metadata={group_id: group_id}, **REFERENCE)
    asked["task"] = repr(group_id)  # of its own, or the first one's answer would be the kept one
    asked["trajectories"][0]["id"] = group_id
    ranked = (await http.post("/rank", json=asked)).json()
    assert ranked["group_id"] == ranked["results"][0]["id"] == group_id
    assert (await http.get(f"/rankings/{ranked['id']}")).json()["ranking"] == ranked


async def test_extra_keys_of_messages_are_accepted_but_not_shown(tmp_path: Path) -> None:
    asked = group("5", "five")
    for trajectory in asked["trajectories"]:
        for message in trajectory["messages"]:
            message |= {"name": MARKER, "refusal": None, "audio": {"data": MARKER}, MARKER: MARKER}
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as judge,
        service(tmp_path, main=llm(judge.url)) as opened,
        client(opened) as http,
    ):
        answer = await http.post("/rank", json=asked)
    assert answer.status_code == 200
    assert judge.calls == 4
    assert not any(MARKER in asked.text for asked in judge.asked)


async def test_any_metadata_is_accepted_and_changes_nothing(
    http: httpx.AsyncClient,
) -> None:
    metadata = {"run": "demo", "deep": nested(40), "null": None, "big": 2**63, "small": 5e-324}
    plain = (await http.post("/rank", json=group("5", "6", **REFERENCE))).json()
    noted = await http.post("/rank", json=group("5", "6", metadata=metadata, **REFERENCE))
    assert noted.status_code == 200
    assert noted.json()["id"] == plain["id"]


@pytest.mark.parametrize(
    "arguments",
    [
        '{"a": ' + "[" * 300 + "]" * 300 + "}",
        '{"a": ' + "[" * 100_000,
        '{"a": 1e999}',
        '{"a": NaN}',
        '{"a": "\\ud800"}',
        '{"\\ud800": 1}',
        '{"a": ' + "9" * 5000 + "}",
        "not JSON",
        "",
        {"a": 2**64 - 1},
        {"\0": "\0"},
    ],
    ids=lambda arguments: str(arguments)[:24],
)
async def test_any_arguments_of_a_tool_call_are_accepted(
    arguments: Any, http: httpx.AsyncClient
) -> None:
    asked = group("5", "6", **REFERENCE)
    function = {"name": "look", "arguments": arguments}
    asked["trajectories"][0]["messages"].insert(1, call(function=function))
    assert (await http.post("/rank", json=asked)).status_code == 200


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
_PLACES = [
    "trajectories", "trajectories.0", "trajectories.0.id", "trajectories.0.messages",
    "trajectories.0.messages.0", "trajectories.0.messages.1.role",
    "trajectories.0.messages.1.content", "trajectories.0.messages.1.tool_calls",
    "trajectories.0.messages.1.tool_call_id", "trajectories.0.tools",
    "trajectories.0.finish_reason", "trajectories.0.verified_reward", "group_id", "task",
    "reference", "rubric", "tools", "metadata", "deadline_s", "judge",
]  # fmt: skip
_ANY = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@_ANY
@given(_VALUES)
async def test_no_json_value_is_a_server_error(http: httpx.AsyncClient, value: Any) -> None:
    answer = await http.post("/rank", content=json.dumps(value), headers=JSON)
    assert 400 <= answer.status_code < 500


@_ANY
@given(st.sampled_from(_PLACES), _VALUES)
async def test_no_json_value_in_a_group_is_a_server_error(
    http: httpx.AsyncClient, place: str, value: Any
) -> None:
    content = json.dumps(but(place, value))
    answer = await http.post("/rank", content=content, headers=JSON)
    assert answer.status_code < 500 or is_too_late(answer.json())
    batch = await http.post("/rank/batch", content=f'{{"groups": [{content}]}}', headers=JSON)
    for line in batch.text.split("\n")[:-1] if batch.is_success else ():
        problem = json.loads(line).get("problem", {"status": 200})
        assert problem["status"] < 500 or is_too_late(problem)


def is_too_late(problem: dict[str, Any]) -> bool:
    """Return whether a deadline is over, as one of next to nothing may be."""
    return bool(problem["code"] == "deadline_exceeded")
