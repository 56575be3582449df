"""Sessions of people who have signed in to the pages with an API key.

The cookie is `key id . end . nonce . signature`; it holds no key. The signature's secret is derived
from the hash of the key's own secret, so that every process of the service can check it, also after
a restart, and that the end of a key ends its sessions.
"""

import time
from collections.abc import Callable
from hashlib import sha256
from hmac import compare_digest, digest
from secrets import token_urlsafe

from podium_service.errors import Forbidden, Unauthorized
from podium_service.http.access.api_key import UNRESTRICTED, APIKey
from podium_service.http.access.api_key_cache import APIKeyCache

COOKIE = "podium_session"
LIFETIME_S = 12 * 3600
_ENVIRONMENT = "env"  # stands for the id of the environment's key, which has none


class Sessions:
    """Opens and checks sessions of the keys in a cache."""

    def __init__(self, api_keys: APIKeyCache, clock: Callable[[], float] = time.time) -> None:
        self._api_keys = api_keys
        self._clock = clock

    async def open(self, key_text: str) -> str:
        """Return the cookie of a new session.

        Raises:
            Unauthorized, KeyExpired: If the text is not a known key, or the key has expired.
            StoreUnavailable: If the keys cannot be read.
        """
        key = await self._api_keys.authenticate(f"Bearer {key_text.strip()}")
        key_id = key.id or _ENVIRONMENT
        ends_at = int(self._clock() + LIFETIME_S)
        payload = f"{key_id}.{ends_at}.{token_urlsafe(12)}"
        for secret in self._api_keys.secrets_of(key.id):
            # The environment may name several keys: the first that signs is as good as any.
            return f"{payload}.{_sign(secret, payload)}"
        raise Unauthorized("this service needs no key: open its pages without signing in")

    async def authenticate(self, cookie: str) -> APIKey:
        """Return the key of a session.

        Raises:
            Unauthorized: If there is no such session, or it is over.
            StoreUnavailable: If the keys cannot be read.
        """
        payload, _, signature = cookie.rpartition(".")
        key_id, _, rest = payload.partition(".")
        ends_at = rest.partition(".")[0]
        own_id = "" if key_id == _ENVIRONMENT else key_id
        await self._api_keys.refresh()
        secrets = self._api_keys.secrets_of(own_id) if payload else []
        # A list, because a generator would stop at the match, and the time would tell which it was.
        matches = [compare_digest(_sign(each, payload), signature) for each in secrets]
        if not any(matches):
            raise Unauthorized("you are not signed in: sign in with an API key")
        if not ends_at.isdecimal() or int(ends_at) < self._clock():
            raise Unauthorized(f"the session is over after {LIFETIME_S // 3600} h: sign in again")
        return self._api_keys.key_of(own_id) if own_id else UNRESTRICTED


def csrf_token(cookie: str) -> str:
    """Return the token that each form of a session must send; a stranger cannot read the cookie."""
    return sha256(f"podium-csrf:{cookie}".encode()).hexdigest()[:40]


def require_csrf_token(cookie: str, token: str) -> None:
    """Raise Forbidden unless a form was sent from a page of the same session."""
    if not cookie or not compare_digest(csrf_token(cookie), token):
        raise Forbidden("the form was not sent from a page of this session: load the page again")


def _sign(secret: bytes, payload: str) -> str:
    key = sha256(b"podium-session:" + secret).digest()
    return digest(key, payload.encode(errors="replace"), "sha256").hex()
