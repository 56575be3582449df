"""The real judge's benchmark: sets and figures by hand, direct questions, and the quick run."""

import json
import math
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from benchmarks.content import Labelled
from benchmarks.ranking.report import Report, Settings
from benchmarks.real_judge import made_up
from benchmarks.real_judge.__main__ import main
from benchmarks.real_judge.asking import Answered, Clock, raise_unless_judged, scores_of
from benchmarks.real_judge.direct import (
    answers_of,
    context_of,
    letter_prompts,
    letter_values,
    yes_prompts,
)
from benchmarks.real_judge.forging import FORGERIES, forge, win_rate
from benchmarks.real_judge.passes import compare_passes, signal_ratio
from benchmarks.real_judge.rows import difference, judge_pairs, rows_of
from benchmarks.real_judge.sets import read_set
from benchmarks.real_judge.ways import WAYS
from podium_service.errors import PodiumError, StoreUnavailable, VerdictInvalid, VerdictTruncated
from podium_service.evaluation.run_judge import GroupOutcome
from podium_service.judges.judges_file import Config
from podium_service.prompts.reply import Reply, Tokens
from podium_service.prompts.verdict import Verdict
from podium_service.schemas import RankRequest
from podium_service.scoring.bootstrap import Measure

NO_FOLDER = Path("no-such-folder")


def failed(error: PodiumError) -> GroupOutcome:
    return GroupOutcome(None, error, {}, [])


def known(*truth: float) -> Labelled:
    answers = [f"answer {n}" for n in range(len(truth))]
    return Labelled(made_up.answers_to("g", "Which?", answers), [], list(truth))


def test_groups_without_a_usable_reply_are_a_result() -> None:
    raise_unless_judged([failed(VerdictInvalid("no label")), failed(VerdictTruncated("cut off"))])


def test_a_store_that_does_not_answer_ends_the_run() -> None:
    with pytest.raises(StoreUnavailable):
        raise_unless_judged([failed(VerdictInvalid("no label")), failed(StoreUnavailable("gone"))])


def test_easy_pairs_are_a_hundred_of_five_kinds_and_seeded() -> None:
    pairs = list(made_up.easy_pairs())
    assert pairs == list(made_up.easy_pairs())
    kinds = [group["group_id"].split("/")[1] for group, _ in pairs]
    assert {kind: kinds.count(kind) for kind in made_up.KINDS} == dict.fromkeys(made_up.KINDS, 20)
    assert all(sorted(truth) == [0.0, 1.0] for _, truth in pairs)
    assert 35 <= sum(truth[0] == 1.0 for _, truth in pairs) <= 65
    assert len({json.dumps(group["trajectories"]) for group, _ in pairs}) == 100


def test_a_group_of_sums_has_one_right_answer_of_five() -> None:
    for group, truth in islice(made_up.sums(), 200):
        a, b = (int(part) for part in group["group_id"].removeprefix("sum/").split("+"))
        said = [each["messages"][-1]["content"] for each in group["trajectories"]]
        assert len(set(said)) == 5
        assert [answer == str(a + b) for answer in said] == [value == 1.0 for value in truth]


