"""What can be said of limits in the judges file: passes, calls in flight, budgets, prices."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Price(Settings):
    """US dollars per million tokens."""

    prompt: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    cached: Annotated[FiniteFloat, Field(ge=0)] | None = None
    completion: Annotated[FiniteFloat, Field(ge=0)] = 0.0

    def cost_usd(self, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> float:
        """What a call cost, in US dollars; `cached_tokens` are a part of `prompt_tokens`."""
        cached = self.prompt if self.cached is None else self.cached
        fresh = prompt_tokens - cached_tokens
        spent = fresh * self.prompt + cached_tokens * cached + completion_tokens * self.completion
        return spent / 1e6

    def worst_usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What a call can cost at most, whether its prompt is cached or not."""
        cached = (0, prompt_tokens)
        return max(self.cost_usd(prompt_tokens, each, completion_tokens) for each in cached)


class Range(Settings):
    min: int
    max: int

    @model_validator(mode="after")
    def _min_is_no_more_than_max(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is more than max {self.max}")
        return self


class Passes(Range):
    """How often a judge is shown each trajectory: at least `min` times, then until the rewards are
    settled or the group evidently has no signal, at most `max` times."""

    min: Annotated[int, Field(ge=1, le=64)]
    max: Annotated[int, Field(ge=1, le=64)]
    until_stderr: Annotated[FiniteFloat, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="settled once no score's stderr is larger; by default, once another pass is "
        "not expected to put 1.35% of the pairs right",
    )


class Bounds(Range):
    """Between which the number of calls in flight at an endpoint adapts."""

    min: Annotated[int, Field(ge=1)]
    max: Annotated[int, Field(ge=1)]


class BudgetLimits(Settings):
    """What one group may spend. A call that might pass a limit is not made."""

    calls: Annotated[int, Field(ge=1)] | None = None
    tokens: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="prompt and completion; a call's worst case is reserved first"
    )

    def __str__(self) -> str:
        limits = [f"{count} {name}" for name, count in self if count is not None]
        return f"a budget of {' and '.join(limits)}"
