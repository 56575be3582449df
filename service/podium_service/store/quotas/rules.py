"""Work out what a quota's row becomes: windows of requests, buckets of tokens, spending in money.

Each function takes a row as it is and returns the row as it will be; `quota_rows` stores them.
Moments are seconds since the epoch; money is whole micro-dollars.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import ceil, floor, inf

from podium_service.store.quotas.spend import Period

BURST_S = 10.0  # a full bucket holds what flows in during so many seconds
MICRO = 1_000_000  # micro-dollars in a US dollar
_ROUNDING = 1e-9  # a shortfall of so small a share of the bucket is a rounding error


@dataclass(frozen=True, slots=True)
class Window:
    """The requests counted since a window's first one."""

    name: str
    opened_at: float = 0.0
    number: int = 0


@dataclass(frozen=True, slots=True)
class Bucket:
    """The level of a bucket at a moment; below zero when a request took more than it held."""

    name: str
    level: float = 0.0
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Spending:
    """The micro-dollars that an account may still have to pay, and has paid, in one period."""

    name: str
    reserved: int = 0
    settled: int = 0


def count(window: Window, limit: int, window_s: float, now: float) -> tuple[Window, float]:
    """Count one request against a limit.

    Returns:
        The window, and the seconds until the request would be counted: 0.0 if it is counted now.
    """
    if abs(now - window.opened_at) >= window_s:  # the window is over, or the clock was set back
        window = replace(window, opened_at=now, number=0)
    if window.number < limit:
        return replace(window, number=window.number + 1), 0.0
    return window, min(window_s, window.opened_at + window_s - now)


def capacity(per_minute: float) -> float:
    """Return the most that a bucket holds."""
    return max(1.0, per_minute * BURST_S / 60)


def refill(bucket: Bucket, per_minute: float, now: float) -> Bucket:
    """Return the bucket at a later moment; a new one is full."""
    inflow = max(0.0, now - bucket.at) * per_minute / 60
    return replace(bucket, level=min(capacity(per_minute), bucket.level + inflow), at=now)


def take(bucket: Bucket, per_minute: float, amount: float, now: float) -> tuple[Bucket, float]:
    """Take an amount from a bucket, now or in advance.

    An amount taken in advance is owed, so that a later request waits longer: first come, first
    served, although nobody asks twice.

    Args:
        per_minute: how much flows in.
        amount: may be more than the bucket holds; then a full bucket is enough, and owes the rest.

    Returns:
        The bucket, and the seconds until the amount has flowed in: 0.0 if it was there.
    """
    bucket = refill(bucket, per_minute, now)
    most = capacity(per_minute)
    shortfall = min(amount, most) - bucket.level
    wait_s = shortfall * 60 / per_minute if shortfall > _ROUNDING * most else 0.0
    return replace(bucket, level=bucket.level - amount), wait_s


def give_back(bucket: Bucket, per_minute: float, amount: float, now: float) -> Bucket:
    """Return an amount that was taken in excess; a negative amount takes more."""
    bucket = refill(bucket, per_minute, now)
    return replace(bucket, level=min(capacity(per_minute), bucket.level + amount))


def reserve(spending: Spending, limit_usd: float, micro: int) -> Spending | None:
    """Reserve the worst case, or return None if the limit leaves no room for it."""
    if spending.reserved + spending.settled + micro > floor(round(limit_usd * MICRO, 3)):
        return None
    return replace(spending, reserved=spending.reserved + micro)


def settle(spending: Spending, reserved_micro: int, spent_micro: int) -> Spending:
    """Turn a reserved amount into the amount paid."""
    return replace(
        spending,
        reserved=spending.reserved - reserved_micro,
        settled=spending.settled + spent_micro,
    )


def micro_dollars(usd: float) -> int:
    """Return whole micro-dollars, rounded up; a binary rounding error above one is dropped."""
    return ceil(round(usd * MICRO, 3))


def period_name(account: str, per: Period, at: float) -> str:
    """Return the name of an account's row for the period (UTC day or month) around a moment."""
    moment = datetime.fromtimestamp(at, UTC)
    start = {"day": f"{moment:%Y-%m-%d}", "month": f"{moment:%Y-%m}", "total": "total"}[per]
    return f"{account} {start}"


def period_end(name: str) -> float:
    """Return the moment at which the period of a row's name ends; infinite for `total`."""
    start = name.rpartition(" ")[2]
    if start == "total":
        return inf
    if len(start) == len("2027-01"):
        in_next_month = datetime.fromisoformat(f"{start}-28") + timedelta(days=4)
        end = in_next_month.replace(day=1)
    else:
        end = datetime.fromisoformat(start) + timedelta(days=1)
    return end.replace(tzinfo=UTC).timestamp()
