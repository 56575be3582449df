"""What goes wrong with judges, as steps of a scripted judge; and groups whose truth is known.

What a trajectory is worth stands in its text, so that every score that comes back can be checked.
One server plays all judges; a judge is told by the `model` that it is asked for.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from podium_service.http.service import Service
from podium_service.schemas import Ranking
from tests.fakes import Answer, Asked, Step, fails, says, scores
from tests.service.helpers import llm

SPARE = "spare"  # the healthy judge that all others fall back to
WORTHS = (0.35, 0.8, 0.05, 0.6)


def worth(text: str) -> float:
    """What the text of a trajectory says that it is worth."""
    found = re.search(r"worth (\d\.\d+)", text)
    assert found, text
    return float(found[1])


GOOD = scores(worth)


def verdict(asked: Asked) -> str:
    answer = GOOD(asked).body
    assert isinstance(answer, dict)
    return str(answer["choices"][0]["message"]["content"])


def rewritten(rewrite: Callable[[str], str], **how: Any) -> Step:
    """A faithful verdict, its text spoilt or wrapped."""
    return lambda asked: says(rewrite(verdict(asked)), **how)(asked)


def scored(score: str) -> Step:
    """Every score is this literal."""
    return rewritten(lambda text: re.sub(r'"score": [\d.]+', f'"score": {score}', text))


def without_the_last(text: str) -> str:
    return json.dumps(dict(list(json.loads(text).items())[:-1]))


def with_one_more(text: str) -> str:
    return json.dumps({**json.loads(text), "ZZZZZ": {"explanation": "", "score": 0.5}})


def renamed(text: str) -> str:
    return json.dumps({f"#{index}": each for index, each in enumerate(json.loads(text).values())})


def with_the_first_twice(text: str) -> str:
    first, entry = next(iter(json.loads(text).items()))
    return f'{{"{first}": {json.dumps(entry)}, {text[1:]}'


def reasoned(asked: Asked) -> Answer:
    return says(None, reasoning_content=verdict(asked))(asked)


def at_the_cap(text: str) -> Step:
    """The reply uses up all its tokens."""
    return lambda asked: says(text, "length", asked.body["max_completion_tokens"])(asked)


def never_ends(asked: Asked) -> Answer:
    """The body stops in its middle, and the connection stays open."""
    return replace(GOOD(asked), headers={"content-length": "100000"})


def html(asked: Asked) -> Answer:
    return Answer("<html>gateway</html>")


TOO_LONG = fails(400, "This model's maximum context length is 2048 tokens")
NO_SCHEMA = fails(400, "response_format.type json_schema is not supported")
NO_OBJECT = fails(400, "Invalid parameter: response_format")
NO_CREDIT = fails(429, "You exceeded your current quota", code="insufficient_quota")
FILTERED = fails(400, "The response was filtered", code="content_filter")


def judge(url: str, name: str, **settings: Any) -> dict[str, Any]:
    return llm(url, **{"model": name, "passes": 1, "fallback": [SPARE], **settings})


def spare(url: str) -> dict[str, Any]:
    return llm(url, model=SPARE, passes=1)


def answers(number: int, worths: Sequence[float] = WORTHS) -> list[str]:
    """The trajectories of a group, which no other group has."""
    return [f"answer {number}.{index}, worth {each}" for index, each in enumerate(worths)]


def assert_true(ranking: Ranking, worths: Sequence[float]) -> None:
    """Each got its own score, which what was learnt of a judge may shrink a little, and the reward
    that those scores make."""
    assert [result.score for result in ranking.results] == pytest.approx(worths, abs=2e-3)
    beaten = [sum(other < each for other in worths) / (len(worths) - 1) for each in worths]
    assert [result.reward for result in ranking.results] == pytest.approx(beaten)


def failures(opened: Service, name: str) -> Counter[str]:
    """The errors that ended the groups of a judge, by code."""
    return Counter(
        {
            labels["outcome"]: int(value)
            for labels, value in samples(opened, "podium_rankings_total", name)
            if labels["outcome"] not in ("ranked", "cached")
        }
    )


def samples(opened: Service, series: str, name: str) -> list[tuple[dict[str, str], float]]:
    """The labels and values of one judge's series."""
    return [
        (sample.labels, sample.value)
        for metric in opened.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == series and sample.labels.get("judge") == name
    ]
