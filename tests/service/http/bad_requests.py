"""Bodies that are refused, with the field and the rule that the answer must name."""

import json
from dataclasses import dataclass, field
from typing import Any

from podium_service.schemas import MAX_BODY_BYTES
from tests.service.helpers import chat, group

MARKER = "zebra-7f3a91"
JSON = {"Content-Type": "application/json"}
REFERENCE = {"reference": "5"}


def good(**fields: Any) -> dict[str, Any]:
    """Return a valid group full of `MARKER`, which no response may repeat."""
    return group(MARKER, f"{MARKER} {MARKER}", task=MARKER, **REFERENCE, **fields)


def but(path: str, value: Any) -> dict[str, Any]:
    """Return the valid group with another value at a path such as `trajectories.0.id`."""
    changed = good()
    place: Any = changed
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        place = place[part]
    place[last] = value
    return changed


def without(path: str) -> dict[str, Any]:
    """Return the valid group without the value at a path."""
    changed = but(path, None)
    *parents, last = path.split(".")
    place: Any = changed
    for part in parents:
        place = place[int(part) if part.isdigit() else part]
    del place[last]
    return changed


def ends_with(*messages: dict[str, Any]) -> dict[str, Any]:
    """Return the valid group with these messages at the end of its first trajectory."""
    return but("trajectories.0.messages", [*chat(MARKER), *messages])


def many(num_trajectories: int) -> dict[str, Any]:
    trajectories = [{"id": f"t{i}", "messages": chat(MARKER)} for i in range(num_trajectories)]
    return {"trajectories": trajectories, **REFERENCE}


def call(**changes: Any) -> dict[str, Any]:
    """Return an assistant message with the call `c1` of the tool `look`."""
    tool_call = {"id": "c1", "type": "function", "function": {"name": "look"}} | changes
    return {"role": "assistant", "content": None, "tool_calls": [tool_call]}


def nested(depth: int) -> Any:
    value: Any = MARKER
    for _ in range(depth):
        value = [value]
    return value


