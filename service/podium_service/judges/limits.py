"""Settings that are limits: passes, concurrent calls, budgets and prices."""

from typing import Annotated, Any, Self

from pydantic import Field, FiniteFloat, model_validator

from podium_service.judges.base_settings import COST, NETWORK, QUALITY, Count, Positive, Settings

MAX_PASSES = 64


class Price(Settings):
    """The price of the judge's tokens."""

    prompt: Annotated[FiniteFloat, Field(ge=0), COST] = 0.0
    """US dollars per million prompt tokens that the endpoint had not cached; 0 unless set."""
    cached: Annotated[Annotated[FiniteFloat, Field(ge=0)] | None, COST] = None
    """US dollars per million prompt tokens that the endpoint had cached; the `prompt` price unless
    set."""
    completion: Annotated[FiniteFloat, Field(ge=0), COST] = 0.0
    """US dollars per million tokens of the reply, reasoning included; 0 unless set."""

    def cost_usd(self, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> float:
        """Return a call's cost in US dollars; `cached_tokens` are a part of `prompt_tokens`."""
        cached = self.prompt if self.cached is None else self.cached
        fresh = prompt_tokens - cached_tokens
        spent = fresh * self.prompt + cached_tokens * cached + completion_tokens * self.completion
        return spent / 1e6

    def worst_usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the most a call can cost, whether its prompt is cached or not."""
        cached = (0, prompt_tokens)
        return max(self.cost_usd(prompt_tokens, each, completion_tokens) for each in cached)


class Range(Settings):
    """A smallest and a largest number."""

    min: int
    max: int

    @model_validator(mode="after")
    def _min_is_no_more_than_max(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is more than max {self.max}")
        return self


class Passes(Range):
    """The bounds on how often a judge is shown each trajectory.

    Each trajectory is shown at least `min` times. Then passes go on while one more buys more than
    a pass does on average, up to `max` times.
    """

    min: Annotated[int, Field(ge=1, le=MAX_PASSES), QUALITY]
    """Each trajectory is shown at least so many times."""
    max: Annotated[int, Field(ge=1, le=MAX_PASSES), QUALITY]
    """Each trajectory is shown at most so many times."""
    rollout_cost: Annotated[Positive, QUALITY] = 1.0
    """Cost of producing the group's trajectories, in units of one pass: the larger, the more passes
    pay, on average about the root of it over the signal-to-noise ratio of one pass."""
    until_stderr: Annotated[Annotated[FiniteFloat, Field(gt=0, le=1)] | None, QUALITY] = None
    """Stop once no score has a larger standard error (scores are in [0, 1]), and not by
    `rollout_cost`; unset, `rollout_cost` decides."""

    @model_validator(mode="before")
    @classmethod
    def _number_is_both(cls, value: Any) -> Any:
        if isinstance(value, dict | cls):
            return value
        if type(value) is not int or not 1 <= value <= MAX_PASSES:
            raise ValueError(
                f"{value!r} is neither 1 to {MAX_PASSES} nor "
                "{min, max, rollout_cost, until_stderr}"
            )
        return {"min": value, "max": value}


class Bounds(Range):
    """The bounds between which the number of concurrent calls to an endpoint adapts."""

    min: Annotated[Count, NETWORK]
    """Concurrent calls at each base URL that are always allowed."""
    max: Annotated[Count, NETWORK]
    """Concurrent calls at each base URL at most; the number starts at 4, or at `min` if that is
    more, rises while more calls bring more answers, and falls where they do not, or after a 429, a
    503 or a timeout."""

    @model_validator(mode="before")
    @classmethod
    def _number_is_max(cls, value: Any) -> Any:
        if isinstance(value, dict | cls):
            return value
        if type(value) is not int or value < 1:
            raise ValueError(f"{value!r} is neither a number from 1 nor {{min, max}}")
        return {"min": 1, "max": value}


class BudgetLimits(Settings):
    """The most that one group spends at one judge; a call that might exceed it is not made."""

    calls: Annotated[Count | None, COST] = None
    """Calls, including second calls after no reply that can be read; unlimited unless set."""
    tokens: Annotated[Count | None, COST] = None
    """Prompt and reply tokens together; a call's worst case (estimated) is reserved before it is
    made; unlimited unless set."""

    def __str__(self) -> str:
        limits = [f"{count} {name}" for name, count in self if count is not None]
        return f"a budget of {' and '.join(limits)}"
