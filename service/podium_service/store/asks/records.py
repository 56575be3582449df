"""Turn answered requests into rows, in the thread that writes them.

The event loop only collects what there is to write, because all else takes as long as a judge's
prompt: the group's JSON, its hash, and its compression.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson
from pydantic_core import to_json

from podium_service.errors import PodiumError
from podium_service.schemas import Ranking, RankRequest, Usage
from podium_service.store.asks.ids import asked_at
from podium_service.store.asks.sent import prompt_of, transcript_of
from podium_service.store.asks.statistics import length_of, statistics_of
from podium_service.store.database.compression import compress_all
from podium_service.store.database.database import Row, Rows
from podium_service.store.database.tables import ASKS, RANKINGS, TRANSCRIPTS

_PROMPT_CHARS = 200
_MAX_NAME_CHARS = 256
_MAX_STEP = 2**63 - 1
_NUMBERS_ONLY = ("run", "step", "steps", "prompt_id", "kind")  # kept where texts are not


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to rank a group, and its answer.

    Attributes:
        id: of this request (see `ids`).
        key: the content key of the ranking; None if the group failed.
        judge: the judge that ranked the group, or was asked first.
        calls: the judges' runs over the group: for each content key, which trajectory each body
            stands for.
        api_key_id, again_of: as in a `RequestContext`.
    """

    id: int
    request: RankRequest
    answer: Ranking | PodiumError
    judge: str
    key: str | None = None
    calls: Mapping[str, Sequence[int]] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    latency_s: float | None = None
    api_key_id: str = ""
    request_id: str | None = None
    again_of: int | None = None

    @property
    def ranking_id(self) -> str:
        """The id under which the answer is found."""
        answer = self.answer
        return answer.id if isinstance(answer, Ranking) else str(answer.ranking_id)


def write_asks(rows: Rows, *, keep_texts: bool) -> Rows:
    """Return the rows of a transaction with its asks written out, in the order of the tables.

    Args:
        rows: the rows by table; one of `ASKS` holds an `Ask` so far.
        keep_texts: whether what trajectories and judges say is kept.
    """
    asks: list[Ask] = [row["ask"] for row in rows.get(ASKS, [])]
    if not asks:
        return rows
    transcripts = _transcript_rows(asks) if keep_texts else {}
    rankings: dict[str, Row] = {}
    ask_rows = []
    for ask in asks:
        answer = _answer_json(ask.answer, keep_texts=keep_texts)
        if answer and ask.key:
            rankings.setdefault(ask.ranking_id, _ranking_row(ask, answer))
        row = _ask_row(ask, keep_texts=keep_texts)
        # An answer that cost nothing may be an earlier one, to a caller with other ids.
        row["answer"] = compress_all([answer])[0] if answer and not ask.usage.calls else None
        row["transcript"] = transcripts[ask.id]["key"] if keep_texts else None
        ask_rows.append(row)
    unique = {row["key"]: row for row in transcripts.values()}
    more = {
        TRANSCRIPTS: [unique[key] for key in sorted(unique)],
        RANKINGS: [rankings[key] for key in sorted(rankings)],
        ASKS: ask_rows,
    }
    return {**rows, **{table: some for table, some in more.items() if some}}


def _transcript_rows(asks: Sequence[Ask]) -> dict[int, Row]:
    """Return the transcript of each ask, by its id."""
    contents = [transcript_of(ask.request) for ask in asks]
    return {
        ask.id: {
            "key": sha256(content).digest(),
            "used_at": asked_at(ask.id),
            "content": frame,
        }
        for ask, content, frame in zip(asks, contents, compress_all(contents), strict=True)
    }


def _answer_json(answer: Ranking | PodiumError, *, keep_texts: bool) -> bytes | None:
    if isinstance(answer, PodiumError):
        return None
    if keep_texts:
        return answer.model_dump_json().encode()
    exclude = {"results": {"__all__": {"explanation"}}}
    return answer.model_dump_json(exclude=exclude).encode()


def _ranking_row(ask: Ask, answer: bytes) -> Row:
    return {
        "id": ask.ranking_id,
        "key": ask.key,
        "created_at": asked_at(ask.id),
        "answer": answer,
        "ask": ask.id,
    }


def _ask_row(ask: Ask, *, keep_texts: bool) -> Row:
    request, answer = ask.request, ask.answer
    metadata = request.metadata or {}
    if not keep_texts:
        metadata = {name: metadata[name] for name in _NUMBERS_ONLY if name in metadata}
    prompt, prompt_id = prompt_of(request)
    ranking = answer if isinstance(answer, Ranking) else None
    results = ranking.results if ranking else []
    lengths = [length_of(each) for each in request.trajectories]
    return {
        "id": ask.id,
        "ranking_id": ask.ranking_id,
        "run": name_of(metadata.get("run")),
        "step": step_of(metadata.get("step")),
        "group_id": name_of(request.group_id),
        "prompt_id": name_of(metadata.get("prompt_id")) or prompt_id,
        "judge": ask.judge,
        "code": None if isinstance(answer, Ranking) else answer.code,
        "kind": name_of(metadata.get("kind")),
        "cached": ranking.cached if ranking else False,
        "reliability": ranking.reliability if ranking else None,
        **statistics_of(request, ranking, lengths),
        "latency_s": ask.latency_s,
        "cost_usd": ask.usage.cost_usd,
        "tokens": ask.usage.prompt_tokens + ask.usage.completion_tokens,
        "num_trajectories": len(request.trajectories),
        "model": storable(ranking.model) if ranking and ranking.model else None,
        "method": ranking.method if ranking else None,
        "passes": ranking.passes if ranking else None,
        "api_key_id": ask.api_key_id or None,
        "request_id": ask.request_id,
        "prompt": storable(prompt[:_PROMPT_CHARS]) if keep_texts else None,
        "flags": _flags(ranking),
        "ids": to_json([each.id for each in request.trajectories]),
        "rewards": orjson.dumps([each.reward for each in results]) if ranking else None,
        "lengths": orjson.dumps(lengths),
        "problem": _problem(answer, keep_texts=keep_texts),
        "metadata": to_json(metadata) if metadata else None,
        "calls": orjson.dumps(dict(ask.calls)) if ask.calls else None,
        "again_of": ask.again_of,
        "flip_order": request.flip_order,
    }


def _flags(ranking: Ranking | None) -> str | None:
    flags = [each.flags for each in ranking.results] if ranking else []
    return storable(orjson.dumps(flags).decode()) if any(flags) else None


def _problem(answer: Ranking | PodiumError, *, keep_texts: bool) -> bytes | None:
    if isinstance(answer, Ranking):
        return None
    problem = answer.problem()
    if not keep_texts:  # it may quote a reply
        problem["detail"] = answer.title
    return to_json(problem)


def storable(text: str) -> str:
    """Return a text as every database takes it: without NULs and halves of characters."""
    return text.replace("\0", "").encode(errors="replace").decode()


def name_of(value: Any) -> str | None:
    """Return a run's or a prompt's name, as metadata hold it; None where that is no name."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return storable(str(value)[:_MAX_NAME_CHARS]) or None


def step_of(value: Any) -> int | None:
    """Return a step's number, as metadata hold it; None where that is no whole number."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:20])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_step = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_STEP
    return value if is_step else None
