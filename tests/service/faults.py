"""Play the faults of judges as steps of a scripted judge, for groups whose scores are known.

A trajectory's worth stands in its text, so that every score that comes back can be checked. One
server plays all judges, and knows by the `model` of a call which judge is asked.
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
    """Return the worth that stands in the text of a trajectory."""
    match = re.search(r"worth (\d\.\d+)", text)
    assert match, text
    return float(match[1])


GOOD = scores(worth)


def verdict(asked: Asked) -> str:
    answer = GOOD(asked).body
    assert isinstance(answer, dict)
    return str(answer["choices"][0]["message"]["content"])


def rewritten(rewrite: Callable[[str], str], **how: Any) -> Step:
    """Answer with a true verdict whose text is changed."""
    return lambda asked: says(rewrite(verdict(asked)), **how)(asked)


def scored(score: str) -> Step:
    """Answer with a verdict in which every score is this literal."""
    return rewritten(lambda text: re.sub(r'"score": [\d.]+', f'"score": {score}', text))


def quoted(text: str) -> str:
    return re.sub(r'"score": ([\d.]+)', r'"score": "\1"', text)


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
    """Answer with this text, cut off after all the tokens that the call allows."""
    return lambda asked: says(text, "length", asked.body["max_completion_tokens"])(asked)


def never_ends(asked: Asked) -> Answer:
    """Send a part of the body, and keep the connection open."""
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
    """Return trajectories that no other group has."""
    return [f"answer {number}.{index}, worth {each}" for index, each in enumerate(worths)]


def assert_true(ranking: Ranking, worths: Sequence[float]) -> None:
    """Assert that each trajectory got its own score, and a reward that follows from the scores.

    Scores may be shrunk a little, and rewards moved toward .5, by what is known of the judge.
    """
    assert [result.score for result in ranking.results] == pytest.approx(worths, abs=2e-3)
    rewards = [result.reward for result in ranking.results]
    beaten = [sum(other < each for other in worths) / (len(worths) - 1) for each in worths]
    assert sorted(zip(beaten, rewards, strict=True)) == sorted(
        zip(sorted(beaten), sorted(rewards), strict=True)
    )
    assert sum(rewards) == pytest.approx(len(rewards) / 2)


def failures(opened: Service, name: str) -> Counter[str]:
    """Count the errors that ended the groups of a judge, by code."""
    return Counter(
        {
            labels["outcome"]: int(value)
            for labels, value in samples(opened, "podium_rankings_total", name)
            if labels["outcome"] not in ("ranked", "cached")
        }
    )


def samples(opened: Service, series: str, name: str) -> list[tuple[dict[str, str], float]]:
    """Return the labels and values of one judge's series."""
    return [
        (sample.labels, sample.value)
        for metric in opened.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == series and sample.labels.get("judge") == name
    ]
