"""An API key: its text, its scopes and its request limit. `api_key_store` keeps the keys.

The text of a key is `pk_<id>_<secret>`. The service stores only the sha256 of the secret. A slow
password hash is not needed, because the secret has 256 random bits: nobody can guess it or find its
hash in a table.
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
from podium_service.schemas.keys import MAX_NAME_CHARS, MAX_OWNER_CHARS
from podium_service.store.quotas.quota_service import AccountSpending, QuotaService
from podium_service.store.quotas.spend import SpendLimit
from podium_service.telemetry import routes
from podium_service.telemetry.metrics import Metrics

Scope = Literal["rank", "read", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
OPEN_PATHS = ("/livez", "/readyz")
_SCOPE_BY_PATH: dict[str, Scope] = {
    routes.RANK: "rank",
    routes.RANK_BATCH: "rank",
    routes.KEYS: "admin",
    routes.SPEND: "admin",
    **dict.fromkeys(routes.BRIDGE, "rank"),
}


@dataclass(frozen=True, slots=True)
class APIKey:
    """One key, without its secret.

    Attributes:
        scopes: the groups of routes it may use; `admin` includes the others.
        requests_per_minute: groups it may send per minute; None: no limit.
        spend_limit: the most that its rankings may cost; None: no limit.
        owner: whom to ask about it, in any form.
        created_at, expires_at, revoked_at: seconds since the epoch; it is refused from
            `expires_at` on, if there is one.
    """

    id: str
    name: str
    secret_sha256: bytes
    scopes: frozenset[Scope]
    requests_per_minute: int | None = None
    spend_limit: SpendLimit | None = None
    owner: str = ""
    created_at: float = 0.0
    expires_at: float | None = None
    revoked_at: float | None = None

    def accepts(self, secret: str) -> bool:
        """Return whether `secret` is this key's and the key is not revoked, in constant time."""
        return compare_digest(self.secret_sha256, hash_secret(secret)) and self.revoked_at is None

    @property
    def has_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= time.time()

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or "admin" in self.scopes


# The key of a request that needs none, and of the environment's key: every scope, no limits.
UNRESTRICTED = APIKey("", "", b"", frozenset({"admin"}))


def create_key(
    name: str,
    scopes: Iterable[str],
    requests_per_minute: int | None = None,
    spend_limit: SpendLimit | None = None,
    *,
    owner: str = "",
    expires_at: float | None = None,
) -> tuple[APIKey, str]:
    """Return a new key and its text, which cannot be recovered later.

    Raises:
        ConfigError: If the name is empty, a text is too long or not printable, or a scope is
            unknown.
    """
    require_valid(name, scopes, owner)
    key_id, secret = token_hex(6), token_urlsafe(32)
    key = APIKey(
        id=key_id,
        name=name,
        secret_sha256=hash_secret(secret),
        scopes=frozenset(cast(Iterable[Scope], scopes)),
        requests_per_minute=requests_per_minute,
        spend_limit=spend_limit,
        owner=owner,
        created_at=time.time(),
        expires_at=expires_at,
    )
    return key, f"pk_{key_id}_{secret}"


def require_valid(name: str, scopes: Iterable[str], owner: str) -> None:
    """Raise ConfigError for a name, a scope or an owner that no key may have."""
    if not (0 < len(name) <= MAX_NAME_CHARS and name.isprintable()):
        raise ConfigError(
            f"key name {name[:MAX_NAME_CHARS]!r}: must be 1 to {MAX_NAME_CHARS} printable "
            "characters"
        )
    if not (len(owner) <= MAX_OWNER_CHARS and owner.isprintable()):
        raise ConfigError(
            f"owner {owner[:MAX_OWNER_CHARS]!r}: must be at most {MAX_OWNER_CHARS} printable "
            "characters"
        )
    for scope in scopes:
        if scope not in SCOPES:
            raise ConfigError(f"scope {scope[:64]!r}: must be one of {', '.join(SCOPES)}")


def split_text(text: str) -> tuple[str, str]:
    """Return the id and the secret in a key's text; two empty strings if it is not a key."""
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    return (key_id, secret) if prefix == "pk" else ("", "")


def hash_secret(secret: str) -> bytes:
    return sha256(secret.encode(errors="replace")).digest()


def describe_key(key: APIKey, spent: AccountSpending | None = None) -> dict[str, Any]:
    """Return the public view of a key; `spent` is for the current period of its spend limit."""
    limit = key.spend_limit
    return {
        "id": key.id,
        "name": key.name,
        "owner": key.owner,
        "scopes": sorted(key.scopes),
        "requests_per_minute": key.requests_per_minute,
        "spend_limit": {"usd": limit.usd, "per": limit.per} if limit else None,
        "spent_usd": spent.settled if spent else None,
        "reserved_usd": spent.reserved if spent else None,
        "created_at": iso_time(key.created_at),
        "expires_at": iso_time(key.expires_at) if key.expires_at else None,
        "revoked_at": iso_time(key.revoked_at) if key.revoked_at else None,
    }


def iso_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def is_open(path: str) -> bool:
    """Return whether a path needs no key: health probes, and what a person needs to sign in."""
    return (
        routes.unversioned(path) in OPEN_PATHS
        or path == routes.UI_LOGIN
        or path.startswith(routes.UI_STATIC)
    )


def required_scope(path: str, method: str = "GET") -> Scope:
    """Return the scope that a key needs for a path; `read` unless the path has another.

    A page says itself what its forms need.
    """
    path = routes.unversioned(path)
    if method not in ("GET", "HEAD") and path.startswith(routes.RANKINGS):
        return "rank"
    if path.startswith((routes.KEY.removesuffix("{key_id}"), routes.UI_ADMIN)):
        return "admin"
    return _SCOPE_BY_PATH.get(path, "read")


async def count_request(
    key: APIKey, quotas: QuotaService, metrics: Metrics, deadline: Deadline
) -> None:
    """Count one group against the key's request limit.

    Raises:
        KeyRateLimited: If the key has reached its limit in this minute; the group is not counted.
        DeadlineExceeded: If the store does not count it in time.
        StoreUnavailable: If the store does not answer.
    """
    if key.requests_per_minute is None:
        metrics.count_key_request(key.name, "accepted")
        return
    async with deadline.enforce("counting the request"):
        wait_s = await quotas.count(f"key:{key.id}", key.requests_per_minute, 60.0)
    metrics.count_key_request(key.name, "refused" if wait_s > 0 else "accepted")
    if wait_s > 0:
        raise KeyRateLimited(
            f"key {key.name!r} may send {key.requests_per_minute} groups a minute: wait "
            f"{wait_s:.1f} s, or have its limit raised",
            retry_after_s=wait_s,
        )
