"""The API keys in the store: make, list, edit and revoke them.

All functions raise StoreUnavailable if the database does not answer.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import sqlalchemy as sa

from podium_service.errors import InvalidRequest, NotFound
from podium_service.http.access.api_key import APIKey, Scope, describe_key, require_valid
from podium_service.store.database.tables import API_KEYS
from podium_service.store.quotas.spend import SpendLimit, api_key_account
from podium_service.store.store import SQLStore


async def add_key(store: SQLStore, key: APIKey) -> None:
    """Insert a new key."""
    insert = sa.insert(API_KEYS).values(_row_of(key))
    await store.run_in_transaction(lambda connection: connection.execute(insert))


async def list_keys(store: SQLStore) -> list[APIKey]:
    """Return all keys ever created, oldest first."""
    query = sa.select(API_KEYS).order_by(API_KEYS.c.created_at, API_KEYS.c.id)
    return [_key_from_row(row) for row in await store.select(query)]


async def describe_keys(
    store: SQLStore, keys: Sequence[APIKey] | None = None
) -> list[dict[str, Any]]:
    """Return the public view of keys with their spending; by default of all, oldest first."""
    keys = await list_keys(store) if keys is None else keys
    accounts = [api_key_account(key.id, key.spend_limit) for key in keys]
    spent = await store.quotas.read_spending(filter(None, accounts), at=time.time())
    return [
        describe_key(key, spent.get(account) if account else None)
        for key, account in zip(keys, accounts, strict=True)
    ]


async def revoke_key(store: SQLStore, key_id: str) -> APIKey:
    """Revoke a key; a key that was revoked earlier keeps its first revocation time.

    Raises:
        NotFound: If there is no such key.
    """
    update = (
        sa.update(API_KEYS)
        .where(_is_named(key_id), API_KEYS.c.revoked_at.is_(None))
        .values(revoked_at=time.time())
    )
    await store.run_in_transaction(lambda connection: connection.execute(update))
    for key in await list_keys(store):
        if key.id == key_id:
            return key
    raise _not_found(key_id)


async def edit_key(store: SQLStore, key_id: str, changes: Mapping[str, Any]) -> APIKey:
    """Change a key, and return it as it is now; its text stays.

    Args:
        changes: new values of `APIKey`'s attributes name, owner, scopes, requests_per_minute,
            spend_limit, expires_at.

    Raises:
        NotFound: If there is no such key.
        InvalidRequest: If it is revoked.
        ConfigError: If a new value is not allowed.
    """
    own = _is_named(key_id)

    def edit(connection: sa.Connection) -> APIKey:
        row = connection.execute(sa.select(API_KEYS).where(own).with_for_update()).one_or_none()
        if row is None:
            raise _not_found(key_id)
        key = _key_from_row(row)
        if key.revoked_at:
            raise InvalidRequest(f"key {key_id} is revoked: make a new one")
        key = replace(key, **changes)
        require_valid(key.name, key.scopes, key.owner)
        connection.execute(sa.update(API_KEYS).where(own).values(_row_of(key)))
        return key

    return await store.run_in_transaction(edit)


def _is_named(key_id: str) -> sa.ColumnElement[bool]:
    if not (key_id.isascii() and key_id.isalnum()):  # a database may refuse a NUL
        raise _not_found(key_id)
    return API_KEYS.c.id == key_id


def _not_found(key_id: str) -> NotFound:
    return NotFound(f"no key {key_id[:64]!r}: see podium keys list")


def _row_of(key: APIKey) -> dict[str, Any]:
    limit = key.spend_limit
    return {
        "id": key.id,
        "name": key.name,
        "owner": key.owner,
        "secret_sha256": key.secret_sha256,
        "scopes": " ".join(sorted(key.scopes)),
        "requests_per_minute": key.requests_per_minute,
        "spend_usd": limit.usd if limit else None,
        "spend_per": limit.per if limit else None,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }


def _key_from_row(row: sa.Row[Any]) -> APIKey:
    limited = row.spend_usd is not None
    return APIKey(
        id=row.id,
        name=row.name,
        owner=row.owner,
        secret_sha256=row.secret_sha256,
        scopes=frozenset(cast(list[Scope], row.scopes.split())),
        requests_per_minute=row.requests_per_minute,
        spend_limit=SpendLimit(usd=row.spend_usd, per=row.spend_per) if limited else None,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
