"""The words of an endpoint reach the caller, whatever form its error has."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium_service.judges.endpoint.refusals.words import MAX_CHARS, read_words

WORDS = "max_completion_tokens is unknown here"


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": WORDS, "type": "invalid_request_error", "param": None, "code": None}},
        {"error": {"message": WORDS, "code": 400}},
        {"error": WORDS, "error_type": "validation"},
        {"error": [WORDS]},
        {"error": {"error": {"message": WORDS}}},
        {"errors": [WORDS]},
        {"errors": [{"code": 7003, "message": WORDS}], "success": False, "result": None},
        [{"error": {"code": 400, "message": WORDS, "status": "INVALID_ARGUMENT"}}],
        {"type": "error", "error": {"type": "invalid_request_error", "message": WORDS}},
        {"object": "error", "message": WORDS, "type": "BadRequestError", "code": 400},
        {"detail": WORDS},
        {"detail": {"error": WORDS}},
        {"message": WORDS},
        {"Message": WORDS},
        {"msg": WORDS},
        {"error_description": WORDS},
        {"fault": {"faultstring": WORDS, "detail": {"errorcode": "x"}}},
        {"error": {"message": "", "metadata": {"raw": json.dumps({"error": {"message": WORDS}})}}},
        {"error": {"message": json.dumps({"error": {"message": WORDS}})}},
        {"error": {"message": json.dumps([{"error": {"message": WORDS}}])}},
        WORDS,
        f"  {WORDS}\n",
    ],
)
def test_the_words_are_found_and_nothing_else(body: Any) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    assert read_words(content.encode()).text == WORDS


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"detail": [{"type": "extra_forbidden", "loc": ["body", "max_completion_tokens"],
                      "msg": "Extra inputs are not permitted", "input": 4640}]},
         "body.max_completion_tokens: Extra inputs are not permitted"),
        ({"detail": [{"loc": ["body", 0, "a"], "msg": "x"}, {"loc": ["b"], "msg": "y"}]},
         "body.0.a: x; b: y"),
        ({"object": "error", "message": {"detail": [{"loc": ["body", "seed"], "msg": "no"}]}},
         "body.seed: no"),
        ({"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "seed is odd"},
         "seed is odd; Bad Request"),
        ({"error": {"message": "no", "code": "bad_seed"}}, "no (bad_seed)"),
        ({"error": {"message": "Provider returned error", "code": 400, "metadata":
                    {"raw": '{"message":"seed is odd"}', "provider_name": "P"}}},
         "Provider returned error; seed is odd"),
        ("<!doctype html><html><head><title>502 Bad Gateway</title><style>a{}</style></head>"
         "<body><h1>502&nbsp;Bad Gateway</h1><p>nginx</p></body></html>",
         "502 Bad Gateway 502 Bad Gateway nginx"),
        ("upstream says: {\"error\": {\"message\": \"seed is odd\"}}",
         "upstream says: {\"error\": {\"message\": \"seed is odd\"}}"),
        ({"whatever": [1, 2]}, '{"whatever": [1, 2]}'),
        ("", ""),
        ("null", "null"),
    ],
)  # fmt: skip
def test_forms_with_more_than_one_text_are_read(body: Any, text: str) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    assert read_words(content.encode()).text == text


def test_codes_are_found_at_any_depth() -> None:
    body = {"error": {"code": "content_filter", "message": "x", "innererror": {"code": "Policy"}}}
    assert {"content_filter", "policy"} <= read_words(json.dumps(body).encode()).codes


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["error", "message", "detail", "msg", "loc", "code", "raw", "x"]), inner
        )
    ),
)


@given(JSON)
def test_no_body_is_too_odd_to_be_read(body: Any) -> None:
    words = read_words(json.dumps(body).encode())
    assert len(words.text) <= MAX_CHARS
    assert words.text == " ".join(words.text.split())


@given(st.binary(max_size=200))
def test_no_bytes_are_too_odd_to_be_read(content: bytes) -> None:
    assert len(read_words(content).text) <= MAX_CHARS


def test_deep_and_long_bodies_are_read_in_part() -> None:
    deep = '{"error":' * 500 + "1" + "}" * 500
    assert read_words(deep.encode()).text.startswith('{"error"')
    assert len(read_words(b'{"error": "' + b"x" * 10**6 + b'"}').text) == MAX_CHARS
