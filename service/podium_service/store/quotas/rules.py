"""The arithmetic of quotas, over one row each: windows of requests, buckets of tokens, money.

Every function takes a row as it is and gives the row as it will be; `quota_rows` keeps them.
Moments are seconds since the epoch, money is whole micro-dollars.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import ceil, floor, inf

from podium_service.store.quotas.spend import Period

BURST_S = 10.0  # a full bucket holds so many seconds' worth
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Window:
    """Requests counted since a window's first one."""

    name: str
    opened_at: float = 0.0
    number: int = 0


@dataclass(frozen=True, slots=True)
class Bucket:
    """What was in a bucket at a moment; below zero after one amount larger than it."""

    name: str
    level: float = 0.0
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Spending:
    """What an account may still have to pay, and what it has paid, in one period."""

    name: str
    reserved: int = 0
    settled: int = 0


def counted(window: Window, limit: int, window_s: float, now: float) -> tuple[Window, float]:
    """Count one request; with it the seconds until it would count, 0.0 if it did."""
    if abs(now - window.opened_at) >= window_s:  # over, or the clock was set back
        window = replace(window, opened_at=now, number=0)
    if window.number < limit:
        return replace(window, number=window.number + 1), 0.0
    return window, min(window_s, window.opened_at + window_s - now)


def capacity(per_minute: float) -> float:
    return max(1.0, per_minute * BURST_S / 60)


def refilled(bucket: Bucket, per_minute: float, now: float) -> Bucket:
    """The bucket at a later moment; a new one is full."""
    poured = max(0.0, now - bucket.at) * per_minute / 60
    return replace(bucket, level=min(capacity(per_minute), bucket.level + poured), at=now)


def taken(bucket: Bucket, per_minute: float, amount: float, now: float) -> tuple[Bucket, float]:
    """Take an amount; with it the seconds until it has flowed in, 0.0 if it was there.

    What is taken ahead of time is owed, so that whoever asks later waits longer: first come, first
    served, without asking twice.

    Args:
        bucket: as it was.
        per_minute: how much flows in.
        amount: may be more than the bucket holds: then a full one will do, and owes the rest.
        now: the moment.
    """
    full = refilled(bucket, per_minute, now)
    most = capacity(per_minute)
    lacking = min(amount, most) - full.level
    wait_s = lacking * 60 / per_minute if lacking > 1e-9 * most else 0.0
    return replace(full, level=full.level - amount), wait_s


def given_back(bucket: Bucket, per_minute: float, amount: float, now: float) -> Bucket:
    """Give back what was taken too much; negative: too little."""
    full = refilled(bucket, per_minute, now)
    return replace(full, level=min(capacity(per_minute), full.level + amount))


def reserved(spending: Spending, limit_usd: float, micro: int) -> Spending | None:
    """Reserve the worst case; None if it does not fit."""
    if spending.reserved + spending.settled + micro > floor(round(limit_usd * _MICRO, 3)):
        return None
    return replace(spending, reserved=spending.reserved + micro)


def settled(spending: Spending, reserved_micro: int, spent_micro: int) -> Spending:
    """Turn what was reserved into what was paid."""
    return replace(
        spending,
        reserved=spending.reserved - reserved_micro,
        settled=spending.settled + spent_micro,
    )


def micro_dollars(usd: float) -> int:
    """Whole micro-dollars, rounded up; what is only binary noise above one is not."""
    return ceil(round(usd * _MICRO, 3))


def dollars(micro: int) -> float:
    return micro / _MICRO


def period_name(account: str, per: Period, at: float) -> str:
    """Names the row of an account in the period around a moment: UTC days and months."""
    moment = datetime.fromtimestamp(at, UTC)
    start = {"day": f"{moment:%Y-%m-%d}", "month": f"{moment:%Y-%m}", "total": "total"}[per]
    return f"{account} {start}"


def period_end(name: str) -> float:
    """When the period of such a row is over; infinite for one that never is."""
    start = name.rpartition(" ")[2]
    if start == "total":
        return inf
    if len(start) == len("2027-01"):
        last = datetime.fromisoformat(f"{start}-28")
        end = (last + timedelta(days=4)).replace(day=1)
    else:
        end = datetime.fromisoformat(start) + timedelta(days=1)
    return end.replace(tzinfo=UTC).timestamp()
