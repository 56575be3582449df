"""What can be said of a judge in the judges file: kinds of judges, methods, defences."""

import os
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    FiniteFloat,
    HttpUrl,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from podium_service.judges.checks.criteria import AnyCheck
from podium_service.judges.checks.gates import NotEmpty, NotOpenerOnly
from podium_service.judges.limits import Bounds, Passes, Price, Settings
from podium_service.judges.limits import BudgetLimits as BudgetLimits
from podium_service.judges.link_local import is_link_local
from podium_service.store.quotas.spend import SpendLimit

RewardKind = Literal["win_probability", "rank", "score"]
MethodName = Literal["listwise", "subsets", "pairwise", "pointwise", "auto"]
View = Literal["as_told", "actions_first"]
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]

_DEARER = ("n", "max_tokens", "max_completion_tokens")  # than what we asked for and reserved
DEFAULT_PASSES = {"listwise": 4, "subsets": 4, "pairwise": 1, "pointwise": 2}


class _Rewarding(Settings):
    """What every kind of judge has: how scores become rewards, and who is asked instead."""

    reward: RewardKind = "win_probability"
    verified_weight: Share = Field(
        default=0.0, description="share of `verified_reward` in the reward; needs one everywhere"
    )
    fallback: list[str] = Field(default_factory=list)


class ChecksJudge(_Rewarding):
    """A judge without an LLM: deterministic criteria."""

    kind: Literal["checks"] = "checks"
    criteria: Annotated[list[AnyCheck], Field(min_length=1)]

    @property
    def gates(self) -> list[AnyCheck]:
        return [check for check in self.criteria if check.gate]


def _default_gates() -> list[AnyCheck]:
    return [NotEmpty(check="not_empty"), NotOpenerOnly(check="not_opener_only")]


