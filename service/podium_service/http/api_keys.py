"""API keys: who may ask for what, and how much. Made, named and checked here; kept by `keyring`.

A key is `pk_<id>_<secret>`. Only the sha256 of its secret is kept, and the secret has 256 random
bits: there is nothing to guess and nothing to look up in tables, so that no slow hash is needed.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from hmac import compare_digest
from secrets import token_hex, token_urlsafe
from typing import Any, Literal, cast, get_args

from podium_service.errors import ConfigError, KeyRateLimited
from podium_service.ranking.deadline import Deadline
from podium_service.store.quotas.quota_service import QuotaService, Spent
from podium_service.store.quotas.spend import SpendLimit

Scope = Literal["rank", "read", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
OPEN_PATHS = ("/livez", "/readyz")
MAX_NAME_CHARS = 64
_SCOPE_BY_PATH: dict[str, Scope] = {"/rank": "rank", "/rank/batch": "rank", "/keys": "admin"}
_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class APIKey:
    """One key, without its secret.

    Attributes:
        scopes: what it may ask for; `admin` includes the others.
        requests_per_minute: groups it may send in a minute; None: as many as it likes.
        spend_limit: what its rankings may cost; None: without a limit.
        created_at, revoked_at: seconds since the epoch.
    """

    id: str
    name: str
    secret_sha256: bytes
    scopes: frozenset[Scope]
    requests_per_minute: int | None = None
    spend_limit: SpendLimit | None = None
    created_at: float = 0.0
    revoked_at: float | None = None

    def opens_with(self, secret: str) -> bool:
        """Whether this is its secret, and it was not revoked; in constant time."""
        return compare_digest(self.secret_sha256, hashed(secret)) and self.revoked_at is None

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or "admin" in self.scopes


# What asks without a key where none is needed, and with the environment's: nothing is refused.
ANYONE = APIKey("", "", b"", frozenset({"admin"}))


def mint(
    name: str,
    scopes: Iterable[str],
    requests_per_minute: int | None = None,
    spend_limit: SpendLimit | None = None,
) -> tuple[APIKey, str]:
    """A new key, and the text by which its owner shows it, here and never again.

    Raises:
        ConfigError: If the name is none that a table could show, or a scope is none.
    """
    if not (0 < len(name) <= MAX_NAME_CHARS and name.isprintable()):
        raise ConfigError(
            f"key name {name[:MAX_NAME_CHARS]!r}: 1 to {MAX_NAME_CHARS} printable characters"
        )
    for scope in scopes:
        if scope not in SCOPES:
            raise ConfigError(f"scope {scope[:64]!r}: is none of {', '.join(SCOPES)}")
    granted = frozenset(cast(Iterable[Scope], scopes))
    key_id, secret = token_hex(6), token_urlsafe(32)
    key = APIKey(
        key_id, name, hashed(secret), granted, requests_per_minute, spend_limit,
        time.time(),
    )  # fmt: skip
    return key, f"pk_{key_id}_{secret}"


def split(text: str) -> tuple[str, str]:
    """The id and the secret of what may be a key; two empty strings if it is none."""
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    return (key_id, secret) if prefix == "pk" else ("", "")


def hashed(secret: str) -> bytes:
    return sha256(secret.encode(errors="replace")).digest()


def key_shown(key: APIKey, spent: Spent | None = None) -> dict[str, Any]:
    """What may be shown of a key; `spent` is of the current period of its limit."""
    limit = key.spend_limit
    return {
        "id": key.id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "requests_per_minute": key.requests_per_minute,
        "spend_limit": {"usd": limit.usd, "per": limit.per} if limit else None,
        "spent_usd": spent.settled if spent else None,
        "reserved_usd": spent.reserved if spent else None,
        "created_at": moment(key.created_at),
        "revoked_at": moment(key.revoked_at) if key.revoked_at else None,
    }


def moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def scope_of(path: str) -> Scope:
    """What a key must be allowed to open a path; `read` where nothing else is said."""
    return _SCOPE_BY_PATH.get(path, "read")


async def count_request(key: APIKey, ledger: QuotaService, deadline: Deadline) -> None:
    """Count one group that a key sends.

    Raises:
        KeyRateLimited: If it is one too many in this minute; it is not counted then.
        DeadlineExceeded: If the store does not count it in time.
        StoreUnavailable: If the store does not answer.
    """
    if key.requests_per_minute is None:
        return
    async with deadline.enforced("counting the request"):
        wait_s = await ledger.count(f"key:{key.id}", key.requests_per_minute, _MINUTE_S)
    if wait_s > 0:
        raise KeyRateLimited(
            f"key {key.name!r} may send {key.requests_per_minute} groups a minute: wait "
            f"{wait_s:.1f} s, or have its limit raised",
            retry_after_s=wait_s,
        )
