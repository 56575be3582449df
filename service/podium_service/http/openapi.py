"""The parts of the published OpenAPI document that FastAPI cannot derive from the routes.

Routes read their bodies through `body.py`, so their signatures name no request model.
"""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from podium_service import errors
from podium_service.schemas import BatchLine, BatchRequest, Problem, RankRequest

_REF = "#/components/schemas/{model}"


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """Return `openapi_extra` for a route that reads a `model` from its body."""
    content = {"application/json": {"schema": model_ref(model)}}
    return {"requestBody": {"required": True, "content": content}}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return `responses` for a route: the problems of each status, described by their codes."""
    responses: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        codes = [error.code for error in errors.leaves() if error.status == status]
        responses[status] = {
            "description": ", ".join(codes),
            "content": {"application/problem+json": {"schema": model_ref(Problem)}},
        }
    return responses


def model_ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Return the app's OpenAPI document, including the models that no route signature names."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        models: list[type[BaseModel]] = [RankRequest, BatchRequest, BatchLine, Problem]
        _, definitions = models_json_schema(
            [(model, "validation") for model in models], ref_template=_REF
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(definitions["$defs"])
        app.openapi_schema = document
    return app.openapi_schema
