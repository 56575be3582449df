"""Judge cards: labelled groups in, measures out; and two judges side by side."""

import json
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau
from typer.testing import CliRunner, Result

from podium_service.cli.commands.calibrate import calibrate_command
from podium_service.cli.commands.compare import compare_command
from podium_service.cli.main import app
from podium_service.errors import InvalidRequest, MalformedJSON, PodiumError
from podium_service.evaluation.bias import length_bias, length_bins, slot_bias
from podium_service.evaluation.compare import sign_changes, top1_agreement
from podium_service.evaluation.labelled_groups import (
    parse_group,
    read_labelled_groups,
    read_requests,
)
from podium_service.evaluation.measures import (
    JudgedGroup,
    Pass,
    agreement,
    all_passes_agreement,
    combined,
    kendall_tau_b,
    one_pass_agreement,
    order_flips,
    ranking_agreement,
    retest_tau,
    tie_rate,
)
from podium_service.evaluation.rebuild import CannotRebuild, Shown, rebuild, shown
from podium_service.prompts.templates import DEFAULT_RUBRIC
from podium_service.prompts.transcript import transcribe
from podium_service.schemas import Ranking, RankRequest, TrajectoryResult, Usage
from podium_service.scoring.bootstrap import Bootstrap
from tests.fakes import ScriptedJudge, Step, by_length, fails, says, scores
from tests.service.helpers import group, judges_file, llm, service

pytestmark = pytest.mark.anyio

BIASED_ORDER = Pass([0, 1], [0.7, 0.3])  # truth .6 and .4, first slot +.1, last -.1
BIASED_REVERSE = Pass([1, 0], [0.5, 0.5])


def judged(labels: list[float], *passes: Pass, rewards: list[float] | None = None) -> JudgedGroup:
    return JudgedGroup(labels, rewards or labels, [10] * len(labels), list(passes))


def gold(*answers: str, labels: list[float], **fields: Any) -> dict[str, Any]:
    return group(*answers, labels={f"t{i}": label for i, label in enumerate(labels)}, **fields)


def lines(path: Path, *values: Any) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


# gold


def test_a_pair_becomes_a_group_of_two_with_the_winner_on_top() -> None:
    request, labels = parse_group({"task": "Add.", "a": "5", "b": "6", "winner": "b"}, "x:1")
    assert labels == [0, 1]
    assert request.task == "Add."
    assert [each.messages[0].text for each in request.trajectories] == ["5", "6"]
    assert parse_group({"a": "5", "b": "6", "winner": "tie"}, "x:1")[1] == [0.5, 0.5]