def test_llmbar_is_split_into_natural_and_adversarial(tmp_path: Path) -> None:
    rows = [
        {"subset": subset, "idx": n, "input": "Say a", "output_1": "a", "output_2": f"b{n}",
         "label": 1 + n % 2}
        for n, subset in enumerate(["Natural", "Adv-Manual", "MT-Bench", "Adv-GPTOut"])
    ]  # fmt: skip
    (tmp_path / "llmbar_pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    natural = read_set("llmbar-natural", tmp_path, 9, is_keyed=False)
    adversarial = read_set("llmbar-adversarial", tmp_path, 9, is_keyed=False)
    assert natural
    assert adversarial
    assert [each.truth for each in natural.groups] == [[1.0, 0.0]]
    assert [each.truth for each in adversarial.groups] == [[0.0, 1.0]] * 2


def test_a_set_without_its_file_is_left_out() -> None:
    assert read_set("gsm8k", NO_FOLDER, 9, is_keyed=False) is None


def test_pairs_of_equal_truth_are_left_out_and_ties_counted() -> None:
    assert judge_pairs(Answered([0.9, 0.2, 0.2]), [1, 0, 0]) == (2, 0, 2)
    assert judge_pairs(Answered([0.2, 0.2, 0.9]), [1, 0, 0]) == (0, 1, 2)
    assert judge_pairs(Answered([]), [1, 0, 0]) == (0, 2, 2)


def test_a_row_halves_ties_and_takes_a_share_of_the_seconds() -> None:
    groups = [known(1, 0), known(1, 0)]
    answers = [Answered([0.5, 0.5], 100, 2, 2, 1), Answered([1, 0], 200, 2, 2, 0)]
    rows = rows_of({"best_of short": {1: answers, 2: answers}}, groups, {"best_of short": 8.0})
    one, two = ({key: row[key] for key in row} for row in rows)
    assert isinstance(one["AUC"], Measure)
    assert isinstance(one["pairs right"], Measure)
    assert (one["AUC"].value, one["pairs right"].value) == (0.75, 0.5)
    assert (one["prompt tokens"], one["completion tokens"], one["no verdict"]) == (150, 2, 0.25)
    assert (one["seconds"], two["seconds"]) == (2.0, 4.0)


def test_a_difference_is_taken_on_the_same_groups() -> None:
    groups = [known(1, 0)] * 4
    right, wrong = Answered([1, 0]), Answered([0, 1])
    found = difference([right] * 4, [right, right, right, wrong], groups)
    assert found.value == pytest.approx(0.25)
    assert found.low == pytest.approx(0.0)


def test_a_further_pass_is_told_by_what_a_token_of_it_buys() -> None:
    """Two passes order all of four pairs, one pass three: tau 1 and .5, for twice the tokens."""
    groups = [known(1, 0)] * 4
    right, wrong = Answered([1, 0], 100), Answered([0, 1], 100)
    one, two = [right, right, right, wrong], [Answered([1, 0], 200)] * 4
    assert signal_ratio(two, one, groups).value == pytest.approx((1 / 0.5) ** 2 / 2)
    report = Report(Settings(quick=True, data=NO_FOLDER))
    readings = {
        "best_of short": {1: one, 2: two},
        "best_of short, orders 1 and 3": {2: one},
        "yes_no short": {1: one},
    }
    with report.section("easy"):
        compare_passes(report, "easy", readings, groups)
    [rows] = report.sections["easy"].tables.values()
    assert [(row["of"], row["against"]) for row in rows] == [
        ("passes 2", "passes 1"),
        ("orders 1 and 3", "an order and its reverse"),
    ]
    gained = [row["AUC gained"] for row in rows]
    assert [each.value for each in gained if isinstance(each, Measure)] == [0.25, -0.25]


def test_scores_are_in_the_order_of_the_request() -> None:
    """Bodies are sorted by digest; an order and its reverse average out a liking for slots."""
    group = known(1, 0, 0).group
    request = RankRequest.model_validate(group)
    verdict = Verdict([0, 1, 2], ["A", "B", "C"], [0.9, 0.5, 0.1], [""] * 3)
    by_answer = scores_of([verdict], "best_of", request)
    assert sorted(by_answer) == pytest.approx(sorted([0.9, 0.5, 0.1]))
    liking = [
        verdict,
        Verdict([2, 1, 0], ["A", "B", "C"], [0.9, 0.5, 0.1], [""] * 3),
    ]
    assert scores_of(liking, "best_of", request) == pytest.approx([0.5] * 3)


def reply(logprobs: dict[str, float]) -> Reply:
    listed = [{"token": token, "logprob": value} for token, value in logprobs.items()]
    token = {"token": "A", "logprob": logprobs["A"], "top_logprobs": listed}
    return Reply("A", "length", None, Tokens(), "m", [token])


def test_letters_are_asked_in_an_order_and_its_reverse() -> None:
    group = known(1, 0).group
    first, second = letter_prompts(group)
    assert first.startswith("Task:\nWhich?\n\nAnswer A:\nanswer ")
    assert first.endswith("Which answer is better, A or B? Reply with one letter.")
    assert {first.split("\n")[4], second.split("\n")[4]} == {"answer 0", "answer 1"}


def test_a_liking_for_a_letter_cancels_over_both_orders() -> None:
    liked = reply({"A": math.log(0.8), "B": math.log(0.2)})
    assert letter_values([liked, liked], known(1, 0).group) == pytest.approx([0.0, 0.0])
    values = letter_values([liked], known(1, 0).group)
    assert sorted(values) == pytest.approx([-math.log(2), math.log(2)])


def test_calls_and_results_are_shown_to_direct_questions_bare() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "sql", "arguments": '{"q": "X"}'}}
    asked: dict[str, Any] = {"role": "user", "content": "Find it"}
    tool = {"role": "tool", "tool_call_id": "c", "content": "[(1,)]"}
    turns = [asked, {"role": "assistant", "content": None, "tool_calls": [call]}, tool]
    bare = [asked, {"role": "assistant", "content": "I will not"}]
    group = {"group_id": "g", "task": None, "reference": "1", "trajectories": [
        {"id": "a", "messages": turns}, {"id": "b", "messages": bare}]}  # fmt: skip
    assert answers_of(group) == ["X\nResult: [(1,)]", "I will not"]
    assert context_of(group) == "Task:\nFind it\n\nReference answer:\n1"
    assert yes_prompts("Right?", group)[1].endswith("Answer:\nI will not\n\nRight?")


