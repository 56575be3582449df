"""The models of what the store keeps: rankings, the calls behind them, and runs.

Their descriptions are published in the OpenAPI document.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from podium_service.schemas.answer import Problem, Ranking, Usage

Outcome = Literal["ranked", "failed"]


class RankingSummary(BaseModel):
    """One group that a client asked to have ranked, also one that failed or was in the store."""

    id: str = Field(description="the ranking_id of `GET /rankings/{ranking_id}`")
    ask: str = Field(
        description="the id of this request, which grows with time: a ranking that was asked for "
        "twice has two; `GET /rankings/{ranking_id}` takes it, too"
    )
    at: float = Field(description="when it was answered, in seconds since the epoch")
    outcome: Outcome
    code: str | None = Field(default=None, description="code of the problem if it failed")
    detail: str | None = Field(default=None, description="the problem in one line if it failed")
    run: str | None = Field(default=None, description="`run` of the group's metadata")
    step: int | None = Field(default=None, description="`step` of the group's metadata")
    group_id: str | None = Field(default=None, description="as in the request")
    prompt_id: str | None = Field(
        default=None,
        description="`prompt_id` of the group's metadata, else a hash of the prompt and the task",
    )
    judge: str = Field(description="the judge that ranked the group, or was asked first")
    model: str | None = Field(default=None, description="the judge's model; null: none, or failed")
    method: str | None = Field(default=None, description="null if it failed")
    passes: int | None = Field(default=None, description="null if it failed")
    reliability: float | None = None
    cached: bool = Field(default=False, description="whether the ranking came from the store")
    num_trajectories: int
    ids: list[str] = Field(description="of the trajectories, in the order of the request")
    rewards: list[float] | None = Field(default=None, description="by trajectory")
    flags: list[list[str]] | None = Field(default=None, description="by trajectory; null: none")
    lengths: list[int] | None = Field(
        default=None, description="characters that the policy wrote, by trajectory"
    )
    truncated: int | None = Field(
        default=None, description="number of trajectories whose finish_reason is length"
    )
    kind: str | None = Field(
        default=None,
        description="`kind` of the group's metadata; null: a group that a run learns by",
    )
    mean_score: float | None = Field(default=None, description="of the judge's scores, in [0, 1]")
    win_rate: float | None = Field(
        default=None,
        description="share of pairs in which an attempt ranks before one of the baseline, which "
        "the metadata or an anchor name; null: there is no baseline",
    )
    verified: float | None = Field(
        default=None, description="mean of the verified rewards; null unless each attempt has one"
    )
    latency_s: float | None = Field(default=None, description="until the answer, in seconds")
    cost_usd: float | None = Field(default=None, description="null if the judge has no price")
    tokens: int = Field(default=0, description="of prompts and replies")
    api_key_id: str | None = Field(default=None, description="null if no stored key was needed")
    again_of: str | None = Field(
        default=None, description="`ask` of the group that a person had judged again by this one"
    )
    flip_order: bool = Field(default=False, description="as in the request")
    prompt: str | None = Field(
        default=None,
        description="first 200 characters of the task, or of the prompt; null: not kept",
    )


class RankingPage(BaseModel):
    """Some rankings, newest first."""

    rankings: list[RankingSummary]
    next: str | None = Field(description="the cursor of the next page; null: there is none")


class SentTrajectory(BaseModel):
    """A trajectory as it was sent."""

    id: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    finish_reason: str | None = None
    verified_reward: float | None = None


class SentGroup(BaseModel):
    """A group as it was sent, apart from its metadata."""

    group_id: str | None = None
    judge: str | None = None
    task: str | None = None
    reference: str | None = None
    rubric: str | None = None
    tools: list[dict[str, Any]] | None = None
    flip_order: bool = False
    trajectories: list[SentTrajectory]


class RankingDetail(BaseModel):
    """One ranking, or the problem in its place, and the group as it was sent."""

    summary: RankingSummary
    ranking: Ranking | None = Field(default=None, description="null if the group failed")
    problem: Problem | None = Field(default=None, description="null if the group was ranked")
    request: SentGroup | None = Field(
        default=None, description="null where texts are not kept, or the group is from before"
    )
    request_id: str | None = Field(default=None, description="of the request, in the log")
    metadata: dict[str, Any] | None = Field(default=None, description="as in the request")


class CallView(BaseModel):
    """One call to a judge: the exact prompt and reply, and what was read from it.

    The trajectories of a call are those that differ: each stands for all that are equal to it, by
    the id of the first of them.
    """

    pass_index: int = Field(description="from 0; a call that is asked again keeps its pass")
    at: float = Field(description="when the reply was there, in seconds since the epoch")
    judge: str
    model: str
    messages: list[dict[str, Any]] = Field(description="the prompt; empty where texts are not kept")
    reply: str
    finish_reason: str | None = None
    order: list[str] = Field(description="ids of the client, by slot; empty without a verdict")
    shown_ids: dict[str, str] = Field(description="ids of the client, by the ids shown")
    scores: dict[str, float] = Field(description="by ids of the client")
    explanations: dict[str, str] = Field(description="by ids of the client; those that are there")
    fault: str | None = Field(default=None, description="why there is no verdict")
    usage: Usage
    latency_s: float


class CallList(BaseModel):
    """The calls behind a ranking, oldest first; empty where no LLM was asked."""

    calls: list[CallView]


class RunSummary(BaseModel):
    """The groups whose metadata name one run."""

    run: str
    first_at: float
    last_at: float
    last_step: int | None = None
    groups: int = Field(description="asked to be ranked, failed ones included")
    failed: int
    cost_usd: float | None = Field(default=None, description="null if no judge has a price")
    tokens: int
    planned_steps: int | None = Field(
        default=None, description="`steps` of the newest group's metadata; only of one run"
    )


class RunPrompt(BaseModel):
    """A prompt of a run, and in how many of its groups it was asked."""

    prompt_id: str
    prompt: str | None
    groups: int
    first_step: int | None
    last_step: int | None


class RunPage(BaseModel):
    """Some runs, the last active one first."""

    runs: list[RunSummary]
    next: str | None = Field(description="the cursor of the next page; null: there is none")


class RunStep(BaseModel):
    """The groups of one step of a run.

    Shares and means are over those that were ranked and that the run learns by.
    """

    step: int | None = Field(description="null: groups whose metadata name no step")
    at: float = Field(description="when the last of them was answered")
    groups: int
    ranked: int
    failed: int
    failures: dict[str, int] = Field(description="number of failed groups by code")
    cached: int
    reliability: float | None = Field(default=None, description="mean")
    with_signal: float | None = Field(
        default=None, description="share of the groups whose rewards are not all equal"
    )
    ties: float | None = Field(
        default=None, description="mean share of the pairs of a group with equal rewards"
    )
    flagged: float | None = Field(default=None, description="share of groups with a flag")
    truncated: float | None = Field(default=None, description="share of trajectories cut off")
    mean_score: float | None = Field(default=None, description="of the judge's scores, in [0, 1]")
    mean_length: float | None = Field(
        default=None, description="characters that the policy wrote per trajectory"
    )
    verified: float | None = Field(default=None, description="mean of the verified rewards")
    compared: int = Field(default=0, description="number of ranked groups with a baseline")
    win_rate: float | None = Field(
        default=None, description="mean win rate against the baseline, over `compared` groups"
    )
    win_rate_stderr: float | None = Field(
        default=None, description="its standard error; null for one group"
    )
    latency_s: float | None = Field(default=None, description="mean seconds per group")
    cost_usd: float | None = Field(default=None, description="null if no judge has a price")
    tokens: int


class RunDetail(BaseModel):
    """A run, step by step."""

    summary: RunSummary
    steps: list[RunStep]


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not hold a NUL")
    return text


Name = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_without_nul)]


class PageQuery(BaseModel):
    """The page of a list that a client wants."""

    model_config = ConfigDict(extra="forbid")

    cursor: Name | None = Field(default=None, description="`next` of the page before")
    limit: int = Field(default=50, ge=1, le=500, description="the most that a page holds")


class RankingQuery(PageQuery):
    """The rankings that a client wants; what is left out stands for anything."""

    run: Name | None = None
    step: int | None = Field(default=None, ge=0, le=2**53)
    judge: Name | None = None
    group_id: Name | None = None
    prompt_id: Name | None = None
    outcome: Outcome | None = None
    code: Name | None = Field(default=None, description="of the problem")
    flag: Name | None = Field(default=None, description="how a flag begins, for example gate")
    min_reliability: float | None = Field(default=None, ge=0, le=1)
    max_agreement: float | None = Field(
        default=None, ge=-1, le=1, description="mean agreement of jurors with the others, at most"
    )
    signal: bool | None = Field(default=None, description="whether the rewards differ")
    longest_wins: bool | None = Field(
        default=None, description="whether the longest trajectory has the greatest reward"
    )
    check_disagrees: bool | None = Field(
        default=None,
        description="whether a trajectory with the greatest verified reward has less reward than "
        "one without",
    )
    q: Name | None = Field(
        default=None, description="a text in the prompt's beginning, the group's id or the id"
    )
    since: datetime | None = Field(
        default=None, description="answered then or later: RFC 3339, or seconds since the epoch"
    )