def test_labels_are_put_in_the_order_of_the_trajectories(tmp_path: Path) -> None:
    labelled = group("5", "6", labels={"t1": 2, "t0": 7.5})
    [read] = read_labelled_groups(lines(tmp_path / "gold.jsonl", labelled))
    assert read.labels == [7.5, 2]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"trajectories": [', "not JSON"),
        ("[1, 2]", "a group must be an object, not list"),
        (json.dumps(group("5", "6")), "labels must be"),
        (json.dumps(gold("5", "6", labels=[1])), "labels: none for 't1'"),
        (json.dumps(gold("5", "6", labels=[1, 0, 2])), "labels: no trajectory 't2'"),
        (json.dumps(group("5", "6", labels={"t0": 1, "t1": True})), "labels.t1 must be a finite"),
        (json.dumps(gold("5", "6", labels=[1, 0], tsak="x")), "tsak: no such field"),
        (json.dumps(gold("5", labels=[1])), "two trajectories or more"),
        ('{"a": "5", "b": 6, "winner": "a"}', "b must be a text"),
        ('{"a": "5", "b": "6", "winner": "c"}', "winner must be a, b or tie"),
        ('{"a": "5", "b": "6", "winner": ["a"]}', "winner must be a, b or tie"),
        ('{"a": "5", "b": "6", "winner": "a", "why": ""}', "why: no such field in a pair"),
    ],
)
def test_a_bad_line_is_named_with_its_number_and_the_rule(
    line: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "gold.jsonl"
    file.write_text(json.dumps(gold("5", "6", labels=[1, 0])) + "\n\n" + line + "\n")
    with pytest.raises(PodiumError) as caught:
        read_labelled_groups(file)
    assert str(caught.value).startswith(f"{file}:3: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(read_labelled_groups(file, limit=1)) == 1


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MalformedJSON, match="cannot be read"):
        read_labelled_groups(tmp_path / "none.jsonl")


@pytest.mark.parametrize("text", ["", " \n\n", "[]"])
@pytest.mark.parametrize(
    "command",
    [
        ["rank"],
        ["calibrate", "--judge", "main", "--data"],
        ["compare", "--judges", "main,other", "--data"],
        ["rubric", "suggest", "--judge", "main"],
    ],
    ids=lambda command: command[0],
)
def test_a_file_without_groups_is_an_error(command: list[str], text: str, tmp_path: Path) -> None:
    file = tmp_path / "groups.jsonl"
    file.write_text(text)
    result = CliRunner(env={"PODIUM_STORE": str(tmp_path / "podium.db")}).invoke(
        app, [*command, str(file)]
    )
    assert isinstance(result.exception, InvalidRequest)
    assert str(result.exception) == (
        f"{file} holds no groups: write one group a line, or a JSON list"
    )


def test_where_labels_are_not_needed_they_may_stand_or_not(tmp_path: Path) -> None:
    file = lines(tmp_path / "groups.jsonl", group("5", "6"), gold("5", "6", labels=[1, 0]))
    assert [len(request.trajectories) for request in read_requests(file)] == [2, 2]
    with pytest.raises(InvalidRequest, match=r"groups\.jsonl:1: labels must be"):
        read_labelled_groups(file)


# measures


def test_agreement_is_what_a_hand_counts() -> None:
    # Pairs whose truth differs: 0>1 right, 0>3 right, 2>3 right, 1<2 tied. One pair of six ties.
    found = agreement([0.9, 0.5, 0.5, 0.1], [1, 0, 1, 0])
    assert found is not None
    assert found.accuracy == 3 / 4
    assert found.auc == 3.5 / 4
    assert found.tau_b == pytest.approx(3 / np.sqrt(4 * 5))
    assert found.top1 == 1


def test_a_judge_that_ties_all_is_at_chance_and_equal_labels_tell_nothing() -> None:
    tied = agreement([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0])
    assert tied is not None
    assert (tied.accuracy, tied.auc, tied.tau_b, tied.top1) == (0, 0.5, 0, 0.25)
    assert agreement([0.1, 0.9], [1, 1]) is None


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=8).filter(
        lambda pairs: all(len(set(side)) > 1 for side in zip(*pairs, strict=True))
    )
)
def test_tau_b_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    first, second = (list(map(float, side)) for side in zip(*pairs, strict=True))
    assert kendall_tau_b(first, second) == pytest.approx(kendalltau(first, second).statistic)


def test_one_pass_stands_beside_all_passes() -> None:
    one = judged([1, 0], Pass([0, 1], [0.9, 0.2]), Pass([1, 0], [0.6, 0.5]), rewards=[0.5, 0.5])
    single, together, returned = (
        measure(one) for measure in (one_pass_agreement, all_passes_agreement, ranking_agreement)
    )
    assert single is not None
    assert together is not None
    assert returned is not None
    assert single.accuracy == 0.5  # right, then wrong
    assert together.accuracy == 1  # means .7 and .4
    assert (returned.accuracy, returned.auc) == (0, 0.5)  # shrunk to a tie


def test_subsets_and_single_trajectories_are_measured_as_far_as_they_go() -> None:
    pairs = [Pass([0, 1], [1, 0]), Pass([1, 2], [1, 0]), Pass([2, 1], [0.25, 0.75])]
    chained = judged([2, 1, 0], *pairs)
    found = one_pass_agreement(chained)
    assert found is not None
    assert (found.accuracy, found.top1) == (1, None)
    assert all_passes_agreement(chained) == agreement([2, 1, 0], [2, 1, 0])
    assert combined(pairs[1:], 3) is None  # nobody compared 0
    assert combined(pairs[:1], 3) is None
    singles = [Pass([0], [0.9]), Pass([1], [0.4]), Pass([0], [0.7])]
    assert combined(singles, 2) == pytest.approx([0.8, 0.4])
    pointwise = judged([1, 0], *singles)
    assert one_pass_agreement(pointwise) is None
    assert order_flips(pointwise) is None
    assert tie_rate(pointwise) is None
    assert slot_bias([pointwise], Bootstrap(1)) == (
        [],
        "no trajectory was shown in two different slots",
    )


