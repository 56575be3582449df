"""The API keys in the store, and the cache of them that checks each request's key.

`podium keys` creates and revokes keys; every process of the service notices within 2 s. All
functions raise StoreUnavailable if the database does not answer.
"""

import asyncio
import time
from base64 import b64decode
from collections.abc import Callable, Sequence
from hmac import compare_digest
from typing import Any, cast

import sqlalchemy as sa
import structlog

from podium_service.errors import NotFound, StoreUnavailable, Unauthorized
from podium_service.http.access.api_key import (
    UNRESTRICTED,
    APIKey,
    Scope,
    describe_key,
    hash_secret,
    split_text,
)
from podium_service.store.database.tables import API_KEYS
from podium_service.store.quotas.spend import SpendLimit, api_key_account
from podium_service.store.store import SQLStore

MAX_AGE_S = 2.0
MAX_AGE_FOR_UNKNOWN_KEY_S = 0.5  # shorter, because the key may have been created just now
MAX_AGE_WITHOUT_STORE_S = 60.0  # later no key is accepted, because it may have been revoked
_WAIT_S = 1.0

log = structlog.get_logger(__name__)


async def add_key(store: SQLStore, key: APIKey) -> None:
    """Insert a new key."""
    limit = key.spend_limit
    row = {
        "id": key.id,
        "name": key.name,
        "secret_sha256": key.secret_sha256,
        "scopes": " ".join(sorted(key.scopes)),
        "requests_per_minute": key.requests_per_minute,
        "spend_usd": limit.usd if limit else None,
        "spend_per": limit.per if limit else None,
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
    }
    await store.run_in_transaction(lambda connection: connection.execute(sa.insert(API_KEYS), row))


async def list_keys(store: SQLStore) -> list[APIKey]:
    """Return all keys ever created, oldest first."""
    query = sa.select(API_KEYS).order_by(API_KEYS.c.created_at, API_KEYS.c.id)
    return [_key_from_row(row) for row in await store.select(query)]


async def describe_keys(store: SQLStore) -> list[dict[str, Any]]:
    """Return the public view of all keys ever created, oldest first, with their spending."""
    keys = await list_keys(store)
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
        .where(API_KEYS.c.id == key_id, API_KEYS.c.revoked_at.is_(None))
        .values(revoked_at=time.time())
    )
    await store.run_in_transaction(lambda connection: connection.execute(update))
    for key in await list_keys(store):
        if key.id == key_id:
            return key
    raise NotFound(f"no key {key_id[:64]!r}: see podium keys list")


def _key_from_row(row: sa.Row[Any]) -> APIKey:
    limited = row.spend_usd is not None
    return APIKey(
        id=row.id,
        name=row.name,
        secret_sha256=row.secret_sha256,
        scopes=frozenset(cast(list[Scope], row.scopes.split())),
        requests_per_minute=row.requests_per_minute,
        spend_limit=SpendLimit(usd=row.spend_usd, per=row.spend_per) if limited else None,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )


def read_key_text(authorization: str) -> str:
    """Return the text of the key in an Authorization header; "" if it holds none.

    `Basic` is for trainers that can set nothing but a URL: in `http://podium:KEY@host:8000/` the
    key is the password, and any name will do.
    """
    scheme, _, rest = authorization.partition(" ")
    text = rest.strip(" \t")
    if scheme.lower() == "bearer":
        return text
    if scheme.lower() != "basic":
        return ""
    try:
        pair = b64decode(text, validate=True).decode()
    except ValueError:  # of base64 or of UTF-8
        return ""
    return pair.partition(":")[2]


class APIKeyCache:
    """Finds the key of a request in a copy of the store's keys.

    The copy is at most `MAX_AGE_S` old while the store answers. While the store does not answer,
    the last copy is used for `MAX_AGE_WITHOUT_STORE_S`.

    If there is no key, neither in the store nor in the environment, every request is allowed.

    Args:
        environment: texts of keys that have every scope and no limits.
    """

    def __init__(
        self,
        store: SQLStore,
        environment: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._environment = [hash_secret(text) for text in environment]
        self._clock = clock
        self._keys: dict[str, APIKey] = {}
        # Never reset, because a store that lost its keys must not open the service to everybody.
        self._keys_required = bool(environment)
        self._read_at = self._tried_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def authenticate(self, authorization: str) -> APIKey:
        """Return the key in an Authorization header; `UNRESTRICTED` if no key is required.

        Raises:
            Unauthorized: If the header holds no key, or an unknown or revoked one.
            StoreUnavailable: If the keys were not read for `MAX_AGE_WITHOUT_STORE_S`.
        """
        text = read_key_text(authorization)
        # A list, because a generator would stop at the match, and the time would tell which it was.
        matches = [compare_digest(hash_secret(text), each) for each in self._environment]
        if any(matches):
            return UNRESTRICTED
        await self._refresh(MAX_AGE_S)
        if not self._keys_required:
            return UNRESTRICTED
        key = self._find(text)
        if key is None and text:
            await self._refresh(MAX_AGE_FOR_UNKNOWN_KEY_S)
            key = self._find(text)
        if key is None:
            raise Unauthorized("authorization is not a known key: send `Authorization: Bearer KEY`")
        return key

    def _find(self, text: str) -> APIKey | None:
        key_id, secret = split_text(text)
        key = self._keys.get(key_id)
        return key if key and key.accepts(secret) else None

    async def _refresh(self, max_age_s: float) -> None:
        """Read the keys again if the copy is older; concurrent callers share one read."""
        now = self._clock()
        if self._reading is None:
            if now - self._tried_at < max_age_s:
                return self._require_fresh()
            self._tried_at = now
            self._reading = asyncio.create_task(self._read(now))
        # Counted from the start of the read, so that a frozen store delays only the first callers.
        left_s = max(0.0, self._tried_at + _WAIT_S - self._clock())
        await asyncio.wait({self._reading}, timeout=left_s)
        self._require_fresh()

    async def _read(self, now: float) -> None:
        try:
            self._keys = {key.id: key for key in await list_keys(self._store)}
            self._keys_required |= bool(self._keys)
            self._read_at = now
        except StoreUnavailable as error:
            log.warning("keys_not_read", detail=error.detail)
        finally:
            self._reading = None

    def _require_fresh(self) -> None:
        if self._clock() - self._read_at > MAX_AGE_WITHOUT_STORE_S:
            raise StoreUnavailable("the API keys cannot be read: the store does not answer")
