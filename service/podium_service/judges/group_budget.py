"""Bound what one group may spend on its judge, in calls and tokens.

A call's worst case is reserved before the call is made and settled by the tokens that it took, so
that reserved plus spent never exceeds the limit.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

from podium_service.errors import BudgetExhausted, JudgeError
from podium_service.judges.limits import BudgetLimits
from podium_service.prompts.templates import Prompt
from podium_service.prompts.trim import estimate_parts


class Budget:
    """The calls and tokens that one group has left.

    Args:
        limits: what it may spend; None for no limit.
        calls, tokens: what it has spent before.
    """

    def __init__(self, limits: BudgetLimits | None, calls: int = 0, tokens: int = 0) -> None:
        self._limits = limits
        self._calls = inf if limits is None or limits.calls is None else limits.calls - calls
        self._tokens = inf if limits is None or limits.tokens is None else limits.tokens - tokens

    def calls_left(self, worst_tokens: int) -> float:
        """Return how many calls of at most so many tokens still fit; infinite without a limit."""
        return max(0.0, min(self._calls, self._tokens // worst_tokens))

    @contextmanager
    def reserve(self, prompt: Prompt, max_tokens: int) -> Iterator["Reservation"]:
        """Reserve one call; the body makes it and settles the reservation.

        Raises:
            BudgetExhausted: If the worst case does not fit.
        """
        limited = self._tokens < inf
        worst_tokens = estimate_call_tokens(prompt, max_tokens) if limited else 0
        self._take(worst_tokens)
        reservation = Reservation(lambda: self._take(worst_tokens), worst_tokens)
        try:
            yield reservation
        finally:
            self._tokens += reservation.unspent_tokens

    def _take(self, worst_tokens: int) -> None:
        if self._calls < 1 or self._tokens < worst_tokens:
            raise BudgetExhausted(
                f"a call of up to {worst_tokens} tokens does not fit what is left of "
                f"{self._limits}: raise the judge's budget, or ask for fewer passes"
            )
        self._calls -= 1
        self._tokens -= worst_tokens


def estimate_call_tokens(prompt: Prompt, max_tokens: int) -> int:
    """Return the most tokens that a call can take, prompt and reply together, on the safe side."""
    return sum(estimate_parts(parts) for _, parts in prompt.messages) + max_tokens


class Reservation:
    """One call's share of a budget: its worst case, for each time that it may be paid.

    The worst case has been taken once; `take` takes it once more.
    """

    def __init__(self, take: Callable[[], None], worst_tokens: int) -> None:
        self._take = take
        self._worst_tokens = worst_tokens
        self._num_taken, self._num_unanswered = 1, 0
        self._spent_tokens = 0

    @property
    def unspent_tokens(self) -> int:
        """The tokens to give back; a call that was sent and not answered counts in full."""
        num_answered = self._num_taken - self._num_unanswered
        return num_answered * self._worst_tokens - self._spent_tokens

    def reserve_again(self) -> None:
        """Take the worst case again, for a call beside or after one that may be paid, or raise."""
        self._take()
        self._num_taken += 1

    @contextmanager
    def track_call(self) -> Iterator[None]:
        """Send the call in the body; it counts in full unless an answer or an error comes back."""
        self._num_unanswered += 1
        try:
            yield
        except Exception as error:
            self._num_unanswered -= not (isinstance(error, JudgeError) and error.unanswered)
            raise
        self._num_unanswered -= 1

    def settle(self, tokens: int) -> None:
        """Count the tokens that the call took by the endpoint's count; 0 if it does not count."""
        self._spent_tokens = tokens or self._worst_tokens