@dataclass(frozen=True)
class Bad:
    """A bad body, and its refusal: the response must contain `place` and `rule`."""

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
    Bad("a list", [good()], "body", "an object"),
    Bad("a string", MARKER, "body", "an object"),
    Bad("null", None, "body", "an object"),
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
    Bad("no trajectory", many(0), "trajectories", "a trajectory or more, not 0"),
    Bad("65 trajectories", many(65), "trajectories", "at most 64"),
    Bad("10,000 trajectories", many(10_000), "trajectories", "at most 64"),
    Bad("trajectories null", but("trajectories", None), "trajectories", "list"),
    Bad("trajectories a string", but("trajectories", MARKER), "trajectories", "list"),
    Bad("a trajectory that is text", but("trajectories.1", MARKER), "trajectories.1", "an object"),
    Bad("a duplicate id", but("trajectories.1.id", "t0"), "trajectories", "ids must be unique"),
    Bad("an empty id", but("trajectories.1.id", ""), "trajectories.1.id", "at least 1"),
    Bad("an id of 257", but("trajectories.1.id", MARKER * 30), "trajectories.1.id", "at most 256"),
    Bad("an id that is a boolean", but("trajectories.1.id", True), "trajectories.1.id", "string"),
    Bad("no id", without("trajectories.1.id"), "trajectories.1.id", "required"),
    Bad("an unknown field", good(temperature=MARKER), "temperature", "not permitted"),
    Bad("a misspelt field", good(refrence=MARKER), "refrence", "the nearest one is reference"),
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
    Bad("a reference that is a list", but("reference", [5]), "reference", "string"),
    Bad("tools that are an object", good(tools={"name": MARKER}), "tools", "list"),
    Bad("a tool that is a string", good(tools=[MARKER]), "tools.0", "an object"),
    Bad("metadata that is a list", good(metadata=[MARKER]), "metadata", "an object"),
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
    Bad("messages a string", but("trajectories.0.messages", MARKER), "messages", "list"),
    Bad("a message that is a string", ends_with(MARKER), MESSAGE, "an object"),  # type: ignore[arg-type]
    Bad("no role", ends_with({"content": MARKER}), f"{MESSAGE}.role", "required"),
    Bad("a wrong role", ends_with({"role": MARKER, "content": "x"}), f"{MESSAGE}.role", "'system'"),
    *(
        Bad(
            f"an image {what}", ends_with({"role": "user", "content": [part]}),
            f"{MESSAGE}.content.0{place}", rule,
        )
        for what, part, place, rule in [
            ("that is a word", {"type": "image_url", "image_url": MARKER}, ".image_url", "no im"),
            ("without a URL", {"type": "image_url", "image_url": {}}, ".image_url", "its data or"),
            ("in a file by id", {"type": "input_image", "file_id": MARKER}, "", "its data or its"),
            ("over http", {"type": "image_url", "image_url": {"url": f"http://{MARKER}/a.png"}},
             ".image_url.url", "no other scheme"),
            ("in a file", {"type": "image_url", "image_url": {"url": f"file:///{MARKER}"}},
             ".image_url.url", "no other scheme"),
            ("without a host", {"type": "input_image", "image_url": f"https:///{MARKER}"},
             ".image_url", "needs a host"),
            ("with an odd host", {"type": "input_image", "image_url": f"https://[{MARKER}"},
             ".image_url", "needs a host"),
            ("at a long URL", {"type": "input_image", "image_url": "https://a.b/" + "c" * 8192},
             ".image_url", "at most 8192 characters"),
            ("that is SVG",
             {"type": "input_image", "image_url": "data:image/svg+xml;base64,PHN2Zz4="},
             ".image_url", "no image of a type that judges take"),
            ("that is PDF", {"inline_data": {"mime_type": "application/pdf", "data": "JVBERi0="}},
             ".inline_data.data", "no image of a type that judges take"),
            ("not in base64", {"type": "input_image", "image_url": f"data:image/png,{MARKER}"},
             ".image_url", "must be in base64"),
            ("in broken base64", {"type": "image", "source": {
                "type": "base64", "media_type": "image/png", "data": f"{MARKER}!"}},
             ".source.data", "this is not base64"),
            ("that is empty", {"type": "image", "source": {
                "type": "base64", "media_type": "image/png", "data": ""}},
             ".source.data", "this image is empty"),
        ]
    ),
    Bad(
        "an audio part",
        ends_with({"role": "user", "content": [{"type": "input_audio", "input_audio": MARKER}]}),
        f"{MESSAGE}.content.0.type", "'input_audio' is no type that is read: send parts of",
    ),
    Bad(
        "a part whose type is a text",
        ends_with({"role": "user", "content": [{"type": MARKER, "text": MARKER}]}),
        f"{MESSAGE}.content.0.type", "this is no type that is read: send parts of",
    ),
    Bad(
        "a part that is a number", ends_with({"role": "user", "content": [7]}),
        f"{MESSAGE}.content.0", "an object",
    ),
    Bad(
        "a text part without text",
        ends_with({"role": "user", "content": [{"type": "text", "value": MARKER}]}),
        f"{MESSAGE}.content.0.text", "required",
    ),
    Bad(
        "a user who calls a tool", ends_with({**call(), "role": "user"}), MESSAGE,
        "only an assistant message may carry tool_calls",
    ),
    Bad(
        "a legacy call of a user",
        ends_with({"role": "user", "content": "", "function_call": {"name": "look"}}), MESSAGE,
        "only an assistant message may carry tool_calls",
    ),
    Bad(
        "a legacy call without a name",
        ends_with({"role": "assistant", "function_call": {"arguments": MARKER}}),
        f"{MESSAGE}.function_call.name", "required",
    ),
    Bad(
        "a call with an id of 4,097", ends_with(call(id="x" * 4097)),
        f"{MESSAGE}.tool_calls.0.id", "at most 4096",
    ),
    Bad(
        "a call whose id is a list", ends_with(call(id=[MARKER])), f"{MESSAGE}.tool_calls.0.id",
        "string",
    ),
    Bad(
        "a call without a name", ends_with(call(function={"arguments": MARKER})),
        f"{MESSAGE}.tool_calls.0.function.name", "required",
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
