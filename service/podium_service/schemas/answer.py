"""The models of responses: rankings, problems and the lines of a batch.

Their descriptions are published in the OpenAPI document.
"""

from typing import Literal

from pydantic import BaseModel, Field

Basis = Literal["judged", "identical", "alone", "all_gated"]


class Usage(BaseModel):
    """The judge calls of this request; all zero if the response came from the store."""

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = Field(default=0, description="the cached part of prompt_tokens")
    completion_tokens: int = 0
    cost_usd: float | None = Field(default=None, description="null if the judge has no price")


class TrajectoryResult(BaseModel):
    """The result of one trajectory."""

    id: str
    rank: float = Field(description="1 is best; ties share the mean rank")
    reward: float = Field(ge=0, le=1, description="the reward for the trainer, in [0, 1]")
    score: float | None = Field(description="in [0, 1]; null if no judge was asked")
    stderr: float | None = Field(description="standard error of the score; null if not known")
    explanation: str = Field(default="", description="the judge's explanation, in one sentence")
    flags: list[str] = Field(
        default=[], description="gates that failed, and ways in which the text addresses a judge"
    )


class AssumedNoise(BaseModel):
    """The noise that was assumed of the judge; it is needed to compute the ranking again."""

    variance: float = Field(description="variance of one score's noise, on the judge's scale")
    df: float | None = Field(description="degrees of freedom of the variance; null: certain")
    groups: int = Field(description="number of past groups it was learnt from; 0: configured")
    slots: list[float] = Field(description="the judge's bias for each slot of a list; subtracted")
    ratios: list[float] = Field(description="distribution of past groups' shares of signal")


class JurorResult(BaseModel):
    """The part of one juror in the ranking of a jury."""

    judge: str
    model: str
    status: Literal["counted", "rejected", "failed"] = Field(
        description="rejected: it differs from the other jurors by more than its own noise"
    )
    weight: float = Field(description="share in the combined scores; all shares sum to 1")
    agreement: float | None = Field(description="Kendall's tau_b with the other jurors combined")
    reliability: float | None = Field(description="as of a ranking, for this juror alone")
    noise: AssumedNoise | None = None
    overruled: list[str] = Field(default=[], description="trajectories whose score was dropped")
    code: str | None = Field(default=None, description="code of the error if it failed")


class Ranking(BaseModel):
    """The ranking of a group: one result per trajectory, in the order of the request."""

    id: str = Field(description="the ranking_id of `GET /rankings/{ranking_id}`")
    group_id: str | None = Field(description="as in the request")
    judge: str = Field(description="the judge that ranked the group")
    fallback_from: str | None = Field(default=None, description="the judge that failed first")
    model: str | None = Field(description="the judge's model; null for a checks judge")
    method: str = Field(description="how the judge was asked, for example listwise")
    passes: int = Field(description="number of passes over the group")
    results: list[TrajectoryResult]
    basis: Basis = Field(
        default="judged",
        description="what the rewards rest on: judged, or why no trajectories could be compared: "
        "identical, alone (one passed the gates), all_gated",
    )
    reliability: float | None = Field(description="share of the score variance that is signal")
    noise: AssumedNoise | None = Field(default=None, description="null if nothing was assumed")
    jurors: list[JurorResult] = Field(default=[], description="of a jury; empty for others")
    cached: bool = Field(description="whether the ranking came from the store")
    usage: Usage


class Problem(BaseModel):
    """An error as RFC 9457 defines it, with the members from code to errors."""

    type: str = Field(description="urn:podium: and the code")
    title: str = Field(description="meaning of the code")
    status: int = Field(description="HTTP status")
    detail: str = Field(description="one line: the value, the rule, and what to do")
    code: str = Field(description="name of the error, for programs")
    retryable: bool = Field(description="whether the same request may succeed later")
    request_id: str | None = Field(description="id of the request in the service's log")
    ranking_id: str | None = Field(
        default=None,
        description="of `GET /rankings/{ranking_id}`, if the group was valid and could not be "
        "ranked",
    )
    errors: list[dict[str, str]] = Field(default=[], description="fields at fault, at most ten")


class BatchLine(BaseModel):
    """One NDJSON line of `POST /rank/batch`."""

    index: int = Field(description="position of the group in the request, from 0")
    group_id: str | None = Field(description="as in the request; null if that was not valid")
    status: Literal["ranked", "failed"]
    ranking: Ranking | None = Field(default=None, description="if the group was ranked")
    problem: Problem | None = Field(default=None, description="if the group failed")

    def to_json(self) -> str:
        """Return the line with either `ranking` or `problem`, and without a line break."""
        return self.model_dump_json(exclude={"problem" if self.ranking else "ranking"})
