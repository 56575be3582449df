"""Name asks: one id for each request to rank a group, which holds the moment of its answer.

The id is a number of 62 bits: the microseconds since the epoch, then 11 random bits, because two
processes may answer in the same microsecond. So rows are added at the end of their table, and the
newest ones are found without another index. Ids are no secrets: they are counted up, and need no
randomness of the system, for which the event loop would wait.
"""

import re
import time
from random import getrandbits

_RANDOM_BITS = 11
_NAME = re.compile(r"[0-9a-f]{16}")
_FAILED = "rk_"


class AskIds:
    """Makes ids, each greater than the one before; not for several threads."""

    def __init__(self) -> None:
        self._last = 0

    def next(self, at: float | None = None) -> int:
        """Return the id of an ask at a moment, in seconds since the epoch; None: now."""
        wanted = first_ask_at(time.time() if at is None else at) | getrandbits(_RANDOM_BITS)
        self._last = max(wanted, self._last + 1)
        return self._last


def first_ask_at(at: float) -> int:
    """Return the least id of a moment, in seconds since the epoch."""
    return int(min(max(at, 0.0), 4e9) * 1e6) << _RANDOM_BITS


def asked_at(ask: int) -> float:
    """Return the moment of an ask, in seconds since the epoch."""
    return (ask >> _RANDOM_BITS) / 1e6


def ask_name(ask: int) -> str:
    """Return an id as texts name it: 16 hex digits."""
    return f"{ask:016x}"


def parse_ask(name: str) -> int | None:
    """Return the id that a text names, of an ask or of a failed group; None if it names none."""
    digits = name.removeprefix(_FAILED)
    return int(digits, 16) if _NAME.fullmatch(digits) and digits < "8" else None


def failed_ranking_id(ask: int) -> str:
    """Return the id under which a group that failed is found; rankings have longer ones."""
    return f"{_FAILED}{ask_name(ask)}"
