"""The routes that make, list, edit and revoke API keys; `podium keys` does the same on a store."""

from typing import Any

import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel

from podium_service import schemas
from podium_service.http.access import api_key, api_key_store
from podium_service.http.access.api_key import APIKey
from podium_service.http.access.api_key_cache import APIKeyCache
from podium_service.http.openapi import examples
from podium_service.http.openapi.document import json_body, json_response, problem_responses
from podium_service.http.requests.body import read_json, validate
from podium_service.http.service import Service
from podium_service.store.quotas.spend import SpendLimit
from podium_service.telemetry import routes

_MAX_BODY_BYTES = 65_536
_OF_BODY = problem_responses(400, 408, 413, 415, 422, 429, 431)
_OF_KEY = problem_responses(404, 422) | json_response(200, examples.KEY)

log = structlog.get_logger(__name__)


def key_routes(service: Service, api_keys: APIKeyCache) -> APIRouter:
    """Return the routes under `/keys`, which expire the keys' cache after each change."""
    router = APIRouter(responses=problem_responses(401, 403, 503))
    store = service.store

    async def describe(key: APIKey) -> schemas.KeyStatus:
        [described] = await api_key_store.describe_keys(store, [key])
        return schemas.KeyStatus.model_validate(described)

    @router.get(routes.KEYS, responses=json_response(200, {"keys": [examples.KEY]}))
    async def list_keys() -> schemas.KeyList:
        """Return all API keys ever made without their secrets, and the spending of each."""
        return schemas.KeyList.model_validate({"keys": await api_key_store.describe_keys(store)})

    @router.post(
        routes.KEYS,
        status_code=201,
        openapi_extra=json_body(schemas.KeyRequest, examples.KEY_REQUEST),
        responses=_OF_BODY | json_response(201, examples.NEW_KEY),
    )
    async def create_key(request: Request) -> schemas.NewKey:
        """Make an API key, and tell it, once: the store keeps only its hash.

        From the first key on, the services on this store answer only requests that bring a key.
        """
        asked = validate(schemas.KeyRequest, await read_json(request, _MAX_BODY_BYTES))
        key, text = api_key.create_key(**key_fields(asked))
        await api_key_store.add_key(store, key)
        await api_keys.expire()
        _log("key_created", key, request)
        return schemas.NewKey.model_validate({**api_key.describe_key(key), "key": text})

    @router.patch(
        routes.KEY,
        openapi_extra=json_body(schemas.KeyChange, examples.KEY_CHANGE),
        responses=_OF_BODY | _OF_KEY,
    )
    async def edit_key(key_id: str, request: Request) -> schemas.KeyStatus:
        """Change the fields of a key that are sent; its text stays as it is.

        Services on the same store notice within 2 seconds.
        """
        change = validate(schemas.KeyChange, await read_json(request, _MAX_BODY_BYTES))
        key = await api_key_store.edit_key(store, key_id, key_fields(change, exclude_unset=True))
        await api_keys.expire()
        _log("key_edited", key, request)
        return await describe(key)

    @router.delete(routes.KEY, responses=_OF_KEY)
    async def revoke_key(key_id: str, request: Request) -> schemas.KeyStatus:
        """Revoke a key for good; it stays in the list.

        Services on the same store refuse it within 2 seconds.
        """
        key = await api_key_store.revoke_key(store, key_id)
        await api_keys.expire()
        _log("key_revoked", key, request)
        return await describe(key)

    return router


def key_fields(body: BaseModel, *, exclude_unset: bool = False) -> dict[str, Any]:
    """Return the fields of a body as `APIKey` has them."""
    fields = body.model_dump(exclude_unset=exclude_unset)
    if "scopes" in fields:
        fields["scopes"] = frozenset(fields["scopes"])
    if expires_at := fields.get("expires_at"):
        fields["expires_at"] = expires_at.timestamp()
    if limit := fields.get("spend_limit"):
        fields["spend_limit"] = SpendLimit(**limit)
    return fields


def _log(event: str, key: APIKey, request: Request) -> None:
    log.info(event, key=key.id, by=request.state.key.id)
