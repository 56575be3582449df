"""Each fault of a judge, alone, ends in true scores or in a typed failure."""

import asyncio
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import Answer, Asked, ScriptedJudge, Step, drops, fails, hangs, says
from tests.service.faults import (
    FILTERED,
    GOOD,
    NO_CREDIT,
    NO_OBJECT,
    NO_SCHEMA,
    SPARE,
    TOO_LONG,
    WORTHS,
    answers,
    assert_true,
    at_the_cap,
    failures,
    html,
    judge,
    never_ends,
    quoted,
    reasoned,
    renamed,
    rewritten,
    scored,
    spare,
    with_one_more,
    with_the_first_twice,
    without_the_last,
)
from tests.service.helpers import request, service

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Row:
    """A judge that plays faults first and true verdicts then.

    Attributes:
        faults: the steps it plays first.
        calls: how many calls the group takes.
        failed: the code of the error that sends the group to the spare judge, if one does.
        settings: of the judge.
    """

    faults: Sequence[Step]
    calls: int
    failed: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


ROWS = {
    # a rate limit
    "429": Row([fails(429)], 2),
    "429 with a floor": Row([fails(429, retry_after="0.1")], 2),
    "429 beyond the timeout": Row([fails(429, retry_after="600")], 1, "judge_rate_limited"),
    "429 to the end": Row([fails(429)] * 2, 2, "judge_rate_limited"),
    "no credit as 429": Row([NO_CREDIT], 1, "judge_quota_exhausted"),
    # an endpoint that fails
    "500": Row([fails(500)], 2),
    "500 to the end": Row([fails(500)] * 2, 2, "judge_unavailable"),
    "529, overloaded": Row([fails(529, "Overloaded")], 2),
    "lost connection": Row([drops], 2),
    "no answer": Row([hangs], 2, settings={"timeout_s": 3.0}),
    "half an answer": Row([never_ends], 2, settings={"timeout_s": 3.0}),
    "a gateway's page": Row([html], 2),
    # an endpoint that refuses
    "401": Row([fails(401)], 1, "judge_rejected"),
    "404": Row([fails(404)], 1, "judge_rejected"),
    "a redirect": Row([fails(307, location="http://127.0.0.1:9/v1")], 1, "judge_rejected"),
    # cut off
    "cut off": Row([at_the_cap('{"')], 2),
    "cut off twice": Row([at_the_cap('{"')] * 2, 2, "verdict_truncated"),
    "blanks without end": Row([at_the_cap(" \n" * 5000)] * 2, 2, "verdict_truncated"),
    "cut off as if done": Row([rewritten(lambda text: text[:-9])], 2),
    # a verdict in an unusual wrapping
    "thinking": Row([rewritten(lambda text: f'<think>{{"a": 1}}</think>{text}')], 1),
    "a code fence": Row([rewritten(lambda text: f"Here:\n```json\n{text}\n```")], 1),
    "in the reasoning field": Row([reasoned], 1),
    "quoted scores": Row([rewritten(quoted)], 1),
    # no verdict
    "one too few": Row([rewritten(without_the_last)], 2),
    "one too many": Row([rewritten(with_one_more)], 2),
    "wrong ids": Row([rewritten(renamed)], 2),
    "an id twice": Row([rewritten(with_the_first_twice)], 2),
    "out of 7": Row([scored("7")], 2),
    "out of 10": Row([scored("10")], 2),
    "out of 15": Row([scored("15")], 2),
    "a percentage": Row([scored('"80%"')], 2),
    "NaN": Row([scored("NaN")], 2),
    "prose": Row([says("The first one is best.")], 2),
    "never a verdict": Row([says("?"), scored("7")], 2, "verdict_invalid"),
    # refused
    "a refusal": Row([says(None, refusal="I will not judge people")], 1, "judge_refused"),
    "a content filter": Row([says("", "content_filter")], 1, "judge_refused"),
    "a content filter as 400": Row([FILTERED], 1, "judge_refused"),
    # a parameter that it does not accept
    "no json_schema": Row([NO_SCHEMA], 2),
    "no response_format": Row([NO_SCHEMA, NO_OBJECT], 3),
    "no max_completion_tokens": Row([fails(400, "Unknown field max_completion_tokens")], 2),
    "no temperature": Row([fails(400, "temperature must be 1")], 2, settings={"temperature": 0}),
    # too long
    "more tokens than we counted": Row([TOO_LONG], 2),
    "too long however short": Row([TOO_LONG] * 2, 2, "context_exceeded"),
}


async def test_each_fault_alone_ends_in_true_scores_with_few_calls(
    tmp_path: Path,
) -> None:
    scripts = {name: deque(row.faults) for name, row in ROWS.items()}

    def play(asked: Asked) -> Answer:
        script = scripts.get(asked.body["model"])
        return script.popleft()(asked) if script else GOOD(asked)

    async with ScriptedJudge(always=play).serving() as server:
        judges = {name: judge(server.url, name, **row.settings) for name, row in ROWS.items()}
        async with service(tmp_path, **judges, spare=spare(server.url)) as opened:
            rankings_to_come = (
                opened.ranker.rank(request(*answers(0), judge=name)) for name in ROWS
            )
            rankings = dict(zip(ROWS, await asyncio.gather(*rankings_to_come), strict=True))
            failed = {name: failures(opened, name) for name in ROWS}
    calls = Counter(asked.body["model"] for asked in server.asked)
    assert {name: calls[name] for name in ROWS} == {name: row.calls for name, row in ROWS.items()}
    assert failed == {name: Counter([row.failed] * bool(row.failed)) for name, row in ROWS.items()}
    for name, ranking in rankings.items():
        assert ranking.judge == (SPARE if ROWS[name].failed else name)
        assert_true(ranking, WORTHS)
