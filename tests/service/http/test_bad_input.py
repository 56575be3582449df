"""Whatever is sent: a 4xx that names the field and the rule, never a 5xx, and none of it echoed."""

import asyncio
import json
import socket
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from podium_service.errors import BodyTooLarge, BodyTooSlow, Overloaded
from podium_service.http.body import read_json
from podium_service.http.body_memory import MemoryBudget
from podium_service.schemas import MAX_BODY_BYTES
from tests.fakes import ScriptedJudge, by_length, scores
from tests.service.helpers import chat, client, group, llm, service
from tests.service.process import Podium, running

pytestmark = pytest.mark.anyio

MARKER = "zebra-7f3a91"
JSON = {"Content-Type": "application/json"}
REFERENCE = {"reference": "5"}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Printing a bug's traceback in colour takes ten seconds, and these tests look for bugs."""
    with capture_logs():
        yield


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service without a judges file: it compares with a reference."""
    async with service(tmp_path) as opened, client(opened) as http:
        yield http


def good(**fields: Any) -> dict[str, Any]:
    """A group that would be ranked, full of text that must not come back."""
    return group(MARKER, f"{MARKER} {MARKER}", task=MARKER, **REFERENCE, **fields)


def but(path: str, value: Any) -> dict[str, Any]:
    """The good group with another value at one place, such as `trajectories.0.id`."""
    changed = good()
    place: Any = changed
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        place = place[part]
    place[last] = value
    return changed


def without(path: str) -> dict[str, Any]:
    """The good group with one place missing."""
    changed = but(path, None)
    *parents, last = path.split(".")
    place: Any = changed
    for part in parents:
        place = place[int(part) if part.isdigit() else part]
    del place[last]
    return changed


def ends_with(*messages: dict[str, Any]) -> dict[str, Any]:
    """The good group whose first trajectory goes on with these messages."""
    return but("trajectories.0.messages", [*chat(MARKER), *messages])


def many(num_trajectories: int) -> dict[str, Any]:
    trajectories = [{"id": f"t{i}", "messages": chat(MARKER)} for i in range(num_trajectories)]
    return {"trajectories": trajectories, **REFERENCE}


def call(**changes: Any) -> dict[str, Any]:
    """An assistant message that calls the tool `look`, as the call `c1`."""
    tool_call = {"id": "c1", "type": "function", "function": {"name": "look"}} | changes
    return {"role": "assistant", "content": None, "tool_calls": [tool_call]}


def nested(depth: int) -> Any:
    value: Any = MARKER
    for _ in range(depth):
        value = [value]
    return value


@dataclass(frozen=True)
class Bad:
    """A body, and how it is refused: `place` and `rule` stand in the answer."""

    what: str
    body: Any
    place: str
    rule: str
    status: int = 422
    code: str = "invalid_request"
    path: str = "/rank"
    headers: dict[str, str] = field(default_factory=lambda: JSON)

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def broken(what: str, body: bytes) -> Bad:
    return Bad(what, body, "body", "at line 1, column", 400, "malformed_json")


def undeclared(what: str, rule: str, headers: dict[str, str]) -> Bad:
    named = rule.split(" ")[0]
    return Bad(what, good(), named, rule, 415, "unsupported_media_type", headers=headers)


MESSAGE = "trajectories.0.messages.2"
BODIES = [
    broken("no body", b""),
    broken("JSON that stops", b'{"task": "' + MARKER.encode()),
    broken("JSON with a comma too many", b'{"task": "' + MARKER.encode() + b'",}'),
    broken("NaN", b'{"deadline_s": NaN, "task": "' + MARKER.encode() + b'"}'),
    broken("minus infinity", b'{"deadline_s": -Infinity, "task": "' + MARKER.encode() + b'"}'),
    broken("1e999", b'{"deadline_s": 1e999, "task": "' + MARKER.encode() + b'"}'),
    broken("an integer of 400 digits", b'{"metadata": {"' + MARKER.encode() + b'": ' + b"9" * 400),
    broken("a lone surrogate", b'{"task": "' + MARKER.encode() + b'\\ud800"}'),
    broken("bytes that are not UTF-8", b'{"task": "' + MARKER.encode() + b'\xed\xa0\x80"}'),
    broken("UTF-16", json.dumps(good()).encode("utf-16")),
    Bad(
        "600,000 values", good(metadata={"a": [0] * 600_000}), "body", "holds over 524288 values",
        413, "body_too_large",
    ),
    broken("nesting without end", b"[" * 100_000),
    Bad("nesting 500 deep", nested(500), "body", "at most 64 levels deep"),
    Bad("metadata 500 deep", good(metadata={"a": nested(500)}), "body", "at most 64 levels deep"),
    Bad("a list", [good()], "body", "dictionary"),
    Bad("a string", MARKER, "body", "dictionary"),
    Bad("null", None, "body", "dictionary"),
    undeclared("no content type", "content-type is 'missing': send application/json", {}),
    undeclared(
        "text", "content-type is 'text/plain': send", {"Content-Type": "text/plain; a=b"}
    ),
    undeclared("a form", "content-type is 'multipart", {"Content-Type": "multipart/form-data"}),
    undeclared("gzip", "content-encoding must be identity", {**JSON, "Content-Encoding": "gzip"}),
    Bad(
        "a Content-Length of 100 MB", good(), "content-length", f"at most {MAX_BODY_BYTES} bytes",
        413, "body_too_large", headers={**JSON, "Content-Length": "100000000"},
    ),
]  # fmt: skip
GROUPS = [
    Bad("an empty object", {}, "trajectories", "required"),
    Bad("no trajectory", many(0), "trajectories", "two trajectories or more"),
    Bad("one trajectory", many(1), "trajectories", "two trajectories or more"),
    Bad("65 trajectories", many(65), "trajectories", "at most 64"),
    Bad("10,000 trajectories", many(10_000), "trajectories", "at most 64"),
    Bad("trajectories null", but("trajectories", None), "trajectories", "list"),
    Bad("trajectories a string", but("trajectories", MARKER), "trajectories", "list"),
    Bad("a trajectory that is a string", but("trajectories.1", MARKER), "trajectories.1", "dict"),
    Bad("a duplicate id", but("trajectories.1.id", "t0"), "trajectories", "ids must be unique"),
    Bad("an empty id", but("trajectories.1.id", ""), "trajectories.1.id", "at least 1"),
    Bad("an id of 257", but("trajectories.1.id", MARKER * 30), "trajectories.1.id", "at most 256"),
    Bad("an id that is a number", but("trajectories.1.id", 7), "trajectories.1.id", "string"),
    Bad("no id", without("trajectories.1.id"), "trajectories.1.id", "required"),
    Bad("an unknown field", good(temperature=MARKER), "temperature", "not permitted"),
    Bad(
        "an unknown field of a trajectory", but("trajectories.0.reward", MARKER),
        "trajectories.0.reward", "not permitted",
    ),
    Bad("an empty group_id", good(group_id=""), "group_id", "at least 1"),
    Bad("a group_id of 257", good(group_id=MARKER * 30), "group_id", "at most 256"),
    Bad("a group_id that is a list", good(group_id=[MARKER]), "group_id", "string"),
    Bad("an empty judge", good(judge=""), "judge", "at least 1"),
    Bad("a judge that is a list", good(judge=[MARKER]), "judge", "string"),
    Bad("an unknown judge", good(judge="nope"), "judge", "one of checks", code="unknown_judge"),
    Bad(
        "no reference for a judge that compares", without("reference"), "reference",
        "required by judge 'checks'", code="reference_required",
    ),
    Bad("a task that is a list", but("task", [MARKER]), "task", "string"),
    Bad("a rubric that is an object", good(rubric={"a": MARKER}), "rubric", "string"),
    Bad("a reference that is a number", but("reference", 5), "reference", "string"),
    Bad("tools that are an object", good(tools={"name": MARKER}), "tools", "list"),
    Bad("a tool that is a string", good(tools=[MARKER]), "tools.0", "dictionary"),
    Bad("metadata that is a list", good(metadata=[MARKER]), "metadata", "dictionary"),
    Bad("a deadline of 0", good(deadline_s=0), "deadline_s", "greater than 0"),
    Bad("a deadline of -1", good(deadline_s=-1), "deadline_s", "greater than 0"),
    Bad("a deadline of 1e9", good(deadline_s=1e9), "deadline_s", "less than or equal to 3600"),
    Bad("a deadline in words", good(deadline_s=MARKER), "deadline_s", "number"),
    Bad("a deadline of null", good(deadline_s=None), "deadline_s", "number"),
    Bad(
        "a finish_reason that is a text", but("trajectories.0.finish_reason", MARKER * 9),
        "trajectories.0.finish_reason", "at most 64",
    ),
    Bad(
        "a verified_reward in words", but("trajectories.0.verified_reward", MARKER),
        "trajectories.0.verified_reward", "number",
    ),
]  # fmt: skip
MESSAGES = [
    Bad("no messages", without("trajectories.0.messages"), "trajectories.0.messages", "required"),
    Bad("zero messages", but("trajectories.0.messages", []), "trajectories.0.messages", "least 1"),
    Bad("messages a string", but("trajectories.0.messages", MARKER), "messages", "list"),
    Bad("a message that is a string", ends_with(MARKER), MESSAGE, "dict"),  # type: ignore[arg-type]
    Bad("no role", ends_with({"content": MARKER}), f"{MESSAGE}.role", "required"),
    Bad("a wrong role", ends_with({"role": MARKER, "content": "x"}), f"{MESSAGE}.role", "'system'"),
    Bad("the old role", ends_with({"role": "function", "content": MARKER}), "role", "'tool'"),
    Bad("content a number", ends_with({"role": "user", "content": 7}), f"{MESSAGE}.content", "str"),
    Bad(
        "an image part",
        ends_with({"role": "user", "content": [{"type": "image_url", "image_url": MARKER}]}),
        f"{MESSAGE}.content.0.type", "'text'",
    ),
    Bad(
        "a text part without text",
        ends_with({"role": "user", "content": [{"type": "text", "value": MARKER}]}),
        f"{MESSAGE}.content.0.text", "required",
    ),
    Bad("a user who says nothing", ends_with({"role": "user"}), MESSAGE, "content may be left out"),
    Bad(
        "an assistant who neither says nor calls anything",
        ends_with({"role": "assistant", "content": None}), MESSAGE, "content may be left out",
    ),
    Bad(
        "an assistant with no content and no calls in its list",
        ends_with({"role": "assistant", "tool_calls": []}), MESSAGE, "content may be left out",
    ),
    Bad(
        "a user who calls a tool", ends_with({**call(), "role": "user"}), MESSAGE,
        "only an assistant message may carry tool_calls",
    ),
    Bad(
        "a tool message without its call",
        ends_with({"role": "tool", "tool_call_id": MARKER, "content": MARKER}),
        "trajectories.0.messages", "messages.2 is a tool message that answers no earlier call",
    ),
    Bad(
        "a tool message that answers a later call",
        ends_with({"role": "tool", "tool_call_id": "c1", "content": MARKER}, call()),
        "trajectories.0.messages", "messages.2 is a tool message that answers no earlier call",
    ),
    Bad(
        "a tool message that answers another call",
        ends_with(call(), {"role": "tool", "tool_call_id": MARKER, "content": MARKER}),
        "trajectories.0.messages", "messages.3 is a tool message that answers no earlier call",
    ),
    Bad(
        "a tool message without tool_call_id",
        ends_with(call(), {"role": "tool", "content": MARKER}),
        "trajectories.0.messages.3", "needs the tool_call_id of the call it answers",
    ),
    Bad("a call without an id", ends_with(call(id="")), f"{MESSAGE}.tool_calls.0.id", "at least 1"),
    Bad(
        "a call of something else", ends_with(call(type=MARKER)),
        f"{MESSAGE}.tool_calls.0.type", "'function'",
    ),
    Bad(
        "a call without a name", ends_with(call(function={"arguments": MARKER})),
        f"{MESSAGE}.tool_calls.0.function.name", "required",
    ),
    Bad(
        "a call whose arguments are a list",
        ends_with(call(function={"name": "look", "arguments": [MARKER]})),
        f"{MESSAGE}.tool_calls.0.function.arguments", "string",
    ),
]  # fmt: skip
BATCHES = [
    Bad("a batch without groups", {"deadline_s": 1}, "groups", "required", path="/rank/batch"),
    Bad("a batch of one object", {"groups": good()}, "groups", "list", path="/rank/batch"),
    Bad("4,097 groups", {"groups": [0] * 4097}, "groups", "at most 4096", path="/rank/batch"),
    Bad(
        "an unknown field of a batch", {"groups": [], "judge": MARKER}, "judge", "not permitted",
        path="/rank/batch",
    ),
    Bad(
        "a batch deadline of 0", {"groups": [], "deadline_s": 0}, "deadline_s", "greater than 0",
        path="/rank/batch",
    ),
    Bad(
        "a batch of 100 MB", {"groups": []}, "content-length", "at most 67108864 bytes", 413,
        "body_too_large", "/rank/batch", {**JSON, "Content-Length": "100000000"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    "bad", [*BODIES, *GROUPS, *MESSAGES, *BATCHES], ids=lambda bad: bad.what.replace(" ", "-")
)
async def test_a_bad_request_is_refused_by_field_and_rule_and_never_echoed(
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


async def test_at_most_ten_faults_are_listed_and_the_others_are_counted(
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
        {"trajectories": [{"id": "a", "messages": [1] * 50_000}]},
        {"trajectories": [], **{f"field {index}": 1 for index in range(50_000)}},
    ],
    ids=["wrong messages", "unknown fields"],
)
async def test_refusing_50_000_faults_takes_no_more_memory_than_reading_the_body(
    bad: dict[str, Any], http: httpx.AsyncClient
) -> None:
    content = json.dumps(bad)
    await http.post("/rank", content="{}", headers=JSON)  # what the first one builds, it does not
    tracemalloc.start()
    try:
        answer = await http.post("/rank", content=content, headers=JSON)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.status_code == 422
    assert peak < 30 * len(content)  # 16 MiB hold eight million faults


@pytest.mark.parametrize(
    "group_id",
    ["\0", "a\0b", "\u202etxt.exe", "\u2066x", "e\u0301", "\U0001f3c6", '"\\\n\r\t', "x" * 256],
)
async def test_any_text_up_to_256_characters_is_an_id_that_comes_back_as_it_was(
    group_id: str, http: httpx.AsyncClient
) -> None:
    asked = group("5", "6", group_id=group_id, metadata={group_id: group_id}, **REFERENCE)
    asked["trajectories"][0]["id"] = group_id
    ranked = (await http.post("/rank", json=asked)).json()
    assert ranked["group_id"] == ranked["results"][0]["id"] == group_id
    assert (await http.get(f"/rankings/{ranked['id']}")).json() == ranked


async def test_extra_keys_of_messages_are_taken_but_not_shown(tmp_path: Path) -> None:
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


async def test_metadata_is_kept_whatever_it_holds_and_changes_nothing(
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
async def test_what_a_policy_writes_as_arguments_of_a_call_never_breaks_the_ranking(
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
async def test_no_json_value_is_an_error_of_ours(http: httpx.AsyncClient, value: Any) -> None:
    answer = await http.post("/rank", content=json.dumps(value), headers=JSON)
    assert 400 <= answer.status_code < 500


@_ANY
@given(st.sampled_from(_PLACES), _VALUES)
async def test_no_json_value_anywhere_in_a_group_is_an_error_of_ours(
    http: httpx.AsyncClient, place: str, value: Any
) -> None:
    content = json.dumps(but(place, value))
    answer = await http.post("/rank", content=content, headers=JSON)
    assert answer.status_code < 500 or too_late(answer.json())
    batch = await http.post("/rank/batch", content=f'{{"groups": [{content}]}}', headers=JSON)
    for line in batch.text.split("\n")[:-1] if batch.is_success else ():
        problem = json.loads(line).get("problem", {"status": 200})
        assert problem["status"] < 500 or too_late(problem)


def too_late(problem: dict[str, Any]) -> bool:
    """As it may be with a deadline of next to nothing."""
    return bool(problem["code"] == "deadline_exceeded")


# Over TCP, where "before reading" means something.


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podium]:
    with running(cwd=tmp_path_factory.mktemp("server")) as process:
        yield process


def connected(server: Podium) -> socket.socket:
    assert server.url
    return socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), timeout=10)


def head(path: str, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: podium", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def answer_on(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """The status and the JSON of one answer, which is all that comes in ten seconds."""
    with connection.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        length = 0
        while (line := stream.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return status, json.loads(stream.read(length))


def problem_on(connection: socket.socket) -> tuple[int, str]:
    """The status and the code of the answer after which the connection ends."""
    status, problem = answer_on(connection)
    assert connection.recv(1) == b""
    return status, problem["code"]


def assert_others_are_answered(server: Podium) -> None:
    asked = group("5", "6", **REFERENCE)
    answer = httpx.post(f"{server.url}/rank", json=asked, trust_env=False, timeout=30)
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/rank", "/rank/batch"])
def test_a_body_of_100_MB_is_refused_before_it_is_read(server: Podium, path: str) -> None:
    with connected(server) as connection:
        connection.sendall(head(path, "Content-Length: 100000000") + b"[" * 4096)
        status, problem = answer_on(connection)
        assert (status, problem["code"]) == (413, "body_too_large")
        assert "content-length is 100000000: at most" in problem["detail"]
        assert_others_are_answered(server)


def test_a_body_without_a_length_is_refused_once_it_is_over_the_cap(server: Podium) -> None:
    chunk = b"%x\r\n" % 2**20 + b"[" * 2**20 + b"\r\n"
    with connected(server) as connection:
        connection.sendall(head("/rank", "Transfer-Encoding: chunked"))
        for _ in range(MAX_BODY_BYTES // 2**20 + 1):
            connection.sendall(chunk)
        status, problem = answer_on(connection)  # the last chunk never comes
        assert (status, problem["code"]) == (413, "body_too_large")
        assert_others_are_answered(server)


def test_a_body_that_stops_halfway_keeps_nobody_else_waiting(server: Podium) -> None:
    with connected(server) as connection:
        connection.sendall(head("/rank", "Content-Length: 1000") + b"[")
        assert_others_are_answered(server)


@pytest.mark.parametrize("lines", [["X: " + "x" * 70_000], ["X: x"] * 12_000], ids=["one", "many"])
@pytest.mark.parametrize("end", [b"", b"\r\n"], ids=["going on", "whole"])
def test_headers_of_70_kB_are_refused(server: Podium, lines: list[str], end: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(head("/rank", *lines).removesuffix(b"\r\n"))
        if not end:
            connection.sendall(b"X: " + b"x" * 300_000)
        connection.sendall(end)
        assert problem_on(connection) == (431, "headers_too_large")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        head("/rank", "Content-Length: x"),
        head("/rank", "Content-Length: -1"),
        head("/rank", "Content-Length: 3", "Content-Length: 4") + b"{}  ",
        head("/rank", "Content-Length: 2", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        head("/rank", "X\0: 1"),
        b"POST /rank HTTP/9.9\r\nHost: podium\r\n\r\n",
    ],
    ids=["TLS", "length x", "length -1", "two lengths", "CL+TE", "NUL", "HTTP/9.9"],
)
def test_what_is_not_http_is_a_problem_like_others(server: Podium, sent: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(sent)
        assert problem_on(connection) == (400, "malformed_request")


@pytest.mark.parametrize("chunk", [b"zz\r\n{}\r\n", b"-1\r\n\r\n", b"2\r\n{}{}\r\n"])
def test_a_chunk_that_lies_about_its_length_is_refused(server: Podium, chunk: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(head("/rank", "Transfer-Encoding: chunked") + chunk)
        assert problem_on(connection) == (400, "malformed_request")
    assert_others_are_answered(server)


def test_who_still_sends_what_was_refused_can_read_why(server: Podium) -> None:
    with connected(server) as connection:
        connection.sendall(head("/rank", "Connection: close", "Content-Length: 30000000"))
        for _ in range(30):
            connection.sendall(b"[" * 1_000_000)
        assert problem_on(connection) == (413, "body_too_large")


def test_a_request_that_would_upgrade_is_served_with_its_own_body(server: Podium) -> None:
    hidden = b"GET /livez HTTP/1.1\r\nHost: podium\r\n\r\n"
    upgrade = ("Connection: upgrade", "Upgrade: h2c", f"Content-Length: {len(hidden)}")
    with connected(server) as connection:
        for _ in range(2):
            connection.sendall(head("/rank", *upgrade) + hidden)
            status, problem = answer_on(connection)
            assert (status, problem["code"]) == (400, "malformed_json")
    assert not [line for line in server.logs if line["level"] == "warning"]


def test_connections_over_the_cap_are_told_when_to_come_back(tmp_path: Path) -> None:
    with running("--max-connections", "3", cwd=tmp_path) as process:
        held = [connected(process) for _ in range(3)]
        for connection in held:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: podium\r\n\r\n")
            assert answer_on(connection)[0] == 200
        with connected(process) as one_more:
            assert b"retry-after: 1" in one_more.recv(4096).partition(b"\r\n\r\n")[0]
        held.pop().close()
        while True:  # until the server has noticed
            with connected(process) as one_more:
                one_more.sendall(b"GET /livez HTTP/1.1\r\nHost: podium\r\n\r\n")
                status, _ = answer_on(one_more)
                assert status in (200, 429)
                if status == 200:
                    break
        for connection in held:
            connection.close()


# Bodies that take time and memory


class Arriving:
    """A request whose body comes in these parts, and then does not end."""

    def __init__(self, *parts: bytes, budget: MemoryBudget | None = None) -> None:
        self._parts = list(parts)
        self.body_memory = (budget or MemoryBudget()).share()
        scope = {
            "type": "http", "method": "POST", "path": "/rank",
            "state": {"body_memory": self.body_memory},
            "headers": [(b"content-type", b"application/json")],
        }  # fmt: skip
        self.request = Request(scope, self._receive)

    async def _receive(self) -> dict[str, Any]:
        if not self._parts:
            await asyncio.sleep(3600)
        return {"type": "http.request", "body": self._parts.pop(0), "more_body": True}


async def test_a_body_that_comes_too_slowly_is_given_up() -> None:
    with pytest.raises(BodyTooSlow, match=r"^5 bytes of the body came in 0\.05 s"):
        await read_json(Arriving(b"[", b"1, 2").request, 100, patience_s=0.05)


async def test_each_64_kB_of_a_body_buy_it_a_second() -> None:
    slow = Arriving(b" " * 20_000)
    started = asyncio.get_running_loop().time()
    with pytest.raises(BodyTooSlow):
        await read_json(slow.request, 10**6, patience_s=0.0)
    assert asyncio.get_running_loop().time() - started >= 20_000 / 65_536 - 0.01


async def test_bodies_that_hold_too_much_together_are_refused_and_memory_is_given_back() -> None:
    budget = MemoryBudget(capacity=1000)
    with pytest.raises(BodyTooSlow):
        await read_json(Arriving(b" " * 600, budget=budget).request, 10**6, patience_s=0.01)
    second = Arriving(b" " * 600, budget=budget)
    with pytest.raises(Overloaded, match="hold 600 of 1000 bytes"):
        await read_json(second.request, 10**6)
    with pytest.raises(BodyTooLarge, match="over 1000 bytes of memory"):
        await read_json(Arriving(b" " * 1001, budget=budget).request, 10**6)


async def test_what_a_request_holds_is_given_back_with_its_answer(tmp_path: Path) -> None:
    async with service(tmp_path) as opened:
        opened.body_memory = MemoryBudget(capacity=100_000)
        async with client(opened) as http:
            bodies: list[Any] = [good(), {"trajectories": []}, [[]] * 1000]
            for body in bodies:
                await http.post("/rank", json=body)
                await http.post("/rank/batch", json={"groups": [body]})
                assert opened.body_memory.held == 0
            many_values = await http.post("/rank", json=good(metadata={"a": [[]] * 2000}))
    assert many_values.status_code == 413


async def test_what_looks_like_many_values_inside_of_text_is_taken(http: httpx.AsyncClient) -> None:
    code = "[{,\\" * 250_000
    answer = await http.post("/rank", json=group("5", code, reference="5"))
    assert answer.status_code == 200
