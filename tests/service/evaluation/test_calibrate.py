"""`podium calibrate`: labelled groups in, a card as JSON and HTML out."""

import json
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import pytest

from podium_service.cli.commands.calibrate import calibrate_command
from tests.fakes import (
    ScriptedJudge,
    Step,
    by_length,
    fails,
    names_best,
    says,
    says_yes,
    scores,
)
from tests.service.evaluation.helpers import labelled, run_command, write_lines
from tests.service.helpers import judges_file, llm

pytestmark = pytest.mark.anyio


def asked_score(text: str) -> float:
    """Return the score that a trajectory asks for: `0.7 ...`."""
    lines = text.split("\n")
    return float(lines[len(lines) > 1].split()[0])  # below a tag, or by itself in the plain layout


def likes_first_slot(asked: Any) -> Any:
    """Score .1 more in the first slot and .1 less in the last; steady otherwise."""
    verdict = {
        shown_id: {
            "explanation": "",
            "score": round(asked_score(text) + (0.1 if slot == 0 else -0.1 if slot == 1 else 0), 6),
        }
        for slot, (shown_id, text) in enumerate(asked.shown.items())
    }
    return says(json.dumps(verdict))(asked)


PAIRS = [
    labelled("0.6 good", "0.5 bad", labels=[1, 0], group_id="near"),
    labelled("0.8 good", "0.2 bad", labels=[1, 0], group_id="far"),
    labelled("0.3 good", "0.7 bad", labels=[1, 0], group_id="wrong"),
    labelled("0.4 xyz", "0.5 y", labels=[1, 1], group_id="no truth"),
]


