"""The API keys of the store: made and revoked by `podium keys`, known to every process in 2 s."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from hmac import compare_digest
from typing import Any, cast

import sqlalchemy as sa
import structlog

from podium_service.errors import NotFound, StoreUnavailable, Unauthorized
from podium_service.http.api_keys import ANYONE, APIKey, Scope, hashed, key_shown, split
from podium_service.store.database.tables import API_KEYS
from podium_service.store.quotas.spend import SpendLimit, api_key_account
from podium_service.store.store import SQLStore

MAX_AGE_S = 2.0
EARLY_AGE_S = 0.5  # for a key that is not known: it may have been made just now
STALE_AGE_S = 60.0  # without the store a key may have been revoked: then nobody is let in
_WAIT_S = 1.0

log = structlog.get_logger(__name__)


async def add_key(store: SQLStore, key: APIKey) -> None:
    """Keep a new key.

    Raises:
        StoreUnavailable: If the database does not take it.
    """
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
    await store.transaction(lambda connection: connection.execute(sa.insert(API_KEYS), row))


async def read_keys(store: SQLStore) -> list[APIKey]:
    """All keys ever made, oldest first.

    Raises:
        StoreUnavailable: If the database does not answer.
    """
    query = sa.select(API_KEYS).order_by(API_KEYS.c.created_at, API_KEYS.c.id)
    return [_key(row) for row in await store.read(query)]


async def shown_keys(store: SQLStore) -> list[dict[str, Any]]:
    """All keys ever made, oldest first, without their secrets, and what each has spent in the
    current period of its limit.

    Raises:
        StoreUnavailable: If the database does not answer.
    """
    keys = await read_keys(store)
    holds = {key.id: hold for key in keys if (hold := api_key_account(key.id, key.spend_limit))}
    spent = await store.ledger.spent(holds.values(), at=time.time())
    return [key_shown(key, spent.get(holds[key.id]) if key.id in holds else None) for key in keys]


async def revoke_key(store: SQLStore, key_id: str) -> APIKey:
    """Let a key open nothing any more; the moment of the first revocation stays.

    Raises:
        NotFound: If there is no such key.
        StoreUnavailable: If the database does not take it.
    """
    for key in await read_keys(store):
        if key.id == key_id:
            break
    else:
        raise NotFound(f"no key {key_id[:64]!r}: see podium keys list")
    now = time.time()
    update = (
        sa.update(API_KEYS)
        .where(API_KEYS.c.id == key_id, API_KEYS.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    await store.transaction(lambda connection: connection.execute(update))
    return key if key.revoked_at else replace(key, revoked_at=now)


def _key(row: sa.Row[Any]) -> APIKey:
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


class Keyring:
    """Tells whose key it is, from a copy of the store's keys that is never older than `MAX_AGE_S`
    while the store answers, and serves for `STALE_AGE_S` while it does not. `environment` are keys
    without an id and without limits.

    A store without any key, and no key in the environment, leave the service open to everybody.
    """

    def __init__(
        self,
        store: SQLStore,
        environment: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._environment = [hashed(key) for key in environment]
        self._clock = clock
        self._keys: dict[str, APIKey] = {}
        self._guarded = bool(environment)  # and stays so, whatever becomes of the store
        self._read_at = self._tried_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def whose(self, authorization: str) -> APIKey:
        """The key in an Authorization header; `ANYONE` where none is needed.

        Raises:
            Unauthorized: If it is none, unknown or revoked.
            StoreUnavailable: If the keys were not read for `STALE_AGE_S`.
        """
        scheme, _, text = authorization.partition(" ")
        given = text.strip(" \t") if scheme.lower() == "bearer" else ""
        known = [compare_digest(hashed(given), each) for each in self._environment]  # all of them
        if any(known):
            return ANYONE
        await self._refresh(MAX_AGE_S)
        if not self._guarded:
            return ANYONE
        key = self._opened_by(given)
        if key is None and given:
            await self._refresh(EARLY_AGE_S)
            key = self._opened_by(given)
        if key is None:
            raise Unauthorized("authorization is not a known key: send `Authorization: Bearer KEY`")
        return key

    def _opened_by(self, given: str) -> APIKey | None:
        key_id, secret = split(given)
        key = self._keys.get(key_id)
        return key if key and key.opens_with(secret) else None

    async def _refresh(self, max_age_s: float) -> None:
        """Read the keys again if the copy is older; once, however many ask."""
        now = self._clock()
        if self._reading is None:
            if now - self._tried_at < max_age_s:
                return self._require_fresh()
            self._tried_at = now
            self._reading = asyncio.create_task(self._read(now))
        # Of a store that does not answer, only who comes first waits long.
        left_s = max(0.0, self._tried_at + _WAIT_S - self._clock())
        await asyncio.wait({self._reading}, timeout=left_s)
        self._require_fresh()

    async def _read(self, now: float) -> None:
        try:
            self._keys = {key.id: key for key in await read_keys(self._store)}
            self._guarded |= bool(self._keys)
            self._read_at = now
        except StoreUnavailable as error:
            log.warning("keys_not_read", detail=error.detail)
        finally:
            self._reading = None

    def _require_fresh(self) -> None:
        if self._clock() - self._read_at > STALE_AGE_S:
            raise StoreUnavailable("the API keys cannot be read: the store does not answer")