def test_all_passes_together_are_their_means() -> None:
    passes = [Pass([0, 1, 2], [0.9, 0.5, 0.1]), Pass([2, 0, 1], [0.3, 0.7, 0.8])]
    assert combined(passes, 3) == pytest.approx([0.25, 0.1, -0.35])  # .8, .65, .2 less .55


def test_gated_trajectories_stand_below_all_scores() -> None:
    one = JudgedGroup([1, 0, 0], [0.9, 0.1, -1], [5, 5], [Pass([0, 1], [0.9, 0.8])])
    found = one_pass_agreement(one)
    assert found is not None
    assert found.accuracy == 1
    assert all_passes_agreement(one) == found


def test_a_flip_is_a_pair_that_the_reverse_orders_differently() -> None:
    order = Pass([0, 1, 2], [0.9, 0.5, 0.1])
    assert order_flips(judged([0, 0, 1], order, Pass([2, 1, 0], [0.6, 0.5, 0.4]))) == 1
    assert order_flips(judged([0, 0, 1], order, Pass([2, 1, 0], [0.1, 0.95, 0.9]))) == 1 / 3
    assert order_flips(judged([0, 0, 1], order, Pass([1, 0, 2], [0.6, 0.5, 0.4]))) is None
    stranger = Pass([2, 1, 0], [0.6, 0.5, 0.4], source="another juror")
    assert order_flips(judged([0, 0, 1], order, stranger)) is None


def test_test_and_retest_are_halves_that_keep_pairs_of_passes_whole() -> None:
    up, down = [0.1, 0.5, 0.9], [0.9, 0.5, 0.1]
    first = [Pass([0, 1, 2], up), Pass([2, 1, 0], down)]
    again = [Pass([1, 0, 2], [0.5, 0.1, 0.9]), Pass([2, 0, 1], [0.9, 0.1, 0.5])]
    assert retest_tau(judged([0, 0, 1], *first, *again)) == 1
    assert retest_tau(judged([0, 0, 1], Pass([0, 1, 2], up), Pass([0, 1, 2], down))) == -1
    assert retest_tau(judged([0, 0, 1], Pass([0, 1, 2], up))) is None


def test_ties_are_counted_within_a_pass() -> None:
    assert tie_rate(judged([0, 0, 1], Pass([0, 1, 2], [0.5, 0.5, 0.1]))) == 1 / 3


def test_slot_effects_are_told_from_quality() -> None:
    one = judged([1, 0], BIASED_ORDER, BIASED_REVERSE)
    effects, reason = slot_bias([one, one, None], Bootstrap(3))
    assert reason is None
    assert [each.position for each in effects] == [0, 1]
    assert [each.effect for each in effects] == pytest.approx([0.1, -0.1])
    assert effects[0].stderr == pytest.approx(0, abs=1e-9)  # the groups are alike
    assert slot_bias([one], Bootstrap(1))[0][0].stderr is None


def test_slot_effects_of_a_rotated_design_are_exact_whatever_their_shape() -> None:
    truth, effect = np.array([0.2, 0.6, 0.4, 0.5]), np.array([0.09, -0.05, -0.06, 0.02])
    orders = [[0, 1, 2, 3], [3, 2, 1, 0], [2, 3, 0, 1], [1, 0, 3, 2], [1, 2, 3, 0], [0, 3, 2, 1]]
    passes = [
        Pass(order, list(truth[order] + effect + 0.01 * mood)) for mood, order in enumerate(orders)
    ]
    effects, _ = slot_bias([judged([0, 1, 0, 1], *passes)], Bootstrap(1))
    assert [each.effect for each in effects] == pytest.approx(effect)


def test_lists_of_different_lengths_share_relative_slots() -> None:
    def passes(order: list[int]) -> list[Pass]:
        slots = np.linspace(0.1, -0.1, len(order))
        truth = np.linspace(0.3, 0.6, len(order))
        return [Pass(o, list(truth[o] + slots)) for o in (order, order[::-1])]

    groups = [judged([1.0] * n, *passes(list(range(n)))) for n in (2, 3, 5, 7)]
    effects, _ = slot_bias(groups, Bootstrap(4))
    assert [each.position for each in effects] == [0, 0.25, 0.5, 0.75, 1]
    assert [each.effect for each in effects] == pytest.approx([0.1, 0.05, 0, -0.05, -0.1])


