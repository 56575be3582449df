"""What one group may spend on its judge: calls and tokens, taken before a call is made."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

from service.errors import BudgetExhausted
from service.limits_config import BudgetLimits
from service.prompts import Prompt
from service.trim import estimate_tokens


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
    def call(self, prompt: Prompt, max_tokens: int) -> Iterator[Callable[[int], None]]:
        """Reserve one call; the body tells how many tokens it took, if it was answered.

        Raises:
            BudgetExhausted: If the worst case does not fit.
        """
        worst = self._take(prompt, max_tokens)
        took = 0

        def spend(tokens: int) -> None:
            nonlocal took
            took = tokens or worst  # an endpoint that does not count

        try:
            yield spend
        finally:
            self._tokens += worst - took

    def another(self, prompt: Prompt, max_tokens: int) -> None:
        """Take one call more while one is reserved, which was sent and may be paid for nothing:
        whichever it is that is answered, the other counts as its worst case.

        Raises:
            BudgetExhausted: If the worst case does not fit.
        """
        self._take(prompt, max_tokens)

    def _take(self, prompt: Prompt, max_tokens: int) -> int:
        worst = self._worst(prompt, max_tokens)
        if self._calls < 1 or self._tokens < worst:
            raise BudgetExhausted(
                f"a call of up to {worst} tokens does not fit what is left of {self._limits}: "
                "raise the judge's budget, or ask for fewer passes"
            )
        self._calls -= 1
        self._tokens -= worst
        return worst

    def _worst(self, prompt: Prompt, max_tokens: int) -> int:
        if self._tokens == inf:  # nobody counts
            return 0
        return max_tokens + sum(
            estimate_tokens(part) for _, parts in prompt.messages for part in parts
        )
