"""The tools of `podium mcp`: their arguments, checked, and what they answer.

To add one: write a model of its arguments and a function `(backend, arguments) -> CallToolResult`,
and add both to `TOOLS`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from mcp_types import CallToolResult, TextContent, Tool
from pydantic import BaseModel, ConfigDict, Field

from podium.errors import RankError
from podium_service.cli.mcp import answers
from podium_service.cli.mcp.backends import Backend
from podium_service.errors import NotFound, PodiumError
from podium_service.http.requests.body import validate
from podium_service.schemas import MAX_DEADLINE_S, MAX_TRAJECTORIES
from podium_service.telemetry.logs import report_bug


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Attempt(_Arguments):
    """One attempt: its text, or the messages of a whole conversation."""

    id: Annotated[str, Field(pattern=answers.PLAIN_ID, description="a short name, unique")]
    text: str | None = Field(
        default=None, description="the answer, patch or log, as the judge shall see it"
    )
    messages: list[dict[str, Any]] | None = Field(
        default=None, description="instead of text: OpenAI chat messages, the task first"
    )


class RankAttempts(_Arguments):
    """Have a judge compare attempts at one task, and rank them from best to worst.

    Use it to choose among several patches, answers or plans. The judge compares them with each
    other; it runs nothing. Rewards are in [0, 1]: the chance to beat another attempt of the group.
    Judge calls cost money; the same attempts again are answered from the store.
    """

    task: str = Field(description="the task that all attempts were given")
    attempts: list[Attempt] = Field(min_length=2, max_length=MAX_TRAJECTORIES)
    judge: str | None = Field(default=None, description="a name of list_judges; the default one")
    rubric: str | None = Field(default=None, description="criteria that replace the judge's own")
    reference: str | None = Field(default=None, description="a known good answer")
    deadline_s: float = Field(default=120.0, gt=0, le=MAX_DEADLINE_S, allow_inf_nan=False)


class ExplainRanking(_Arguments):
    """Return a past ranking with the judge's explanations, as far as it gave any."""

    ranking_id: str = Field(max_length=64, description="as rank_attempts returned it: rk_...")
    ask_judge: bool = Field(
        default=False, description="ask the judge now for its reasons; this costs judge calls"
    )


class ListJudges(_Arguments):
    """List the judges that can be named, and whether each one answers now."""


async def _rank(backend: Backend, arguments: RankAttempts) -> CallToolResult:
    group: dict[str, Any] = {"trajectories": [_trajectory(arguments.task, each) for each in
                                              arguments.attempts]}  # fmt: skip
    if any(each.messages is not None for each in arguments.attempts):
        group["task"] = arguments.task
    for name in ("judge", "rubric", "reference"):
        if (value := getattr(arguments, name)) is not None:
            group[name] = value
    ranking = await backend.rank(group, arguments.deadline_s)
    page = backend.page(ranking["id"])
    return _result(answers.ranking_text(ranking, page), answers.ranking_data(ranking, page))


def _trajectory(task: str, attempt: Attempt) -> dict[str, Any]:
    if attempt.messages is not None:
        return {"id": attempt.id, "messages": attempt.messages}
    prompt, completion = (
        {"role": "user", "content": task},
        {"role": "assistant", "content": attempt.text or ""},
    )
    return {"id": attempt.id, "messages": [prompt, completion]}


async def _explain(backend: Backend, arguments: ExplainRanking) -> CallToolResult:
    if "\0" in arguments.ranking_id:
        raise NotFound("a ranking id holds no NUL")
    ranking = await backend.read(arguments.ranking_id)
    page = backend.page(ranking["id"])
    text = answers.ranking_text(ranking, page)
    if arguments.ask_judge:
        text += "\n\n" + answers.words_text(await backend.explain(arguments.ranking_id))
    return _result(text, answers.ranking_data(ranking, page))


async def _list(backend: Backend, _arguments: ListJudges) -> CallToolResult:
    judges = await backend.judges()
    return _result(answers.judges_text(judges), answers.judges_data(judges))


@dataclass(frozen=True)
class _Entry:
    arguments: type[BaseModel]
    run: Callable[[Backend, Any], Awaitable[CallToolResult]]


TOOLS = {
    "rank_attempts": _Entry(RankAttempts, _rank),
    "explain_ranking": _Entry(ExplainRanking, _explain),
    "list_judges": _Entry(ListJudges, _list),
}


def describe_tools() -> list[Tool]:
    """Return the tools as a client lists them."""
    return [
        Tool(
            name=name,
            description=entry.arguments.__doc__,
            input_schema=entry.arguments.model_json_schema(),
        )
        for name, entry in TOOLS.items()
    ]


async def call_tool(backend: Backend, name: str, arguments: dict[str, Any]) -> CallToolResult:
    """Run a tool; any failure is an answer that says why."""
    try:
        if name not in TOOLS:
            raise NotFound(f"no tool {name[:64]!r}: there are {', '.join(TOOLS)}")
        entry = TOOLS[name]
        return await entry.run(backend, validate(entry.arguments, arguments))
    except (PodiumError, RankError) as error:
        return _failure(error)
    except Exception as error:  # noqa: BLE001 - a bug ends this call and not the server
        return _failure(report_bug(error))


def _failure(error: PodiumError | RankError) -> CallToolResult:
    detail = error.detail if isinstance(error, RankError) else str(error)
    text = answers.failure_text(error.code, detail, retryable=error.retryable)
    data = {"code": error.code, "retryable": error.retryable}
    return _result(text, data, is_error=True)


def _result(text: str, data: dict[str, Any], *, is_error: bool = False) -> CallToolResult:
    content = [TextContent(type="text", text=text)]
    return CallToolResult(content=content, structured_content=data, is_error=is_error)