def test_length_bias_is_what_truth_does_not_explain() -> None:
    def one(labels: list[float], lengths: list[int]) -> JudgedGroup:
        values = [0.3 * t + 0.1 * float(np.log1p(n)) for t, n in zip(labels, lengths, strict=True)]
        return JudgedGroup(labels, values, lengths, [Pass(list(range(len(labels))), values)])

    groups = [one([0, 1, 1], [9, 99, 999]), one([1, 0, 0, 1], [50, 40, 10, 5])]
    correlation, slope = length_bias(groups, Bootstrap(2))
    assert correlation.value == pytest.approx(1)
    assert slope.value == pytest.approx(0.1)
    assert sum(each.items for each in length_bins(groups)) == 7
    blind = judged([1, 0], Pass([0, 1], [0.9, 0.1]))
    assert length_bias([blind], Bootstrap(1))[0].value is None  # all as long


# intervals


def test_an_interval_is_over_groups_and_none_for_a_single_one() -> None:
    bootstrap = Bootstrap(100)
    measure = bootstrap.mean([1.0] * 50 + [0.0] * 50, "-")
    assert measure.value == 0.5
    assert measure.low == pytest.approx(0.4, abs=0.03)  # .5 - 1.96 * .05
    assert measure.high == pytest.approx(0.6, abs=0.03)
    assert measure == Bootstrap(100).mean([1.0] * 50 + [0.0] * 50, "-")
    alone = Bootstrap(1).mean([0.25], "-")
    assert (alone.value, alone.low, alone.high, alone.groups) == (0.25, None, None, 1)


def test_what_cannot_be_measured_is_null_with_the_reason() -> None:
    measure = Bootstrap(2).mean([None, None], "nobody asked")
    assert (measure.value, measure.low, measure.groups, measure.reason) == (
        None, None, 0, "nobody asked",
    )  # fmt: skip
    assert Bootstrap(2).ratio([(0.0, 0.0), None], "no pairs").reason == "no pairs"
    assert Bootstrap(2).quantile([[], []], 0.5, "no calls").reason == "no calls"


def test_a_quantile_is_of_all_values() -> None:
    values = [[float(i) for i in range(1, 51)], [float(i) for i in range(51, 101)]]
    bootstrap = Bootstrap(2)
    assert bootstrap.quantile(values, 0.5, "-").value == 50
    assert bootstrap.quantile(values, 0.95, "-").value == 95


# calibrate


def said(text: str) -> float:
    """The score that a trajectory asks for: `0.7 ...`."""
    return float(text.split("\n")[1].split()[0])


def biased(asked: Any) -> Any:
    """.1 more in the first slot and .1 less in the last; steady otherwise."""
    verdict = {
        shown_id: {
            "explanation": "",
            "score": round(said(text) + (0.1 if slot == 0 else -0.1 if slot == 1 else 0), 6),
        }
        for slot, (shown_id, text) in enumerate(asked.shown.items())
    }
    return says(json.dumps(verdict))(asked)


PAIR_LINES = [
    gold("0.6 good", "0.5 bad", labels=[1, 0], group_id="near"),
    gold("0.8 good", "0.2 bad", labels=[1, 0], group_id="far"),
    gold("0.3 good", "0.7 bad", labels=[1, 0], group_id="wrong"),
    gold("0.4 xyz", "0.5 y", labels=[1, 1], group_id="no truth"),
]


