"""The reference of the API, made from the document that the app publishes."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from podium_service.http.app import create_app
from podium_service.pages.frame import Frame
from podium_service.pages.operation.api_reference import (
    curl_command,
    read_operations,
    render_reference,
)
from podium_service.pages.operation.openapi_types import Field, rules, words
from tests.service.helpers import client, service

pytestmark = pytest.mark.anyio

REF = {"$ref": "#/components/schemas/Usage"}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string"}, "text"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer or null"),
        ({"type": "array", "items": REF}, "list of Usage"),
        ({"enum": ["a", "b"], "type": "string"}, '"a" or "b"'),
        ({"const": 1}, "1"),
        ({"type": "object", "additionalProperties": REF}, "object of Usage"),
        ({"type": "object", "additionalProperties": True}, "object"),
        ({}, "any value"),
    ],
)
def test_a_type_is_said_in_words(schema: dict[str, Any], text: str) -> None:
    assert "".join(word.text for word in words(schema)) == text


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"minLength": 1, "maxLength": 2000}, "1 to 2,000 characters"),
        ({"anyOf": [{"maxItems": 64}, {"type": "null"}]}, "at most 64 items"),
        ({"exclusiveMinimum": 0, "maximum": 3600.0, "default": 120.0},
         "at most 3600, more than 0, default 120.0"),
        ({"minimum": 0.5, "default": None}, "at least 0.5"),
        ({"default": False}, "default false"),
    ],
)  # fmt: skip
def test_bounds_are_said_in_words(schema: dict[str, Any], text: str) -> None:
    assert rules(schema) == text


def test_a_command_can_be_run_by_a_shell() -> None:
    command = curl_command(
        "http://localhost:8000", "post", "/rank", [], {"task": "it's \u202e"}, needs_key=True
    )
    words = shlex.split(command)
    assert words[:2] == ["curl", "http://localhost:8000/rank"]
    assert json.loads(words[-1]) == {"task": "it's \u202e"}
    assert command.isascii()


def test_variables_of_the_shell_stand_for_parameters() -> None:
    names = [Field("key_id", [], True, "", "", "path"), Field("day", [], True, "", "", "query"),
             Field("run", [], False, "", "", "query")]  # fmt: skip
    command = curl_command("http://h", "delete", "/keys/{key_id}", names, None, needs_key=False)
    assert command == 'curl "http://h/keys/$KEY_ID?day=$DAY" \\\n  -X DELETE'


def test_a_path_of_two_versions_is_listed_once() -> None:
    operation = {"get": {"operationId": "x", "responses": {}}}
    document = {"paths": {"/a": operation, "/v1/a": operation}, "components": {"schemas": {}}}
    assert [each.path for each in read_operations(document, {}, "")] == ["/v1/a"]


async def test_the_page_has_every_operation_and_model(tmp_path: Path) -> None:
    async with service(tmp_path) as opened:
        document = create_app(opened).openapi()
        html = render_reference(
            Frame(base_url="http://localhost:8000"), document, {("/v1/rank", "post"): "rank"}
        )
    for operation in read_operations(document, {}, ""):
        assert f'id="{operation.id}"' in html
    links = set(re.findall(r'href="#([\w-]+)"', html)) - {"main"}
    anchors = set(re.findall(r' id="([\w-]+)"', html))
    assert links <= anchors
    assert len(html) < 200_000


@pytest.mark.parametrize("path", ["/docs", "/ui/api"])
async def test_the_reference_is_served_under_the_policy(tmp_path: Path, path: str) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        page = await http.get(path)
        assert page.status_code == 200
        assert "curl http://localhost/" in page.text
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert "<style" not in page.text
        assert " style=" not in page.text


async def test_docs_lead_to_sign_in_where_a_key_is_needed(tmp_path: Path) -> None:
    async with service(tmp_path) as opened, client(opened, api_keys=["sesame"]) as http:
        page = await http.get("/docs")
        assert page.status_code == 303
        assert page.headers["location"] == "/ui/login?next=%2Fdocs"