class LLMJudge(_Rewarding):
    """A judge behind an OpenAI-compatible endpoint."""

    kind: Literal["llm"] = "llm"
    model: Annotated[str, Field(min_length=1)]
    base_urls: Annotated[list[HttpUrl], Field(min_length=1)]
    api_key_env: str | None = None
    method: MethodName = "listwise"
    passes: Passes | None = Field(
        default=None,
        description="a number, or {min, max, until_stderr}; by default 4; for pairwise 1 (all "
        "pairs in both orders), for pointwise 2",
    )
    block_size: Annotated[int, Field(ge=3, le=16)] = Field(
        default=5, description="trajectories a call of the method subsets"
    )
    signal_level: Annotated[FiniteFloat, Field(gt=0, le=1)] = Field(
        default=0.05,
        description="how often a group of equals may earn different rewards; 1: no test, only "
        "shrinkage",
    )
    budget: BudgetLimits | None = None
    rubric: str | None = None
    gates: list[AnyCheck] = Field(
        default_factory=_default_gates,
        description="by default not_empty and not_opener_only; [] for none",
    )
    view: View = Field(
        default="as_told",
        description="actions_first shows what was done before, and apart from, what is claimed",
    )
    datamark: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="mark every space inside trajectories; auto: in groups where one addresses the "
        "judge",
    )
    canary: bool = Field(
        default=False,
        description="plant a bad trajectory in listwise and subset calls; a verdict that does not "
        "place it in its last third is void",
    )
    steering: Literal["flag", "gate", "ignore"] = Field(
        default="flag", description="what becomes of a trajectory that addresses the judge"
    )
    noise_sd: Annotated[FiniteFloat, Field(gt=0)] | None = Field(
        default=None, description="sd of one score of this judge; used where one pass cannot tell"
    )
    temperature: Annotated[FiniteFloat, Field(ge=0, le=2)] | None = None
    seed: int | None = None
    reasoning_effort: str | None = None
    extra_body: dict[str, Any] = Field(default_factory=dict)
    max_tokens: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="cap on a reply, thoughts included; by default 160 a trajectory + 4,160 "
        "(pairs, ratings 8), smaller where the context is",
    )
    response_format: Literal["auto", "json_schema", "json_object", "text"] = "auto"
    context_tokens: Annotated[int, Field(ge=512)] | None = None
    price: Price | None = None
    timeout_s: Annotated[FiniteFloat, Field(gt=0)] = Field(60.0, description="of one attempt")
    attempts: Annotated[int, Field(ge=1, le=20)] = Field(
        default=4, description="of one call, when the endpoint errs"
    )
    concurrency: Bounds = Field(
        default=Bounds(min=16, max=256),
        description="calls in flight at each base URL, adapted to its 429s, 503s and timeouts: "
        "{min, max}, or max alone",
    )
    queue: Annotated[int, Field(ge=1)] = Field(
        default=4096, description="calls that may wait; beyond it groups are refused with a 429"
    )
    requests_per_minute: Annotated[FiniteFloat, Field(gt=0)] | None = None
    tokens_per_minute: Annotated[FiniteFloat, Field(gt=0)] | None = None
    spend: SpendLimit | None = Field(
        default=None, description="{usd, per: day, month or total}; needs a price"
    )
    hedge_after_s: Annotated[FiniteFloat, Field(gt=0)] | None = Field(
        default=None,
        description="ask a second time where no answer has come by then; the first answer counts, "
        "both may be paid",
    )

    @field_validator("concurrency", mode="before")
    @classmethod
    def _max_alone(cls, value: Any) -> Any:
        if type(value) is int and value >= 1:
            return {"min": max(1, value // 16), "max": value}
        if not isinstance(value, dict | Bounds):
            raise ValueError(f"{value!r} is neither a number from 1 nor {{min, max}}")
        return value

    @model_validator(mode="after")
    def _spending_needs_a_price(self) -> Self:
        if self.spend and not self.price:
            raise ValueError("spend needs a price: without one nobody knows what a call costs")
        return self

    @model_validator(mode="after")
    def _no_call_is_dearer_than_reserved(self) -> Self:
        dearer = next((name for name in _DEARER if name in self.extra_body), None)
        if dearer and (self.price or (self.budget and self.budget.tokens)):
            raise PydanticCustomError(
                "dearer",
                "with a price or a budget of tokens a call's worst case is reserved first; this "
                "would pass it: cap replies by the judge's max_tokens; n has to stay 1",
                {"loc": ("extra_body", dearer)},
            )
        return self

    @field_validator("passes", mode="before")
    @classmethod
    def _number_of_passes(cls, value: Any) -> Any:
        if value is None or isinstance(value, dict | Passes):
            return value
        if type(value) is not int or not 1 <= value <= 64:
            raise ValueError(f"{value!r} is neither 1 to 64 nor {{min, max, until_stderr}}")
        return {"min": value, "max": value}

    def passes_for(self, method: str) -> Passes:
        """The passes, or a method's default."""
        number = DEFAULT_PASSES[method]
        return self.passes or Passes(min=number, max=number)

    @field_validator("base_urls")
    @classmethod
    def _no_credentials(cls, urls: list[HttpUrl]) -> list[HttpUrl]:
        if any(url.username or url.password or url.query for url in urls):
            raise ValueError("keys are only ever given by api_key_env, not inside a URL")
        for url in urls:
            if is_link_local(url.host or ""):
                raise ValueError(f"{url.host} is link-local: no judge is asked there")
        return urls

    @field_validator("api_key_env")
    @classmethod
    def _key_is_set(cls, name: str | None) -> str | None:
        key = _key(name)
        if name and not key:
            raise ValueError(f"the environment variable {name} is not set")
        if key and not (key.isascii() and key.isprintable()):
            raise ValueError(f"the key in {name} holds characters that a header cannot carry")
        return name

    @property
    def api_key(self) -> str | None:
        return _key(self.api_key_env)


class JuryJudge(_Rewarding):
    """Several LLM judges, best of different families, that rank the same group."""

    kind: Literal["jury"]
    members: Annotated[list[str], Field(min_length=2)]
    quorum: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="jurors that must give a ranking; by default more than half"
    )
    gates: list[AnyCheck] = Field(default_factory=_default_gates)
    steering: Literal["flag", "gate", "ignore"] = "flag"

    @model_validator(mode="after")
    def _is_a_jury(self) -> Self:
        if len(set(self.members)) < len(self.members):
            raise ValueError("a judge is in the jury twice: asking it more often is `passes`")
        if self.quorum and self.quorum > len(self.members):
            raise ValueError(f"a quorum of {self.quorum} in a jury of {len(self.members)}")
        return self

    @property
    def needed(self) -> int:
        return self.quorum or len(self.members) // 2 + 1


def _key(name: str | None) -> str | None:
    """The key in an environment variable; files that keys are read from end in a newline."""
    return os.environ.get(name, "").strip() or None if name else None