async def command(function: Callable[..., None], *arguments: str | Path) -> Result:
    """Run one command as `podium` would, in a thread: it has an event loop of its own."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(function)
    run = CliRunner(env={"COLUMNS": "240", "PODIUM_STORE": None, "PODIUM_CONFIG": None}).invoke
    return await anyio.to_thread.run_sync(lambda: run(app, list(map(str, arguments))))


async def calibrated(tmp_path: Path, always: Step, *values: Any, **judge: Any) -> dict[str, Any]:
    """The card of judge `main` on labelled groups."""
    async with ScriptedJudge(always=always).serving() as server:
        config = judges_file(tmp_path / "judges.yaml", main=llm(server.url, **judge))
        data = lines(tmp_path / "gold.jsonl", *values)
        result = await command(
            calibrate_command, "--judge", "main", "--data", data, "--config", config, "--json",
            "--store", tmp_path / "podium.db", "--out", tmp_path / "cards",
        )  # fmt: skip
    if result.exception:
        raise result.exception
    assert result.exit_code == 0
    card = json.loads(result.stdout)
    assert card == json.loads((tmp_path / "cards" / "main.json").read_text())
    return dict(card)


class _Page(HTMLParser):
    """Texts of the cells of each row that has an id; and counts of elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: dict[str, list[str]] = {}
        self.count: dict[str, int] = {}
        self.outside: list[str] = []
        self._row: list[str] | None = None
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.count[tag] = self.count.get(tag, 0) + 1
        self.outside += [str(v) for k, v in attrs if k in ("src", "href", "xlink:href")]
        if tag == "tr":
            self._row = self.rows.setdefault(named["id"] or "", []) if "id" in named else None
        self._in_cell = tag == "td"
        if tag == "td" and self._row is not None:
            self._row.append("")

    def handle_data(self, data: str) -> None:
        if self._in_cell and self._row:
            self._row[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag != "td"


async def test_a_card_holds_what_a_hand_counts(tmp_path: Path) -> None:
    """A steady judge that adds .1 to the first slot and takes .1 from the last, two passes.

    A gap of .1 or less flips with the order: near and "no truth" do, far and wrong do not. One pass
    of near is right, then wrong. Two passes balance: near is right, wrong is wrong.
    """
    card = await calibrated(tmp_path, biased, *PAIR_LINES, passes=2)
    assert (card["groups"], card["ranked"], card["stored"], card["failures"]) == (4, 4, 0, {})
    accuracy = card["agreement"]["accuracy"]
    assert accuracy["one_pass"]["value"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert accuracy["one_pass"]["groups"] == 3
    assert accuracy["all_passes"]["value"] == pytest.approx(2 / 3)
    assert card["agreement"]["tau_b"]["all_passes"]["value"] == pytest.approx(1 / 3)
    assert card["steadiness"]["order_flips"]["value"] == 0.5
    assert card["steadiness"]["ties"]["value"] == 0
    assert [each["effect"] for each in card["slots"]] == pytest.approx([0.1, -0.1])
    assert card["calls"]["malformed"]["value"] == 0
    assert card["spend"]["calls"]["value"] == 2
    assert card["spend"]["prompt_tokens"]["value"] == 200
    assert card["spend"]["cost_usd"]["reason"] == "the judge has no price in its config"
    assert 0 < card["calls"]["latency_p50_s"]["value"] <= card["calls"]["latency_p95_s"]["value"]


async def test_the_page_stands_alone_and_shows_the_numbers(tmp_path: Path) -> None:
    card = await calibrated(tmp_path, biased, *PAIR_LINES, passes=2, rubric="<b>Bold</b>")
    text = (tmp_path / "cards" / "main.html").read_text()
    page = _Page(text)
    assert page.outside == []
    assert "script" not in page.count
    assert "b" not in page.count  # the rubric is shown, not obeyed
    assert page.count["svg"] == 3
    assert [cell.split()[0] for cell in page.rows["accuracy"][:2]] == ["0.500", "0.667"]
    assert page.rows["order_flips"][0].startswith("0.500 [")
    assert page.rows["cost_usd"] == ["– (the judge has no price in its config)"]
    assert card["settings"]["rubric"] == "<b>Bold</b>"
    assert "127.0.0.1" not in text


async def test_a_judge_that_ties_all_has_a_card_too(tmp_path: Path) -> None:
    card = await calibrated(tmp_path, scores(lambda text: 0.5), *PAIR_LINES)
    assert card["agreement"]["auc"]["reward"]["value"] == 0.5
    assert card["agreement"]["tau_b"]["one_pass"]["value"] == 0
    assert card["steadiness"]["ties"]["value"] == 1
    assert card["steadiness"]["retest_tau"]["value"] is None
    assert card["length"]["correlation"]["value"] is None
    assert _Page((tmp_path / "cards" / "main.html").read_text()).count["svg"] == 3


async def test_a_second_run_is_answered_from_the_store_and_gives_the_same(tmp_path: Path) -> None:
    first = await calibrated(tmp_path, biased, *PAIR_LINES, passes=2)
    again = await calibrated(tmp_path, fails(500), *PAIR_LINES, passes=2)
    assert again["stored"] == 4
    for name in ("agreement", "steadiness", "slots", "length", "calls", "spend"):
        assert again[name] == first[name]


async def test_malformed_replies_count_also_of_groups_that_failed(tmp_path: Path) -> None:
    def step(asked: Any) -> Any:
        broken = any("bad" in text for text in asked.shown.values())
        return (says("I would rather not.") if broken else scores(by_length))(asked)

    values = [
        gold("longest of them", "short", labels=[1, 0]),
        gold("bad one", "short", labels=[1, 0]),
    ]
    card = await calibrated(tmp_path, step, *values, passes=1)
    assert (card["ranked"], card["failures"]) == (1, {"verdict_invalid": 1})
    assert card["calls"]["malformed"]["value"] == pytest.approx(2 / 3)
    assert card["steadiness"]["order_flips"]["reason"] == "no pass was shown in reverse, too"
    assert card["slots"] == []


async def test_a_fallback_is_not_asked_in_the_judges_place(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=fails(401)).serving() as down,
        ScriptedJudge(always=biased).serving() as other,
    ):
        config = judges_file(
            tmp_path / "judges.yaml", main=llm(down.url, fallback=["spare"]), spare=llm(other.url)
        )
        result = await command(
            calibrate_command, "--judge", "main", "--config", config, "--out", tmp_path / "cards",
            "--data", lines(tmp_path / "gold.jsonl", *PAIR_LINES),
            "--store", tmp_path / "podium.db",
        )  # fmt: skip
    assert result.exit_code == 1
    assert "judge 'main' ranked none of 4 groups" in str(result.exception)
    assert other.calls == 0
    assert not (tmp_path / "cards").exists()


async def test_a_judge_of_checks_has_a_card_without_what_only_llms_have(tmp_path: Path) -> None:
    config = judges_file(
        tmp_path / "judges.yaml",
        words={"kind": "checks", "criteria": [{"check": "max_words", "words": 2}]},
    )
    data = lines(tmp_path / "gold.jsonl", gold("a b", "a b c", labels=[1, 0]))
    arguments: list[str | Path] = ["--judge", "words", "--data", data, "--config", config]
    arguments += ["--store", tmp_path / "podium.db", "--out", tmp_path / "cards"]
    result = await command(calibrate_command, *arguments, "--json")
    card = json.loads(result.stdout)
    assert card["agreement"]["accuracy"]["reward"]["value"] == 1
    assert card["agreement"]["accuracy"]["one_pass"]["value"] is None
    assert card["calls"]["malformed"]["reason"] == "no LLM was called"
    assert "words: 1 of 1 groups ranked" in (await command(calibrate_command, *arguments)).stdout


# rebuild


TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"a": 1.5}}}]
CALLS = [
    {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
    {"id": "c2", "type": "function", "function": {"name": "a&d\n", "arguments": "no json\n{"}},
]


def agent(text: str, result: str) -> list[dict[str, Any]]:
    """A conversation with two tool calls in one turn."""
    return [
        {"role": "system", "content": "Be <task>brief</task>."},
        {"role": "assistant", "content": text or None, "tool_calls": CALLS},
        {"role": "tool", "tool_call_id": "c2", "content": result},
        {"role": "tool", "tool_call_id": "c1", "content": ""},
        {"role": "assistant", "content": "done"},
    ]


def shown_of(request: RankRequest) -> Shown:
    transcript = transcribe(request, range(len(request.trajectories)))
    return Shown(
        f"x\nRubric:\n{DEFAULT_RUBRIC}\n\nRules:\ny", transcript.context, transcript.bodies
    )


TEXTS = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from('<>/\n"()=&\r')), max_size=12
) | st.sampled_from(["</message>", '<trajectory-a id="B">', "<finish_reason>x", "<trimmed ", "{}"])