async def calibrate(tmp_path: Path, always: Step, *values: Any, **judge: Any) -> dict[str, Any]:
    """Return the card of judge `main` on labelled groups."""
    async with ScriptedJudge(always=always).serving() as server:
        config = judges_file(tmp_path / "judges.yaml", main=llm(server.url, **judge))
        data = write_lines(tmp_path / "groups.jsonl", *values)
        result = await run_command(
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
    """The cells of each row that has an id, counts of elements, and links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: dict[str, list[str]] = {}
        self.count: dict[str, int] = {}
        self.links: list[str] = []
        self._row: list[str] | None = None
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.count[tag] = self.count.get(tag, 0) + 1
        self.links += [str(v) for k, v in attrs if k in ("src", "href", "xlink:href")]
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


async def test_a_card_equals_a_count_by_hand(tmp_path: Path) -> None:
    """A steady judge that adds .1 to the first slot and takes .1 from the last, two passes.

    A gap of .1 or less flips with the order: near and "no truth" do, far and wrong do not. One pass
    of near is right, then wrong. Two passes balance: near is right, wrong is wrong.
    """
    card = await calibrate(tmp_path, likes_first_slot, *PAIRS, passes=2)
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


async def test_the_page_loads_nothing_and_shows_the_numbers(tmp_path: Path) -> None:
    card = await calibrate(tmp_path, likes_first_slot, *PAIRS, passes=2, rubric="<b>Bold</b>")
    text = (tmp_path / "cards" / "main.html").read_text()
    page = _Page(text)
    assert page.links == []
    assert "script" not in page.count
    assert "b" not in page.count  # the rubric is shown, not obeyed
    assert page.count["svg"] == 3
    assert [cell.split()[0] for cell in page.rows["accuracy"][:2]] == ["0.500", "0.667"]
    assert page.rows["order_flips"][0].startswith("0.500 [")
    assert page.rows["cost_usd"] == ["– (the judge has no price in its config)"]
    assert card["settings"]["rubric"] == "<b>Bold</b>"
    assert "127.0.0.1" not in text


async def test_a_judge_that_ties_all_has_a_card(tmp_path: Path) -> None:
    card = await calibrate(tmp_path, scores(lambda text: 0.5), *PAIRS)
    assert card["agreement"]["auc"]["reward"]["value"] == 0.5
    assert card["agreement"]["tau_b"]["one_pass"]["value"] == 0
    assert card["steadiness"]["ties"]["value"] == 1
    assert card["steadiness"]["retest_tau"]["value"] is None
    assert card["length"]["correlation"]["value"] is None
    page = (tmp_path / "cards" / "main.html").read_text()
    assert _Page(page).count["svg"] == 3
    assert "No signal is shown" in page


async def test_a_second_run_uses_the_store_and_gives_the_same_card(tmp_path: Path) -> None:
    first = await calibrate(tmp_path, likes_first_slot, *PAIRS, passes=2)
    again = await calibrate(tmp_path, fails(500), *PAIRS, passes=2)
    assert again["stored"] == 4
    for name in ("agreement", "steadiness", "slots", "length", "calls", "spend"):
        assert again[name] == first[name]


async def test_malformed_replies_of_failed_groups_count(tmp_path: Path) -> None:
    def step(asked: Any) -> Any:
        broken = any("bad" in text for text in asked.shown.values())
        return (says("I would rather not.") if broken else scores(by_length))(asked)

    values = [
        labelled("longest of them", "short", labels=[1, 0]),
        labelled("bad one", "short", labels=[1, 0]),
    ]
    card = await calibrate(tmp_path, step, *values, passes=1)
    assert (card["ranked"], card["failures"]) == (1, {"verdict_invalid": 1})
    assert card["calls"]["malformed"]["value"] == pytest.approx(2 / 3)
    assert card["steadiness"]["order_flips"]["reason"] == "no pass was shown in reverse, too"
    assert card["slots"] == []


async def test_a_fallback_does_not_rank_for_the_judge(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=fails(401)).serving() as down,
        ScriptedJudge(always=likes_first_slot).serving() as other,
    ):
        config = judges_file(
            tmp_path / "judges.yaml", main=llm(down.url, fallback=["spare"]), spare=llm(other.url)
        )
        result = await run_command(
            calibrate_command, "--judge", "main", "--config", config, "--out", tmp_path / "cards",
            "--data", write_lines(tmp_path / "groups.jsonl", *PAIRS),
            "--store", tmp_path / "podium.db",
        )  # fmt: skip
    assert result.exit_code == 1
    assert "judge 'main' ranked none of 4 groups" in str(result.exception)
    assert other.calls == 0
    assert not (tmp_path / "cards").exists()


async def test_a_checks_judge_has_a_card_without_measures_of_calls(tmp_path: Path) -> None:
    config = judges_file(
        tmp_path / "judges.yaml",
        words={"kind": "checks", "criteria": [{"check": "max_words", "words": 2}]},
    )
    data = write_lines(tmp_path / "groups.jsonl", labelled("a b", "a b c", labels=[1, 0]))
    arguments: list[str | Path] = ["--judge", "words", "--data", data, "--config", config]
    arguments += ["--store", tmp_path / "podium.db", "--out", tmp_path / "cards"]
    result = await run_command(calibrate_command, *arguments, "--json")
    card = json.loads(result.stdout)
    assert card["agreement"]["accuracy"]["reward"]["value"] == 1
    assert card["agreement"]["accuracy"]["one_pass"]["value"] is None
    assert card["calls"]["malformed"]["reason"] == "no LLM was called"
    assert (
        "words: 1 of 1 groups ranked" in (await run_command(calibrate_command, *arguments)).stdout
    )


async def test_the_card_of_letters_has_slots_on_the_score_scale(tmp_path: Path) -> None:
    """The first letter gains .6 nats over the second: .3 either way, and 12 nats are one point."""
    step = names_best(asked_score, slot=lambda slot: 0.6 * (slot == 0))
    card = await calibrate(tmp_path, step, *PAIRS, method="best_of")
    assert card["method"] == "best_of"
    assert card["agreement"]["auc"]["all_passes"]["value"] == pytest.approx(2 / 3)
    assert [slot["effect"] for slot in card["slots"]] == pytest.approx([0.025, -0.025], abs=1e-6)


async def test_the_card_of_yes_or_no_counts_shared_answers_once(tmp_path: Path) -> None:
    groups = [
        labelled("0.6 a", "0.5 b", labels=[1, 0], group_id="1"),
        labelled("0.6 a", "0.2 c", labels=[1, 0], group_id="2"),
    ]
    card = await calibrate(tmp_path, says_yes(asked_score), *groups, method="yes_no")
    assert card["agreement"]["auc"]["one_pass"]["value"] is None
    assert card["agreement"]["auc"]["all_passes"]["value"] == 1
    assert card["agreement"]["auc"]["reward"]["value"] == 1
    assert card["spend"]["calls"]["value"] == 1.5


def noisy_score(sd: float) -> Step:
    random = Random(5)
    return scores(lambda text: min(1.0, max(0.0, asked_score(text) + random.gauss(0, sd))))


async def test_a_card_recommends_passes_by_the_cost_of_rollouts(tmp_path: Path) -> None:
    """Noise of .1 against values with a variance of .0125, a ratio of about 1, in 25 groups."""
    values = (0.3, 0.4, 0.5, 0.6)
    groups = [
        labelled(*(f"{value} of {number}" for value in values), labels=[1, 2, 3, 4])
        for number in range(25)
    ]
    card = await calibrate(tmp_path, noisy_score(0.13), *groups, passes=4, concurrency=1)
    advice = card["passes"]
    assert [each["rollout_cost"] for each in advice] == [0.3, 1, 3, 10]
    passes = [each["passes"] for each in advice]
    assert passes == sorted(passes)
    assert passes[0] == 1
    assert 3 <= passes[-1] <= 5
    assert 0.4 < advice[0]["reliability"] < advice[-1]["reliability"] < 0.9
    page = _Page((tmp_path / "cards" / "main.html").read_text())
    assert page.count["table"] > 4
    html = (tmp_path / "cards" / "main.html").read_text()
    assert "Passes that pay" in html
    assert "passes: {min: 1, max: 4, rollout_cost: 1}" in html
    assert "The judge has a signal: the better of two attempts gets the higher reward in" in html


async def test_no_passes_are_recommended_that_a_pair_is_not_shown_in(tmp_path: Path) -> None:
    random = Random(5)
    step = names_best(lambda text: asked_score(text) + random.gauss(0, 0.2))
    pairs = [labelled(f"0.6 of {n}", f"0.5 of {n}", labels=[1, 0]) for n in range(25)]
    card = await calibrate(tmp_path, step, *pairs, method="best_of", concurrency=1)
    assert [each["passes"] for each in card["passes"]] == [2] * 4
    assert "{min: 2, max: 2, rollout_cost: 10}" in card["passes"][-1]["setting"]


async def test_few_groups_recommend_no_passes(tmp_path: Path) -> None:
    card = await calibrate(tmp_path, likes_first_slot, *PAIRS, passes=2)
    assert card["passes"] == []
    assert (
        card["passes_reason"] == "fewer than 20 groups with two passes have told the judge's noise"
    )


async def test_the_default_judge_is_measured_unless_one_is_named(tmp_path: Path) -> None:
    data = write_lines(tmp_path / "groups.jsonl", labelled("5", "6", labels=[1, 0], reference="5"))
    result = await run_command(
        calibrate_command, "--data", data, "--json", "--store", tmp_path / "podium.db",
        "--out", tmp_path / "cards",
    )  # fmt: skip
    assert json.loads(result.stdout)["judge"] == "checks"
    assert (tmp_path / "cards" / "checks.html").exists()
