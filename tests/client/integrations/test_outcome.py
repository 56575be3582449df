"""The policy that all hooks share: anchors are not trained on, failures are no numbers."""

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.answers import GroupReward
from podium.errors import JudgeFailed
from podium.integrations.outcome import (
    ANCHOR_ID,
    columns,
    metrics,
    results_of,
    rewards_of,
    run_metadata,
    tell_page,
    win_rate,
    with_anchor,
)
from tests.client.helpers import group
from tests.fake_service import ranking

FAILED = GroupReward.from_error(JudgeFailed("verdict_invalid", 502, False, "rq_7", "no verdict"))
ANCHOR = ANCHOR_ID


def outcome(
    ranks: dict[str, float], scores: dict[str, float] | None = None, **more: Any
) -> GroupReward:
    asked = with_anchor(group(ids="ab"), [{"role": "assistant", "content": "4"}])
    if ANCHOR_ID not in ranks:
        asked = group(ids="".join(ranks))
    results = [
        {
            "id": id,
            "rank": rank,
            "reward": (len(ranks) - rank) / (len(ranks) - 1),
            "score": (scores or {}).get(id),
            "explanation": f"{id} is what it is",
        }
        for id, rank in ranks.items()
    ]
    answer = ranking({}, {}, **{"usage": None, "results": results} | more)
    return GroupReward.from_answer(asked, answer)


def usage(prompt: int, completion: int, cost_usd: float | None) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "cost_usd": cost_usd}


def test_an_anchor_is_ranked_and_not_trained_on() -> None:
    asked = with_anchor(group(ids="ab"), [{"role": "assistant", "content": "4"}])
    assert [each.id for each in asked.trajectories] == ["a", "b", ANCHOR_ID]
    ranked = outcome({ANCHOR: 2.0, "a": 3.0, "b": 1.0})
    assert rewards_of(ranked) == [0.0, 1.0]
    assert [each.id for each in results_of(ranked) or ()] == ["a", "b"]


def test_a_group_without_an_anchor_stays_as_it_is() -> None:
    asked = group()
    assert with_anchor(asked, None) is asked
    ranked = outcome({"a": 1.0, "b": 2.0})
    assert rewards_of(ranked) == [1.0, 0.0]
    assert win_rate(ranked) is None


@pytest.mark.parametrize(
    ("ranks", "wins"),
    [
        ({"a": 1.0, "b": 2.0, ANCHOR: 3.0}, 1.0),
        ({"a": 1.0, "b": 3.0, ANCHOR: 2.0}, 0.5),
        ({"a": 2.5, "b": 2.5, ANCHOR: 1.0}, 0.0),
        ({"a": 1.0, "b": 2.5, ANCHOR: 2.5}, 0.75),
        ({"a": 2.0, "b": 2.0, ANCHOR: 2.0}, 0.5),
    ],
)
def test_the_win_rate_counts_a_tie_as_half_a_win(ranks: dict[str, float], wins: float) -> None:
    assert win_rate(outcome(ranks)) == wins


def test_a_failed_group_has_no_numbers() -> None:
    assert rewards_of(FAILED) is None
    assert results_of(FAILED) is None
    assert win_rate(FAILED) is None
    assert metrics([FAILED]) == {
        "podium/groups_ranked": 0.0,
        "podium/groups_failed": 1.0,
        "podium/judge_tokens": 0.0,
    }


def test_the_metrics_of_a_batch() -> None:
    first = outcome(
        {"a": 1.0, "b": 3.0, ANCHOR: 2.0},
        {"a": 0.9, "b": 0.1, ANCHOR: 0.5},
        reliability=0.8,
        usage=usage(100, 10, 0.25),
    )
    second = outcome({"a": 1.0, "b": 2.0}, {"a": 0.6, "b": 0.4}, usage=usage(50, 5, None))
    assert metrics([first, FAILED, second]) == pytest.approx(
        {
            "podium/score": 0.5,  # of .9, .1, .6 and .4; the anchor's .5 is not among them
            "podium/win_rate": 0.5,
            "podium/reliability": 0.8,
            "podium/groups_ranked": 2,
            "podium/groups_failed": 1,
            "podium/judge_tokens": 165,
            "podium/cost_usd": 0.25,
        }
    )


@given(st.lists(st.booleans(), max_size=6))
def test_every_group_is_counted_once(ranked: list[bool]) -> None:
    found = metrics([outcome({"a": 1.0, "b": 2.0}) if each else FAILED for each in ranked])
    assert found["podium/groups_ranked"] == sum(ranked)
    assert found["podium/groups_failed"] == len(ranked) - sum(ranked)


def test_columns_show_a_ranking_or_its_error() -> None:
    ranked = outcome({"a": 1.0, "b": 3.0, ANCHOR: 2.0}, {"a": 0.9})
    assert columns([ranked, FAILED], [2, 1]) == {
        "podium/ranking": ["rk_1", "rk_1", None],
        "podium/rank": [1.0, 3.0, None],
        "podium/score": [0.9, None, None],
        "podium/explanation": ["a is what it is", "b is what it is", None],
        "podium/error": [None, None, str(FAILED.error)],
    }


def test_the_page_of_a_run_is_told_once(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for run in ("one", "one", "two"):
        tell_page(f"http://podium.test/ui/runs/{run}")
    assert capsys.readouterr().err.splitlines() == [
        "podium: the groups of this run: http://podium.test/ui/runs/one",
        "podium: the groups of this run: http://podium.test/ui/runs/two",
    ]
    with caplog.at_level(logging.INFO, "podium"):
        tell_page("http://podium.test/ui")
    assert caplog.messages == ["the groups of this run: http://podium.test/ui"]
    assert capsys.readouterr().err == ""


def test_metadata_names_the_run_and_the_version_of_the_trainer() -> None:
    metadata = run_metadata("pytest", "demo", 3)
    assert metadata == {
        "run": "demo", "step": 3, "trainer": "pytest", "version": pytest.__version__
    }  # fmt: skip
    assert run_metadata("no-such-trainer", None, None) == {"trainer": "no-such-trainer"}