@settings(max_examples=60)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=2, max_size=4), TEXTS, TEXTS)
def test_what_was_shown_is_read_back_and_shown_the_same(
    pairs: list[tuple[str, str]], task: str, finish: str
) -> None:
    trajectories = [
        {"id": str(i), "messages": agent(*pair), "tools": TOOLS if i % 2 else None}
        | ({"finish_reason": finish} if i == 0 else {})
        for i, pair in enumerate(pairs)
    ]
    request = RankRequest.model_validate(
        {"task": task, "tools": TOOLS, "reference": task, "trajectories": trajectories}
    )
    first = shown_of(request)
    if len(first.bodies) < 2:
        return  # no judge is asked
    again = shown_of(rebuild(first, [None]))
    assert again == first
    digests = transcribe(request, range(len(pairs))).digests
    assert transcribe(rebuild(first, [None]), range(len(first.bodies))).digests == digests


def test_a_rubric_that_came_with_the_request_is_kept_and_the_judges_own_is_not() -> None:
    first = shown_of(RankRequest.model_validate(group("5", "6")))
    assert rebuild(first, [None]).rubric is None
    brought = replace(first, system="x\nRubric:\n- Be kind.\n\nRules:\ny")
    assert rebuild(brought, [None]).rubric == "- Be kind."
    assert rebuild(brought, ["- Be kind.\n"]).rubric is None


