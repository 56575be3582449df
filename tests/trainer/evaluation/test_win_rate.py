"""The win rate: groups that tell a judge nothing, and numbers worked out by hand."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from podium.answers import GroupReward
from podium.errors import JudgeFailed
from podium_trainer.evaluation.win_rate import (
    Comparison,
    Played,
    average,
    interval,
    mix,
    share_won,
    t_quantile,
)
from podium_trainer.tasks.task import Prompt
from tests.fake_service import ranking

PROMPT = Prompt("p", [{"role": "user", "content": "say a"}], task="say it", reference="a")


def played(*texts: str) -> list[Played]:
    return [Played([*PROMPT.messages, {"role": "assistant", "content": t}], "stop") for t in texts]


def mixed(now: Sequence[str], old: Sequence[str], seed: str = "0") -> Comparison:
    return mix(PROMPT, played(*now), played(*old), run="demo", step=20, seed=seed)


def answered(comparison: Comparison, ranks: dict[str, float]) -> GroupReward:
    """Return the service's answer that gives each text its rank."""
    group = comparison.group
    texts = {each.id: str(each.messages[-1]["content"]) for each in group.trajectories}
    wire = ranking(group.to_wire(), dict.fromkeys(texts, 0.5))
    for result in wire["results"]:
        result["rank"] = ranks[texts[result["id"]]]
    return GroupReward.from_answer(group, wire)


def test_metadata_alone_say_which_attempts_are_of_step_0() -> None:
    comparison = mixed(["new 1", "new 2"], ["old 1", "old 2"])
    wire = comparison.group.to_wire()
    baseline = wire["metadata"].pop("baseline")
    assert wire.pop("metadata") == {
        "run": "demo", "step": 20, "prompt_id": "p", "kind": "win_rate", "baseline_step": 0,
    }  # fmt: skip
    assert [each["id"] for each in wire["trajectories"]] == ["0", "1", "2", "3"]
    said = {each["id"]: each["messages"][-1]["content"] for each in wire["trajectories"]}
    assert sorted(said[id] for id in baseline) == ["old 1", "old 2"]
    assert [said[id] for id in comparison.ids] == ["new 1", "new 2"]
    assert (wire["task"], wire["reference"]) == ("say it", "a")


def test_the_order_of_a_mixed_group_is_random_and_seeded() -> None:
    def places(seed: str) -> list[str]:
        return list((mixed(["a", "b"], ["c", "d"], seed).group.metadata or {})["baseline"])

    assert places("0") == places("0")
    assert len({tuple(places(str(seed))) for seed in range(200)}) == 6  # 2 of 4 places


@pytest.mark.parametrize(
    ("ranks", "share"),
    [
        ({"n": 1, "m": 2, "o": 3, "p": 4}, 1.0),
        ({"n": 1, "m": 4, "o": 2, "p": 3}, 0.5),
        ({"n": 2, "m": 3, "o": 1, "p": 4}, 0.5),
        ({"n": 1.5, "m": 3, "o": 1.5, "p": 4}, 0.625),  # ½ + 1 + 0 + 1 of 4 pairs
        ({"n": 2.5, "m": 2.5, "o": 2.5, "p": 2.5}, 0.5),
    ],
)
def test_a_share_counts_pairs_and_halves_ties(ranks: dict[str, float], share: float) -> None:
    group = mixed(["n", "m"], ["o", "p"])
    assert share_won(group, answered(group, ranks)) == share


@given(st.permutations([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
def test_the_shares_of_both_sides_sum_to_one(ranks: list[float]) -> None:
    by_text = dict(zip("abcdef", ranks, strict=True))
    one, other = mixed(["a", "b"], ["c", "d", "e", "f"]), mixed(["c", "d", "e", "f"], ["a", "b"])
    shares = share_won(one, answered(one, by_text)), share_won(other, answered(other, by_text))
    assert math.fsum(share for share in shares if share is not None) == pytest.approx(1.0)


def test_a_group_that_failed_is_left_out_and_counted() -> None:
    error = JudgeFailed("verdict_invalid", 502, False, None, "no verdict")
    assert share_won(mixed(["a"], ["b"]), GroupReward.from_error(error)) is None
    rate = average([1.0, None, 0.5, 0.0, None])
    assert (rate.rate, rate.prompts, rate.failed) == (0.5, 3, 2)
    assert rate.stderr == pytest.approx(0.5 / math.sqrt(3))
    assert average([None]) == average([None, *()])
    assert (average([None]).rate, average([0.5]).stderr) == (None, None)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 7, 31, 1000])
def test_the_interval_is_that_of_students_t(df: int) -> None:
    assert t_quantile(df) == pytest.approx(t.ppf(0.975, df), rel=2e-3)


def test_the_interval_stays_within_zero_and_one() -> None:
    low, high = interval(0.95, 0.1, 5)
    assert low == pytest.approx(0.95 - 2.776 * 0.1, abs=1e-3)
    assert high == 1.0
