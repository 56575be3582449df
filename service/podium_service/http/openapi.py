"""The published form of the wire: `body.py` parses bodies, so FastAPI is told of them here."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from podium_service import errors
from podium_service.schemas import BatchLine, BatchRequest, Problem, RankRequest

_REF = "#/components/schemas/{model}"


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` for a route that reads a `model` from its body."""
    schema = {"$ref": _REF.format(model=model.__name__)}
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


def problem_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route: the problems it may answer with, by status, with their codes."""
    answers: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        codes = [error.code for error in errors.leaves() if error.status == status]
        answers[status] = {
            "description": ", ".join(codes),
            "content": {
                "application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}
            },
        }
    return answers


def described(app: FastAPI) -> dict[str, Any]:
    """The app's OpenAPI document, with the models that no route signature names."""
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