def call(asked: str, ids: list[str], order: list[int], **fields: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": asked}]
    return {"messages": messages, "verdict": {"ids": ids, "order": order}, **fields}


def fenced(*bodies: tuple[str, str], context: str = "") -> str:
    fences = "".join(f'\n<trajectory-0a id="{i}">\n{b}\n</trajectory-0a>\n' for i, b in bodies)
    head = f"{context}\n\n" if context else ""
    return f"{head}{len(bodies)} trajectories follow, each fenced.\n{fences}\nScore all."


def test_bodies_are_gathered_over_calls_by_their_index() -> None:
    calls = [
        call(fenced(("B", "two"), ("C", "zero"), context="c\n\nd"), ["B", "C"], [2, 0]),
        call(
            fenced(("D", "one"), ("Z", "planted"), ("F", "zero"), context="c\n\nd"),
            ["D", "F"], [1, 0],
        ),
        {"messages": [], "verdict": None},
    ]  # fmt: skip
    assert shown(calls) == Shown("s", "c\n\nd", ["zero", "one", "two"])


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ([], "no verdict of an LLM"),
        ([{"messages": [], "verdict": None}], "no verdict of an LLM"),
        ([call(fenced(("B", 'x\n<trimmed characters="9"/>\ny')), ["B"], [0])], "trimmed"),
        ([call(fenced(("B", "x")), ["B"], [1])], "not all"),
        ([call("Which is better?", ["B"], [0])], "cannot be read back"),
    ],
)
def test_what_cannot_be_shown_again_says_why(calls: list[dict[str, Any]], reason: str) -> None:
    with pytest.raises(CannotRebuild, match=reason):
        shown(calls)


@pytest.mark.parametrize(
    "body",
    [
        "bare text",
        "<actions>\n<tool_call>f()</tool_call>\n</actions>",
        '<tool_result name="f">\n\n</tool_result>',
    ],
)  # fmt: skip
def test_a_form_that_is_not_ours_is_refused_not_guessed(body: str) -> None:
    with pytest.raises(CannotRebuild, match="cannot be read back"):
        rebuild(Shown("s", "", [body, '<message role="user">\nx\n</message>']), [None])


# compare


def ranking(*rewards: float) -> Ranking:
    results = [
        TrajectoryResult(id=str(i), rank=1, reward=reward, score=None, stderr=None)
        for i, reward in enumerate(rewards)
    ]
    return Ranking(
        id="rk", group_id=None, judge="j", model=None, method="listwise", passes=1,
        results=results, reliability=None, cached=False, usage=Usage(),
    )  # fmt: skip


def test_advantages_change_sign_or_only_appear() -> None:
    first, second = ranking(1, 0.5, 0, 0.5), ranking(0, 0.75, 1, 0.25)
    assert sign_changes(first, second) == (2, 2, 4)
    assert sign_changes(first, first) == (0, 0, 4)
    assert sign_changes(ranking(0.5, 0.5), ranking(1, 0)) == (0, 2, 2)


def test_top_1_agreement_shares_the_chance_among_ties() -> None:
    assert top1_agreement(ranking(1, 0, 0), ranking(0.4, 0.3, 0.3)) == 1
    assert top1_agreement(ranking(1, 0, 0), ranking(0, 1, 1)) == 0
    assert top1_agreement(ranking(1, 0, 0, 0), ranking(0.5, 0.5, 0.5, 0.5)) == (1 + 0.25) / 2


def by_brevity(text: str) -> float:
    return 1 - by_length(text)


