"""The parts of the published OpenAPI document that FastAPI cannot derive from the routes.

Routes read their bodies through `body.py`, so their signatures name no request model.
"""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from podium_service import errors
from podium_service.http.access.api_key import OPEN_PATHS, SCOPES
from podium_service.http.openapi import examples
from podium_service.schemas import (
    BatchLine,
    BatchRequest,
    JoinRequest,
    KeyChange,
    KeyRequest,
    Problem,
    RankRequest,
)
from podium_service.schemas.people import NoteRequest, OrderRequest
from podium_service.telemetry.routes import unversioned

_REF = "#/components/schemas/{model}"


_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, made by `podium keys create`, with the scope for the path: "
    f"{', '.join(SCOPES)}. A service without any keys asks for none.",
}


def json_body(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """Return `openapi_extra` for a route that reads a `model` from its body."""
    content = {"application/json": {"schema": model_ref(model), "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def query_parameters(model: type[BaseModel]) -> dict[str, Any]:
    """Return `openapi_extra` for a route that reads a `model` from its query."""
    schema = _schema(model)
    required = schema.get("required", [])
    parameters = [
        {"in": "query", "name": name, "required": name in required, "schema": field}
        for name, field in schema["properties"].items()
    ]
    return {"parameters": parameters}


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return `responses` for a route: the problems of each status, described by their codes."""
    responses: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        kinds = [error for error in errors.leaves() if error.status == status]
        example = kinds[0]("one line: the value, the rule, and what to do")
        content = {"schema": model_ref(Problem), "example": example.problem("8b0f6d2c91aa4e57")}
        responses[status] = {
            "description": ", ".join(kind.code for kind in kinds),
            "content": {"application/problem+json": content},
        }
    return responses


def json_response(status: int, example: Any) -> dict[int | str, dict[str, Any]]:
    """Return `responses` for a route: an example of its answer."""
    return {status: {"content": {"application/json": {"example": example}}}}


def ranking_response() -> dict[int | str, dict[str, Any]]:
    """Return `responses` for a route that answers with a ranking."""
    return json_response(200, examples.RANKING)


def lines_response() -> dict[int | str, dict[str, Any]]:
    """Return `responses` for a route that streams a line for each group."""
    example = json.dumps(examples.LINE) + "\n"
    content = {"schema": model_ref(BatchLine), "example": example}
    return {200: {"content": {"application/x-ndjson": content}}}


def model_ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}


def openapi_document(app: FastAPI, more_models: Sequence[type[BaseModel]]) -> dict[str, Any]:
    """Return the app's OpenAPI document, including the models that no route signature names.

    Args:
        app: the app, whose document is made once.
        more_models: models of bodies that are not in `schemas`, because trainers define them.
    """
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        models: list[type[BaseModel]] = [
            RankRequest,
            BatchRequest,
            BatchLine,
            Problem,
            JoinRequest,
            KeyRequest,
            KeyChange,
            NoteRequest,
            OrderRequest,
            *more_models,
        ]
        _, definitions = models_json_schema(
            [(model, "validation") for model in models], ref_template=_REF
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(definitions["$defs"])
        document["components"]["securitySchemes"] = {"bearer": _BEARER}
        for path, operations in document["paths"].items():
            for operation in operations.values():
                # The empty alternative stands for a service that has no keys.
                operation["security"] = (
                    [] if unversioned(path) in OPEN_PATHS else [{"bearer": []}, {}]
                )
        app.openapi_schema = document
    return app.openapi_schema
