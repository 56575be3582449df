"""Check each request's API key, against a copy of the store's keys.

Every process of the service notices within 2 s what another one or `podium keys` has changed.
"""

import asyncio
import time
from base64 import b64decode
from collections.abc import Callable, Sequence
from hmac import compare_digest

import structlog

from podium_service.errors import KeyExpired, StoreUnavailable, Unauthorized
from podium_service.http.access.api_key import (
    UNRESTRICTED,
    APIKey,
    hash_secret,
    iso_time,
    split_text,
)
from podium_service.http.access.api_key_store import list_keys
from podium_service.store.store import SQLStore

MAX_AGE_S = 2.0
MAX_AGE_FOR_UNKNOWN_KEY_S = 0.5  # shorter, because the key may have been created just now
MAX_AGE_WITHOUT_STORE_S = 60.0  # later no key is accepted, because it may have been revoked
_WAIT_S = 1.0

log = structlog.get_logger(__name__)


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

    async def expire(self) -> None:
        """Have the keys read again for the next request, because one was changed here."""
        if self._reading:  # it may have begun before the change
            await asyncio.wait({self._reading}, timeout=_WAIT_S)
        self._tried_at = float("-inf")

    async def authenticate(self, authorization: str) -> APIKey:
        """Return the key in an Authorization header; `UNRESTRICTED` if no key is required.

        Raises:
            Unauthorized: If the header holds no key, or an unknown or revoked one.
            KeyExpired: If the key has expired.
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
        if key.has_expired:
            raise KeyExpired(
                f"key {key.name!r} expired at {iso_time(key.expires_at or 0.0)}: use another key, "
                "or have its expiry moved"
            )
        return key

    async def are_required(self) -> bool:
        """Return whether requests need a key.

        Raises:
            StoreUnavailable: If the keys cannot be read.
        """
        if not self._keys_required:
            await self._refresh(MAX_AGE_S)
        return self._keys_required

    async def refresh(self) -> None:
        """Read the keys again if the copy is old; raises as `authenticate` does."""
        await self._refresh(MAX_AGE_S)

    def secrets_of(self, key_id: str) -> list[bytes]:
        """Return the hash of a key's secret, or of each key in the environment for an empty id.

        It is empty if there is no such key, or it is revoked or has expired.
        """
        if not key_id:
            return list(self._environment)
        key = self._keys.get(key_id)
        is_valid = key is not None and key.revoked_at is None and not key.has_expired
        return [key.secret_sha256] if key and is_valid else []

    def key_of(self, key_id: str) -> APIKey:
        """Return the key of an id that `secrets_of` knows."""
        return self._keys[key_id]

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