async def compared(tmp_path: Path, config: Path, *arguments: str | Path) -> dict[str, Any]:
    store = ("--store", tmp_path / "podium.db", "--config", config)
    result = await command(compare_command, "--judges", "main,other", *store, *arguments, "--json")
    if result.exception:
        raise result.exception
    return dict(json.loads(result.stdout))


async def test_stored_groups_are_shown_to_another_judge_word_for_word(tmp_path: Path) -> None:
    groups = [
        group("6" * 40, "5" * 90, "7", task="Add.", group_id="sums", metadata={"step": 1}),
        {"trajectories": [
            {"id": "a", "messages": agent("I add", "5"), "finish_reason": "length"},
            {"id": "b", "messages": agent("", "no")},
        ]},
        group("same", "same"),
    ]  # fmt: skip
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as first,
        ScriptedJudge(always=scores(by_brevity)).serving() as second,
    ):
        judges = {"main": llm(first.url, passes=2), "other": llm(second.url, passes=2, model="n")}
        async with service(tmp_path, **judges) as opened:
            for each in groups:
                await opened.ranker.rank(RankRequest.model_validate(each))
        paid = first.calls
        config = judges_file(tmp_path / "judges.yaml", **judges)
        found = await compared(tmp_path, config)
        assert first.calls == paid == 4  # its own verdicts are found again
        texts = [sorted(asked.shown.values()) for asked in first.asked]
        assert sorted(map(str, texts)) == sorted(
            str(sorted(asked.shown.values())) for asked in second.asked
        )
        contexts = [{asked.text.split(" trajectories follow")[0] for asked in judge.asked}
                    for judge in (first, second)]  # fmt: skip
        assert contexts[0] == contexts[1]
        again = await compared(tmp_path, config, "--limit", "1")
    assert second.calls == 4
    assert found["groups"] == 2
    assert found["left_out"] == {"no verdict of an LLM is stored": 1}
    assert [(each["ranked"], each["stored"]) for each in found["judges"]] == [(2, 2), (2, 0)]
    [pair] = found["pairs"]
    assert pair["tau"]["value"] == -1
    assert pair["top1"]["value"] == 0
    assert pair["opposite"]["value"] + pair["one_sided"]["value"] >= 4 / 5
    assert again["groups"] == 1


async def test_groups_of_a_file_are_compared_and_shown_as_a_table(tmp_path: Path) -> None:
    data = lines(tmp_path / "gold.jsonl", gold("66", "5", labels=[1, 0]), group("777", "7"))
    async with ScriptedJudge(always=scores(by_length)).serving() as judge:
        config = judges_file(
            tmp_path / "judges.yaml", main=llm(judge.url), other=llm(judge.url, model="[n]")
        )
        found = await compared(tmp_path, config, "--data", data)
        result = await command(
            compare_command, "--judges", "main,other", "--data", data, "--config", config,
            "--store", tmp_path / "podium.db",
        )  # fmt: skip
    [pair] = found["pairs"]
    assert pair["tau"]["value"] == 1
    assert pair["opposite"]["value"] == 0
    assert result.exit_code == 0
    rows = [line.split("│")[1:-1] for line in result.stdout.splitlines() if "│" in line]
    cells = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}
    assert cells["Ranked"] == ["2, 2 from the store", "2, 2 from the store"]
    assert cells["Kendall's tau of the rewards"] == ["1.000 [1.000, 1.000]"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--judges", "main"], "name two different judges"),
        (["--judges", "main,main"], "name two different judges"),
        (["--judges", "main,nobody"], "'nobody' is not configured"),
        (["--judges", "main,other"], "no stored group"),
        (["--judges", "main,other", "--deadline-s", "0"], "must be more than 0"),
    ],
)
async def test_what_cannot_be_compared_is_one_line(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    judges = {"main": llm("http://127.0.0.1:1/v1"), "other": llm("http://127.0.0.1:1/v1")}
    config = judges_file(tmp_path / "judges.yaml", **judges)
    data = lines(tmp_path / "groups.jsonl", group("5", "6"))
    from_file: list[str | Path] = ["--data", data] if "nobody" in arguments[1] else []
    result = await command(
        compare_command, *arguments, *from_file, "--config", config,
        "--store", tmp_path / "podium.db",
    )  # fmt: skip
    assert result.exit_code == 1
    assert isinstance(result.exception, PodiumError)
    assert said in str(result.exception)