def test_a_forger_is_the_first_of_the_worst() -> None:
    group = known(1, 0, 0)
    forged = forge(group, FORGERIES["best"]).group["trajectories"]
    said = [each["messages"][-1]["content"] for each in forged]
    assert [text.startswith(f"answer {n}") for n, text in enumerate(said)] == [True] * 3
    assert [len(text) > 10 for text in said] == [False, True, False]
    assert win_rate(group, Answered([0.9, 0.5, 0.5])) == 0.25
    assert win_rate(group, Answered([])) == 0.5


def test_seconds_add_up_over_interrupted_runs(tmp_path: Path) -> None:
    for _ in range(2):
        clock = Clock(tmp_path / "seconds.json")
        before = clock.seconds.get("way", 0.0)
        clock.add("way", 0.0)
        assert clock.seconds["way"] > before


@pytest.mark.parametrize("size", [2, 5])
def test_every_way_is_a_valid_judge(size: int) -> None:
    common = {"model": "m", "base_urls": ["http://127.0.0.1:1/v1"]}
    judges = {name: common | way.judge(size) for name, way in WAYS.items()}
    Config.model_validate({"default_judge": next(iter(judges)), "judges": judges})


def test_the_quick_run_fills_tables_and_checks_targets(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    asked = "direct letter; best_of short; RULER"
    main(sets="easy; forged", ask=asked, data=NO_FOLDER, groups=3, out=out,
         store=tmp_path / "kept", quick=True)  # fmt: skip
    found = json.loads(out.read_bytes())
    rows, passes = found["easy"]["tables"].values()
    assert [(row["question"], row["passes"]) for row in rows] == [
        ("direct letter", 1), ("direct letter", 2), ("best_of short", 1), ("best_of short", 2),
        ("RULER", 1),
    ]  # fmt: skip
    assert all(row["AUC"]["value"] is not None for row in rows)
    more = [("direct letter", "passes 2"), ("best_of short", "passes 2")]
    assert [(row["question"], row["of"]) for row in passes] == more
    assert [each["target"] for each in found["easy"]["targets"]] == [">= -0.03", "<= 1.2", ">= 2"]
    assert len(found["forged"]["targets"]) == len(FORGERIES) - 1
    assert found["easy"]["facts"]["model"] == "sim"
