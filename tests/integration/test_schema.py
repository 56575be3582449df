"""Requests made from the published schema: no 5xx, and no answer that the schema does not know.

The service is guarded, as it is wherever others can reach it; who shows no key gets nowhere.
"""

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from podium_service.http.access.api_key import OPEN_PATHS
from tests.service.helpers import judges_file
from tests.service.process import Podium, running

pytestmark = pytest.mark.fuzz

KEY = {"Authorization": "Bearer a-key"}
EXAMPLES = {
    "POST /rank": 40, "POST /rank/batch": 100, "GET /rankings/{ranking_id}": 100, "POST /keys": 40,
    "PATCH /keys/{key_id}": 40, "DELETE /keys/{key_id}": 40, "GET /rankings": 60, "GET /runs": 20,
    "GET /spend": 40,
}  # fmt: skip
NO_REFERENCE = {"kind": "checks", "criteria": [{"check": "max_words", "words": 9}]}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
OPERATIONS = [
    "GET /livez", "GET /readyz", "GET /metrics", "GET /judges", "GET /keys",
    "POST /keys", "PATCH /keys/{key_id}", "DELETE /keys/{key_id}", "GET /spend",
    "GET /rankings/{ranking_id}", "GET /rankings", "GET /rankings/{ranking_id}/calls",
    "GET /runs", "GET /runs/{run}", "POST /rank", "POST /rank/batch",
    "GET /rankings/{ranking_id}/notes", "POST /rankings/{ranking_id}/notes",
    "DELETE /rankings/{ranking_id}/notes/{note_id}", "GET /rankings/{ranking_id}/orders",
    "POST /rankings/{ranking_id}/orders", "DELETE /rankings/{ranking_id}/orders",
]  # fmt: skip
# They wait for other members of a group, and answer 504 if those do not come.
BRIDGE = [
    "POST /bridge/join", "POST /bridge/openrlhf", "POST /bridge/slime",
    "POST /bridge/nemo-gym/verify", "POST /bridge/nemo-gym/compare",
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podium]:
    folder = tmp_path_factory.mktemp("server")
    config = judges_file(folder / "judges.yaml", main=NO_REFERENCE)
    with running("--config", str(config), cwd=folder, PODIUM_API_KEY="a-key") as process:
        yield process


@pytest.fixture(scope="module")
def schema(server: Podium) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json", headers=KEY)


def test_every_operation_is_tried(schema: schemathesis.BaseSchema) -> None:
    found = [
        operation.ok().label
        for operation in schema.get_all_operations()
        if isinstance(operation, Ok)
    ]
    tried = OPERATIONS + BRIDGE  # each is there below /v1 as well, and is the same there
    assert sorted(found) == sorted(tried + [label.replace(" ", " /v1", 1) for label in tried])


def mend(group: Any) -> None:
    """Let a group keep the rules that its schema cannot say."""
    group["judge"] = None
    while len(group["trajectories"]) < 2:
        group["trajectories"].append({"messages": [{"role": "user", "content": "5"}]})
    for index, trajectory in enumerate(group["trajectories"]):
        trajectory["id"] = f"t{index}"
        trajectory["messages"] = [
            {**message, "role": "assistant", "content": "5", "tool_calls": None}
            for message in trajectory["messages"]
        ]


def hasten(case: Any, mended: bool) -> None:
    """Let a member wait for others no longer than a moment, or for none if it is mended."""
    label = f"{case.method} {case.path}"
    settings = case.body if label == BRIDGE[0] else case.query
    if label != BRIDGE[-1]:
        settings["patience_s"] = 0.02
    if not mended:
        return
    for name in ("judge", "anchor", "min_members", "deadline_s"):
        settings.pop(name, None)
    if label != BRIDGE[-1]:
        settings["group_size"] = 1
    if label == BRIDGE[0]:
        group: dict[str, Any] = {"judge": None, "trajectories": [case.body["trajectory"]]}
        mend(group)
        case.body["trajectory"] = group["trajectories"][0]


def tried(examples: int) -> hypothesis.settings:
    """Return settings by which each run tries the same examples."""
    return hypothesis.settings(
        max_examples=examples,
        suppress_health_check=list(hypothesis.HealthCheck),
        derandomize=True,
        database=None,
    )


@pytest.mark.parametrize("label", OPERATIONS)
def test_every_answer_matches_the_schema(label: str, schema: schemathesis.BaseSchema) -> None:
    method, path = label.split()
    operation = schema[path][method]

    @tried(EXAMPLES.get(label, 5))
    @hypothesis.given(operation.as_strategy(), st.booleans())
    def asked(case: schemathesis.Case[Any], mended: bool) -> None:
        if label == "POST /rank":
            group: Any = case.body
            group.pop("deadline_s", None)  # 1e-309 s rightly end in a 504
            if mended:
                mend(group)
        answer = case.call_and_validate(checks=CHECKS, headers=KEY, timeout=20)
        seen.add(answer.status_code)

    seen: set[int] = set()
    asked()
    assert seen & {200, 201, 404}  # it was not only refused
    assert not seen & {401, 403}


@pytest.mark.parametrize("label", BRIDGE)
def test_every_answer_of_the_bridge_matches_the_schema(
    label: str, schema: schemathesis.BaseSchema
) -> None:
    method, path = label.split()
    operation = schema[path][method]

    @tried(40)
    @hypothesis.given(operation.as_strategy(), st.booleans())
    def asked(case: schemathesis.Case[Any], mended: bool) -> None:
        hasten(case, mended)
        answer = case.call_and_validate(checks=CHECKS[1:], headers=KEY, timeout=20)
        assert answer.status_code != 500
        seen.add(answer.status_code)

    seen: set[int] = set()
    asked()
    assert 200 in seen
    assert not seen & {401, 403}


@pytest.mark.parametrize("label", OPERATIONS + BRIDGE)
def test_only_the_probes_answer_without_a_key(label: str, schema: schemathesis.BaseSchema) -> None:
    method, path = label.split()
    operation = schema[path][method]

    @tried(5)
    @hypothesis.given(operation.as_strategy())
    def asked(case: schemathesis.Case[Any]) -> None:
        answer = case.call_and_validate(checks=CHECKS, timeout=20)
        if path in OPEN_PATHS:
            assert answer.status_code == 200
        else:
            assert answer.status_code == 401
            assert answer.headers["content-type"] == ["application/problem+json"]
            assert answer.json()["code"] == "unauthorized"

    asked()
