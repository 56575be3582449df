"""The settings of a judge that is an LLM behind endpoints."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, FiniteFloat, field_validator, model_validator
from pydantic_core import PydanticCustomError

from podium_service.judges.base_settings import COST, NETWORK, QUALITY, ROBUSTNESS, Count, Positive
from podium_service.judges.limits import Bounds, BudgetLimits, Passes, Price
from podium_service.judges.settings.calibration_card import read_best_prompt
from podium_service.judges.settings.connection import ConnectedJudge
from podium_service.judges.settings.secrets import refuse_variable
from podium_service.prompts.verdict import MAX_EXPLANATION_CHARS
from podium_service.prompts.wording import Explanations, Style
from podium_service.store.quotas.spend import SpendLimit

MethodName = Literal["listwise", "subsets", "pairwise", "pointwise", "best_of", "yes_no", "auto"]
View = Literal["as_told", "actions_first"]

DEFAULT_PASSES = {
    "listwise": Passes(min=1, max=4),
    "subsets": Passes(min=1, max=4),
    "pairwise": Passes(min=1, max=1),
    "pointwise": Passes(min=1, max=4),
    "best_of": Passes(min=4, max=4),
    "yes_no": Passes(min=1, max=1),
}
# The methods whose questions have been measured in the short style only.
_ASKED_BRIEFLY = ("best_of", "yes_no")
_MOST_SMALL = 9e9  # parameters; larger judges follow rules
_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)(b|m)(?![a-z0-9])", re.IGNORECASE)
# Members of `extra_body` that would make a call cost more than the worst case reserved for it.
_COSTLIER = ("n", "max_tokens", "max_completion_tokens")


class LLMJudge(ConnectedJudge):
    """A judge behind one or several endpoints."""

    kind: Annotated[Literal["llm"], QUALITY] = "llm"
    """`llm` (the default): this judge asks an LLM."""
    model: Annotated[str, Field(min_length=1), QUALITY]
    """The model's name, as the endpoint knows it."""
    method: Annotated[MethodName, QUALITY] = "auto"
    """Trajectories in one call: `listwise` all of them, `subsets` `block_size` of them, `pairwise`
    two, `pointwise` one, rated by itself. For endpoints that give token probabilities: `best_of`
    shows all of them, up to 8, else `block_size` of them, and asks for the letter of the best;
    `yes_no` shows one and asks whether it is correct and complete. `auto` (the default) takes,
    for models whose name says 9B parameters or fewer, while their endpoint gives probabilities,
    `yes_no` if the group has a `reference` and `best_of` if not; else the first of the first four
    that suits the group's size, the model's context and the budget."""
    passes: Annotated[Passes | None, QUALITY] = None
    """How often each trajectory is shown: a number from 1 to 64, or `{min, max, rollout_cost,
    until_stderr}` to stop when another pass buys too little; unless set `{min: 1, max: 4}`, for
    `best_of` 4, of a pair 2 at most, for `yes_no` 1, and for `pairwise` 1 (all pairs, each in both
    orders)."""
    audit: Annotated[FiniteFloat, Field(ge=0, le=1), QUALITY] = 0.1
    """Share of the groups with one pass that get a second one, in reverse order, from 0 (none) to
    1; all of them until 20 groups have told the judge's noise and its liking for slots, which are
    used in every group; not for `pairwise` and `yes_no`."""
    block_size: Annotated[int, Field(ge=3, le=16), QUALITY] = 5
    """Trajectories in one call of the method `subsets`, and of `best_of` in groups of more than 8,
    from 3 to 16."""
    rubric: Annotated[str | None, QUALITY] = None
    """Text of the criteria that the judge applies; a general rubric unless set; a request's own
    `rubric` replaces it."""
    prompt: Annotated[Literal["auto", "long", "short"], QUALITY] = "auto"
    """How the judge is asked: `long` with a rubric and rules, `short` with one sentence, short
    answers and a few tool calls under plain headings; `auto` (the default) is `short` for
    `best_of`, `yes_no` and models whose name says 9B parameters or fewer, else `long`, unless the
    `card` says which one."""
    card: Annotated[str | None, QUALITY] = None
    """Path of the JSON card that `podium calibrate --prompts` wrote of this model: `prompt: auto`
    then takes the prompt that this judge answered better; none unless set."""
    explanations: Annotated[Explanations, QUALITY] = "none"
    """Whether a judge that scores explains each score in a sentence: `none` (the default; recorded
    judges were right as often without, and words cost most of a reply), `after` the score, or
    `before` it."""
    explanation_chars: Annotated[int, Field(ge=0, le=MAX_EXPLANATION_CHARS), QUALITY] = 240
    """The most characters of an explanation that are kept and returned; 240 unless set, at most
    2000. The judge is not told."""
    view: Annotated[View, QUALITY] = "as_told"
    """`as_told` (the default) shows a trajectory's messages in their order; `actions_first` shows
    tool calls and results before, and apart from, what the agent says."""
    vision: Annotated[bool, QUALITY] = False
    """True: the model sees images, and groups with images are shown with them; false (the default):
    such groups are refused, or treated as `images` says."""
    images: Annotated[Literal["refuse", "drop"], QUALITY] = "refuse"
    """Treatment of groups with images by a judge without `vision`: `refuse` (the default), or
    `drop`, which shows a mark in the place of each image."""
    noise_sd: Annotated[Positive | None, QUALITY] = None
    """Standard deviation of the noise of one score (scores are in [0, 1]); used where neither the
    passes of a group nor past groups tell it; unknown unless set."""
    temperature: Annotated[Annotated[FiniteFloat, Field(ge=0, le=2)] | None, QUALITY] = None
    """Sampling temperature, from 0 to 2; not sent unless set; dropped if the endpoint refuses
    it."""
    seed: Annotated[int | None, QUALITY] = None
    """Seed of the endpoint's sampling, an integer; not sent unless set; dropped if the endpoint
    refuses it."""
    reasoning_effort: Annotated[str | None, QUALITY] = None
    """How long a reasoning model thinks, in the endpoint's words (such as `low`); not sent unless
    set; dropped if the endpoint refuses it."""
    extra_body: Annotated[dict[str, Any], QUALITY] = Field(default_factory=dict)
    """Further members of the request's JSON, sent as they are; one that the endpoint refuses by
    name is dropped; with a `price` or a budget of tokens it may not set `n` or a cap on tokens."""
    price: Annotated[Price | None, COST] = None
    """`{prompt, cached, completion}` in US dollars per million tokens; without it costs are unknown
    and `spend` is not allowed."""
    spend: Annotated[SpendLimit | None, COST] = None
    """`{usd, per: day, month or total}`: the most that all processes of the store together spend on
    this judge; unlimited unless set; needs a `price`."""
    budget: Annotated[BudgetLimits | None, COST] = None
    """`{calls, tokens}`: the most that one group spends at this judge, second and hedged calls
    included; unlimited unless set."""
    image_tokens: Annotated[Count, COST] = 1600
    """Tokens that an image is taken for in the context, in budgets and in spend limits, until the
    endpoint has counted them; hosted models count up to about 1,600 for most images."""
    max_images: Annotated[Count, COST] = 100
    """Different images that a group may show to a judge with `vision`; a group with more is
    refused."""
    max_image_bytes: Annotated[Count, COST] = 5_000_000
    """Largest image, in bytes before base64, that a judge with `vision` is shown; a group with a
    larger one is refused; the size of an image behind a URL is not known here."""
    max_tokens: Annotated[Count | None, COST] = None
    """Most tokens of one reply, reasoning included; unless set 160 per trajectory shown (8 for
    methods that ask for a letter, a digit or a word) + 4,160; less where the context is small or
    the endpoint refuses so many."""
    datamark: Annotated[Literal["auto", "always", "never"], ROBUSTNESS] = "auto"
    """Put a mark before every run of spaces in trajectories, so that the judge can tell their text
    from instructions: `auto` (the default) in groups where a trajectory addresses the judge,
    `always`, or `never`."""
    canary: Annotated[bool, ROBUSTNESS] = False
    """Plant a bad trajectory in `listwise` and `subsets` calls; a verdict that does not place it in
    its last third is void."""
    response_format: Annotated[
        Literal["auto", "json_schema", "json_object", "text"], ROBUSTNESS
    ] = "auto"
    """How the endpoint is made to reply in JSON: `auto` (the default) tries `json_schema`, then
    `json_object`, then the prompt alone (`text`), and remembers what the endpoint accepts."""
    attempts: Annotated[int, Field(ge=1, le=20), ROBUSTNESS] = 4
    """Times that one call is tried when the endpoint fails, from 1 to 20."""
    context_tokens: Annotated[Annotated[int, Field(ge=512)] | None, NETWORK] = None
    """Tokens that the model takes, prompt and reply together, from 512; unless set, as the
    endpoint's `/models` says, else 32,768; less if the endpoint says so when it refuses a call; in
    a group that does not fit, the longest trajectories are shortened in their middle, with a
    mark."""
    timeout_s: Annotated[Positive | None, NETWORK] = None
    """Seconds that an answer is waited for; unless set, until the group's deadline, as long as the
    endpoint answers any call within 600 seconds or, while another of the `base_urls` is untried,
    within its share of the time left."""
    concurrency: Annotated[Bounds, NETWORK] = Bounds(min=1, max=256)
    """Concurrent calls at each base URL, adapted to what it takes: `{min, max}`, or a number for
    the maximum (the minimum is then 1)."""
    queue: Annotated[Count, NETWORK] = 4096
    """Calls that may wait for an endpoint, a rate limit or money; when more would wait, groups are
    refused with a 429."""
    requests_per_minute: Annotated[Positive | None, NETWORK] = None
    """Calls per minute of all processes of the store together; calls beyond it wait; unlimited
    unless set."""
    tokens_per_minute: Annotated[Positive | None, NETWORK] = None
    """Prompt and reply tokens per minute of all processes of the store together; calls beyond it
    wait; unlimited unless set."""
    hedge_after_s: Annotated[Positive | None, NETWORK] = None
    """Seconds without an answer after which a second call is made; the first answer counts and both
    may be paid; no second call unless set."""

    @field_validator("model")
    @classmethod
    def _model_is_no_variable(cls, model: str) -> str:
        if rule := refuse_variable(model):
            raise ValueError(rule)
        return model

    @model_validator(mode="after")
    def _card_chooses_the_prompt(self) -> Self:
        if self.card is not None:
            best = read_best_prompt(Path(self.card), self.model)
            self.prompt = best if self.prompt == "auto" else self.prompt
        return self

    @model_validator(mode="after")
    def _images_are_shown_or_dropped(self) -> Self:
        if self.vision and self.images == "drop":
            raise ValueError(
                "images: drop is for a judge without vision; this one has vision: true"
            )
        return self

    @model_validator(mode="after")
    def _costs_are_known_and_no_more_than_reserved(self) -> Self:
        if self.spend and not self.price:
            raise ValueError("spend needs a price: without one nobody knows what a call costs")
        costlier = next((name for name in _COSTLIER if name in self.extra_body), None)
        if costlier and (self.price or (self.budget and self.budget.tokens)):
            raise PydanticCustomError(
                "costlier",
                "with a price or a budget of tokens a call's worst case is reserved first; this "
                "would pass it: cap replies by the judge's max_tokens; n has to stay 1",
                {"loc": ("extra_body", costlier)},
            )
        return self

    @property
    def is_small(self) -> bool:
        """Whether the model's name says that it has few parameters."""
        size = _SIZE.search(self.model)
        if size is None:
            return False
        return float(size[1]) * {"b": 1e9, "m": 1e6}[size[2].lower()] <= _MOST_SMALL

    def style_for(self, method: str) -> Style:
        """Return the style of prompt in which a method's questions are asked."""
        if self.prompt != "auto":
            return self.prompt
        return "short" if method in _ASKED_BRIEFLY or self.is_small else "long"

    def passes_for(self, method: str) -> Passes:
        """Return the passes set, or else the method's default."""
        return self.passes or DEFAULT_PASSES[method]
