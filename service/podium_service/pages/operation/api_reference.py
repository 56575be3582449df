"""The reference of the HTTP API: each operation with its fields, examples and a curl command."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from podium_service.pages.frame import Frame, render
from podium_service.pages.operation.openapi_types import (
    Field,
    model_fields,
    model_name,
    parameter_fields,
)

_SECTIONS = {  # by the beginning of the path, in the order of the page
    "rank": "Rank groups",
    "rankings": "Read rankings",
    "runs": "Read runs",
    "judges": "Judges",
    "keys": "Keys",
    "spend": "Spend",
    "bridge": "Rewards for trainers with their own form",
}
_OTHERS = "Health and metrics"


@dataclass(frozen=True)
class Answer:
    """One status that an operation may answer with.

    Attributes:
        model: the name of the body's model; "" if it has none.
        example: as text; "" if there is none.
    """

    status: str
    text: str
    model: str
    example: str

    @property
    def is_ok(self) -> bool:
        return self.status.startswith("2")


@dataclass(frozen=True)
class Operation:
    """One path with one method.

    Attributes:
        scope: what an API key needs; "" if no key is needed.
        model: the name of the request body's model; "" if there is no body.
        body: the fields of that model.
    """

    id: str
    method: str
    path: str
    text: str
    scope: str
    parameters: list[Field]
    model: str
    body: list[Field]
    answers: list[Answer]
    curl: str


@dataclass(frozen=True)
class Model:
    """A model that bodies are made of."""

    name: str
    text: str
    fields: list[Field]


def render_reference(
    frame: Frame, document: Mapping[str, Any], scopes: Mapping[tuple[str, str], str]
) -> str:
    """Return the reference of the API.

    Args:
        document: the OpenAPI document.
        scopes: what an API key needs, by path and method, where one is needed.
    """
    sections: dict[str, list[Operation]] = {}
    for operation in read_operations(document, scopes, frame.base_url):
        sections.setdefault(_section(operation.path), []).append(operation)
    order = [*_SECTIONS.values(), _OTHERS]
    return render(
        "api",
        frame,
        sections=sorted(sections.items(), key=lambda each: order.index(each[0])),
        models=read_models(document),
        openapi_url=frame.url("/openapi.json"),
        code=mark_code,
    )


def mark_code(text: str) -> Markup:
    """Return HTML of a description, in which what stands between backticks is code."""
    parts = [escape(part) for part in text.split("`")]
    if not len(parts) % 2:  # one of them stands alone
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else part
        for index, part in enumerate(parts)
    )


def read_operations(
    document: Mapping[str, Any], scopes: Mapping[tuple[str, str], str], base_url: str
) -> Iterator[Operation]:
    """Yield the operations of a document; a path that is also there under `/v1` only as that."""
    paths = document["paths"]
    for path, operations in paths.items():
        if f"/v1{path}" not in paths:
            for method, operation in operations.items():
                scope = scopes.get((path, method), "")
                yield _operation(document, path, method, operation, scope, base_url)


def read_models(document: Mapping[str, Any]) -> list[Model]:
    """Return the models of a document by name, but not FastAPI's own of errors."""
    schemas = document.get("components", {}).get("schemas", {})
    return [
        Model(name, str(schema.get("description", "")), model_fields(schema))
        for name, schema in sorted(schemas.items())
        if name not in ("HTTPValidationError", "ValidationError")
    ]


def curl_command(
    base_url: str, method: str, path: str, parameters: list[Field], body: Any, *, needs_key: bool
) -> str:
    """Return the command that calls an operation; a shell variable stands for each parameter.

    All characters but ASCII are escapes, and so is the quote that would end the body.
    """
    query = "&".join(
        f"{each.name}={_variable(each.name)}"
        for each in parameters
        if each.place == "query" and each.is_required
    )
    for each in parameters:
        if each.place == "path":
            path = path.replace(f"{{{each.name}}}", _variable(each.name))
    url = f"{base_url}{path}" + (f"?{query}" if query else "")
    parts = [f'curl "{url}"' if "$" in url else f"curl {url}"]
    if method != "get" and not (method == "post" and body is not None):
        parts.append(f"-X {method.upper()}")
    if needs_key:
        parts.append('-H "Authorization: Bearer $PODIUM_API_KEY"')
    if body is not None:
        text = json.dumps(body, indent=1).replace("'", "\\u0027")
        parts += ["-H 'Content-Type: application/json'", f"-d '{text}'"]
    return " \\\n  ".join(parts)


def _operation(
    document: Mapping[str, Any],
    path: str,
    method: str,
    operation: Mapping[str, Any],
    scope: str,
    base_url: str,
) -> Operation:
    parameters = parameter_fields(operation.get("parameters", []))
    content: dict[str, Any] = next(
        iter(operation.get("requestBody", {}).get("content", {}).values()), {}
    )
    model = model_name(content.get("schema", {}))
    schema = document["components"]["schemas"].get(model, {})
    body = content.get("example")
    return Operation(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        text=str(operation.get("description") or operation.get("summary", "")),
        scope=scope,
        parameters=parameters,
        model=model,
        body=model_fields(schema),
        answers=[
            _answer(status, answer) for status, answer in sorted(operation["responses"].items())
        ],
        curl=curl_command(base_url, method, path, parameters, body, needs_key=bool(scope)),
    )


def _answer(status: str, answer: Mapping[str, Any]) -> Answer:
    content: dict[str, Any] = next(iter(answer.get("content", {}).values()), {})
    example = content.get("example", "")
    if example and not isinstance(example, str):
        example = json.dumps(example, indent=1, ensure_ascii=False)
    text = str(answer.get("description", ""))
    return Answer(
        status,
        "" if text == "Successful Response" else text,
        model_name(content.get("schema", {})),
        example,
    )


def _section(path: str) -> str:
    return _SECTIONS.get(path.removeprefix("/v1").split("/")[1], _OTHERS)


def _variable(name: str) -> str:
    return f"${name.upper()}"
