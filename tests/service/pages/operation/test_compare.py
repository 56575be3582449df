"""Judges are compared over what both ranked."""

import pytest

from podium_service.pages.frame import Frame
from podium_service.pages.operation.compare import (
    Pair,
    match_groups,
    measure_costs,
    render_compare,
    summarise,
    tau_b,
)
from podium_service.store.history.judging import RankedGroup


def ranked(
    name: str, rewards: list[float], cost_usd: float | None = None, *, cached: bool = False
) -> RankedGroup:
    return RankedGroup(
        f"ask-{name}", f"<{name}>", "a\u202eb", name.encode(), rewards, cost_usd, cached
    )


def test_tau_is_that_of_the_pairs() -> None:
    assert tau_b([0.1, 0.2, 0.3], [1, 2, 3]) == 1
    assert tau_b([0.1, 0.2, 0.3], [3, 2, 1]) == -1
    assert tau_b([0.5, 0.5], [1, 2]) == 0
    assert tau_b([0.5, 0.5], [1, 1]) is None
    # One of three pairs is tied by the first: (2 - 0) / sqrt(2 * 3).
    assert abs((tau_b([0, 0, 1], [1, 2, 3]) or 0) - 2 / 6**0.5) < 1e-12


def test_a_group_is_matched_once_by_its_content() -> None:
    first = [ranked("x", [1, 0]), ranked("x", [0, 1]), ranked("y", [1, 0])]
    pairs = match_groups(first, [ranked("x", [1, 0]), ranked("z", [1, 0])])
    assert [(pair.first.rewards, pair.tau) for pair in pairs] == [([1, 0], 1.0)]


def test_agreement_has_an_interval() -> None:
    pairs = [Pair(ranked("x", []), ranked("x", []), tau) for tau in (1.0, 0.0, None)]
    found = summarise(pairs)
    assert found
    assert (found.tau, found.groups) == (0.5, 2)
    assert found.low == pytest.approx(-0.48)
    assert found.high == 1.0
    alone = summarise(pairs[:1])
    assert alone
    assert (alone.tau, alone.low, alone.high, alone.groups) == (1.0, None, None, 1)
    assert summarise(pairs[2:]) is None


def test_cost_leaves_out_what_came_from_the_store() -> None:
    groups = {"a": [ranked("x", [1, 0], 0.3), ranked("y", [1, 0], 0.0, cached=True)],
              "b": [ranked("x", [1, 0])]}  # fmt: skip
    matrix = {("a", "b"): summarise(match_groups(groups["a"], groups["b"]))}
    assert [(each.judge, each.usd, each.tau) for each in measure_costs(groups, matrix)] == [
        ("a", 0.3, 1.0)
    ]


def test_the_most_disputed_group_comes_first() -> None:
    groups = {"a": [ranked("same", [1, 0.5, 0]), ranked("other", [1, 0.5, 0])],
              "b": [ranked("same", [1, 0.5, 0]), ranked("other", [0, 0.5, 1])]}  # fmt: skip
    html = render_compare(Frame(), groups, "a", "b")
    assert html.index("&lt;other&gt;") < html.index("&lt;same&gt;")
    assert html.count("other winner") == 1
    assert "U+202E" in html
    assert "<other>" not in html


def test_without_common_groups_there_is_a_command() -> None:
    html = render_compare(Frame(base_url="http://h"), {"a": [ranked("x", [1, 0])]}, "a", "nobody")
    assert "curl http://h/rank" in html
    apart = {"a": [ranked("x", [1, 0])], "b": [ranked("y", [1, 0])]}
    assert "curl http://h/rank" in render_compare(Frame(base_url="http://h"), apart, "", "")
