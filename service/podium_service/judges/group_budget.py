"""What one group may spend on its judge: calls and tokens, taken before a call is made."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

from podium_service.errors import BudgetExhausted, JudgeError
from podium_service.judges.limits import BudgetLimits
from podium_service.prompts.templates import Prompt
from podium_service.prompts.trim import estimate_tokens


class Budget:
    """Calls and tokens left. A call's worst case is reserved first and settled by what it took, so
    that reserved plus spent never passes the limit."""

    def __init__(self, limits: BudgetLimits | None, calls: int = 0, tokens: int = 0) -> None:
        """`calls` and `tokens` were spent on the group before."""
        self._limits = limits
        self._calls = inf if limits is None or limits.calls is None else limits.calls - calls
        self._tokens = inf if limits is None or limits.tokens is None else limits.tokens - tokens

    def calls_left(self, worst_tokens: int) -> float:
        """How many calls of at most so many tokens still fit; infinite without a limit."""
        return max(0.0, min(self._calls, self._tokens // worst_tokens))

    @contextmanager
    def call(self, prompt: Prompt, max_tokens: int) -> Iterator["Reservation"]:
        """Reserve one call; the body sends it, and tells what it took.

        Raises:
            BudgetExhausted: If the worst case does not fit.
        """
        worst = self._worst(prompt, max_tokens)
        self._take(worst)
        outlay = Reservation(lambda: self._take(worst), worst)
        try:
            yield outlay
        finally:
            if worst:  # else nobody counts
                self._tokens += outlay.unspent

    def _take(self, worst: int) -> None:
        if self._calls < 1 or self._tokens < worst:
            raise BudgetExhausted(
                f"a call of up to {worst} tokens does not fit what is left of {self._limits}: "
                "raise the judge's budget, or ask for fewer passes"
            )
        self._calls -= 1
        self._tokens -= worst

    def _worst(self, prompt: Prompt, max_tokens: int) -> int:
        if self._tokens == inf:  # nobody counts
            return 0
        return max_tokens + sum(
            estimate_tokens(part) for _, parts in prompt.messages for part in parts
        )


class Reservation:
    """What one call takes of a budget: its worst case, as often as it is sent and may be paid."""

    def __init__(self, take: Callable[[], None], worst: int) -> None:
        """`take` takes the worst case from the budget once more; once it is taken already."""
        self._take = take
        self._worst = worst
        self._num_taken, self._num_unanswered = 1, 0
        self._took: int | None = None

    @property
    def unspent(self) -> int:
        """Of what was taken; what was sent and not answered counts as its worst case."""
        spent = self._num_unanswered * self._worst + (self._took or 0)
        return self._num_taken * self._worst - spent

    def another(self) -> None:
        """Take the worst case once more: the call is made beside, or after, one that may be paid.

        Raises:
            BudgetExhausted: If it does not fit.
        """
        self._take()
        self._num_taken += 1

    @contextmanager
    def sending(self) -> Iterator[None]:
        """The body sends the call. Whatever answers it, if only by an error, is not paid twice."""
        self._num_unanswered += 1
        try:
            yield
        except Exception as error:
            self._num_unanswered -= not (isinstance(error, JudgeError) and error.unanswered)
            raise
        self._num_unanswered -= 1

    def took(self, tokens: int) -> None:
        """So many tokens, by the endpoint's count; 0 if it does not count."""
        self._took = tokens or self._worst
