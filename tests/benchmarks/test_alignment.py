"""Alignment of advantages: the arithmetic by hand, RULER's requests, and the quick run."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.alignment.__main__ import chosen, main
from benchmarks.alignment.arms import ARMS, DEFAULT
from benchmarks.alignment.asking import Answered
from benchmarks.alignment.cosine import align, at_tokens, cosines, group_sums, ratio_of
from benchmarks.alignment.measuring import PARTS, Entry, groups_of
from benchmarks.alignment.rows import Baseline, row
from benchmarks.alignment.ruler import (
    Ruled,
    is_single,
    mean_scores,
    read_scores,
    request,
    without_repeats,
)
from benchmarks.alignment.sets import GroupSet, read_set
from benchmarks.content import Labelled
from benchmarks.record_rollouts import GROUP_SIZE, HELD_OUT, ROLLOUTS, SAMPLES, STAGES
from podium_service.judges.judges_file import Config
from podium_trainer.tasks.addition import build_prompt, score_exact_match

NO_FOLDER = Path("no-such-folder")


def group(name: str, answers: list[str], **more: Any) -> dict[str, Any]:
    asked = {"role": "user", "content": "3 + 4 ="}
    members = [
        {"id": str(n), "messages": [asked, {"role": "assistant", "content": answer}]}
        for n, answer in enumerate(answers)
    ]
    return {"group_id": name, "task": None, "trajectories": members, **more}


def known(name: str, truth: list[float]) -> Labelled:
    return Labelled(group(name, [f"{n}" for n in range(len(truth))]), [], truth)


def test_a_groups_sums_are_of_centred_rewards_and_centred_truth() -> None:
    assert group_sums([0.8, 0.2], [1, -1], "mean") == pytest.approx([0.6, 0.18, 2.0])
    assert group_sums([0.8, 0.2], [1, -1], "group_std") == pytest.approx([2.0, 2.0, 2.0])
    assert group_sums([1, 0, 0, 0], [2, 0, 0, 2], "mean") == pytest.approx([1.0, 0.75, 4.0])


def test_a_group_that_was_not_ranked_trains_nothing() -> None:
    assert group_sums([], [1, -1], "mean") == pytest.approx([0.0, 0.0, 2.0])
    assert group_sums([0.5, 0.5], [1, -1], "group_std") == pytest.approx([0.0, 0.0, 2.0])


def test_a_batch_is_one_long_vector_of_advantages() -> None:
    sure, silent = group_sums([0.8, 0.2], [1, -1], "mean"), group_sums([], [1, -1], "mean")
    assert cosines(sure) == pytest.approx(1.0)
    assert cosines(sure + silent) == pytest.approx(0.5**0.5)
    wrong = group_sums([0.2, 0.8], [1, -1], "mean")
    assert cosines(wrong) == pytest.approx(-1.0)
    assert cosines(sure + wrong) == pytest.approx(0.0)


def test_noise_on_equals_turns_a_batch_away_from_the_truth() -> None:
    equals = group_sums([0.8, 0.2], [1, 1], "mean")
    assert cosines(group_sums([0.8, 0.2], [1, -1], "mean") + equals) == pytest.approx(0.5**0.5)


def test_a_batch_of_equals_has_no_direction() -> None:
    assert np.isnan(cosines(np.array([0.0, 0.18, 0.0])))
    assert cosines(np.array([0.0, 0.0, 2.0])) == 0.0


def test_perfect_advantages_have_a_cosine_of_one_in_every_batch() -> None:
    sums = np.array([[group_sums([0.8, 0.2], [1, -1], "mean")] * 5] * 2)
    found = align(sums)
    assert (found.cosine.value, found.cosine.low, found.cosine.high) == pytest.approx((1, 1, 1))
    assert found.squared.value == pytest.approx(1)


def test_a_squared_cosine_is_negative_where_the_cosine_is() -> None:
    sums = np.array([[group_sums([0.2, 0.8], [1, -1], "mean")] * 5])
    assert align(sums).squared.value == pytest.approx(-1)


def test_batches_draw_groups_and_the_noises_of_a_judge() -> None:
    """Half the groups are silent, or every group in one of two noises: a batch has K of 8 groups
    that point along the truth, K binomial; the square of its cosine is K / 8."""
    sure, silent = group_sums([0.8, 0.2], [1, -1], "mean"), group_sums([], [1, -1], "mean")
    for sums in ([[sure, silent] * 20], [[sure] * 40, [silent] * 40]):
        found = align(np.array(sums))
        assert found.squared.value == pytest.approx(0.5, abs=0.01)
        assert found.squared.low is not None
        assert found.squared.high is not None
        assert found.squared.low < 0.5 < found.squared.high


def test_tokens_between_calls_are_worth_a_straight_line() -> None:
    def worth(tokens: float) -> float:
        return float(at_tokens(tokens, [100.0, 200.0], np.array([0.2, 0.3])))

    found = [worth(tokens) for tokens in (0, 50, 100, 150, 200, 900)]
    assert found == pytest.approx([0, 0.1, 0.2, 0.25, 0.3, 0.3])


def test_ratios_pair_resamples_and_need_a_divisor() -> None:
    found = ratio_of(np.array([0.2, 0.6]), np.array([0.1, 0.2]), 2.4, 9)
    assert (found.value, found.groups) == (2.4, 9)
    assert found.low == pytest.approx(2.025)
    assert found.high == pytest.approx(2.975)
    assert ratio_of(np.array([0.2, 0.6]), np.array([-0.1, 0.2]), 2.4, 9).value is None


def test_a_row_divides_by_tokens_by_calls_and_by_ruler() -> None:
    groups = [known("a", [1.0, -1.0]), known("b", [1.0, -1.0])]
    entry = Entry(groups, [[Answered([0.9, 0.1], 150, 2), Answered([0.7, 0.3], 350, 4)]])
    squares = np.array([[0.25] * 300, [0.5] * 300])
    against = Baseline("mean", [100.0, 300.0], squares[:, 0], squares)
    found = row("arm", PARTS[1], entry, "group_std", against)
    assert (found["tokens"], found["calls"]) == (250, 3)
    assert found["squared"].value == pytest.approx(1)
    assert found["squared per 1k tokens"] == pytest.approx(4)
    assert found["squared per call"] == pytest.approx(1 / 3)
    assert found["per token / RULER"].value == pytest.approx(1 / 0.625)
    assert found["equal tokens / RULER"].value == pytest.approx(1 / 0.4375)


def test_each_half_is_ranked_by_a_new_judge_and_by_a_known_one() -> None:
    first, second = [known("a", [1, 0]), known("b", [1, 0])], [known("c", [1, 0])]
    of = GroupSet("set", (first, second))
    names = {
        (part, folds): "".join(each.group["group_id"] for each in groups_of(part, of, folds))
        for part in PARTS
        for folds in (1, 2)
    }
    assert names == {
        ("new", 1): "ab",
        ("new", 2): "abc",
        ("warmed up", 1): "c",
        ("warmed up", 2): "cab",
    }


def test_ruler_shows_what_is_shared_once_and_numbers_the_rest() -> None:
    text = request(group("g", ["7", "8"]))["messages"][1]["content"]
    assert text == (
        '<context>\n[{"role": "user", "content": "3 + 4 ="}]\n</context>\n\n'
        'Trajectories:\n\n<trajectory id="1">\n[{"role": "assistant", "content": "7"}]\n'
        '</trajectory>\n\n<trajectory id="2">\n[{"role": "assistant", "content": "8"}]\n'
        "</trajectory>"
    )


def test_ruler_rates_identical_trajectories_once() -> None:
    same = group("g", ["7", "7", "7"])
    assert is_single(same)
    text = request(same)["messages"][1]["content"]
    assert text.count("<trajectory ") == 1
    assert "<context>" not in text
    verdict = '{"scores": [{"trajectory_id": "1", "explanation": "", "score": 0.4}]}'
    assert read_scores(verdict, 3, is_single=True) == [0.4, 0.4, 0.4]
    assert read_scores(verdict, 3, is_single=False) == []


def test_a_group_without_repeats_says_where_each_answer_stands() -> None:
    distinct, places = without_repeats(group("g", ["7", "8", "7", "9", "8"]))
    assert [each["id"] for each in distinct["trajectories"]] == ["0", "1", "3"]
    assert places == [0, 1, 0, 2, 1]


def test_ruler_is_told_the_reference_where_there_is_one() -> None:
    text = request(group("g", ["7", "8"], reference="7"))["messages"][1]["content"]
    assert text.startswith('<context>\n[{"role": "system", "content": "Reference answer')


def test_an_endpoint_without_schemas_is_told_the_form_in_words() -> None:
    asked = request(group("g", ["7", "8"]), has_schema=False)
    assert "response_format" not in asked
    assert '{"scores": [{"trajectory_id": "1"' in asked["messages"][0]["content"]


def test_ruler_takes_scores_by_position_and_drops_other_replies() -> None:
    by_number = {"2": {"score": 0.2}, "1": {"score": "0.9"}}
    assert read_scores(json.dumps(by_number), 2, is_single=False) == [0.2, 0.9]
    assert read_scores(f"```json\n{json.dumps(by_number)}\n```", 2, is_single=False) == [0.2, 0.9]
    for said in ("", "no", "[1, 2]", '{"scores": [0.1, 0.2]}', '{"1": {"score": 0.2}}'):
        assert read_scores(said, 2, is_single=False) == []


def test_repeated_calls_are_averaged_without_those_that_failed() -> None:
    assert mean_scores([Ruled([0.2, 0.4], 9), Ruled([], 9), Ruled([0.4, 0.4], 9)]) == (
        pytest.approx([0.3, 0.4])
    )
    assert mean_scores([Ruled([], 9)]) == []


def test_the_recorded_answers_are_marked_as_the_task_marks_them() -> None:
    lines = [json.loads(line) for line in ROLLOUTS.read_text().splitlines()]
    counts = Counter((line["stage"], line["sample"]) for line in lines)
    assert counts == {(stage, n): HELD_OUT for stage in range(len(STAGES)) for n in range(SAMPLES)}
    for line in lines:
        one, _, other, _ = line["prompt"].split()
        prompt = build_prompt(int(one), int(other))
        said = [[{"role": "assistant", "content": each}] for each in line["answers"]]
        assert line["right"] == [score_exact_match(prompt, each) for each in said]
        assert len(said) == GROUP_SIZE
    assert ROLLOUTS.stat().st_size < 300_000


def test_a_stage_asks_each_problem_once_in_either_half() -> None:
    found = read_set("addition-1", NO_FOLDER, 48, keyed=False)
    assert found
    problems = [
        [each.group["group_id"].rpartition("/")[2] for each in half] for half in found.halves
    ]
    assert sorted(problems[0]) == sorted(problems[1])
    assert len(set(problems[0])) == HELD_OUT
    assert found.facts["groups"] == 2 * HELD_OUT
    assert read_set("gsm8k", NO_FOLDER, 48, keyed=False) is None


def test_only_simulated_judges_see_keys_and_only_in_what_differs() -> None:
    keyed = read_set("addition-1", NO_FOLDER, 1, keyed=True)
    bare = read_set("addition-1", NO_FOLDER, 1, keyed=False)
    assert keyed
    assert bare
    for with_key, without in zip(keyed.halves[0], bare.halves[0], strict=True):
        assert with_key.truth == without.truth
        members = zip(with_key.group["trajectories"], without.group["trajectories"], strict=True)
        for one, other in members:
            assert one["messages"][:-1] == other["messages"][:-1]
            key, _, answer = one["messages"][-1]["content"].partition("\n")
            assert key.startswith("case ")
            assert answer == other["messages"][-1]["content"].rstrip()


def test_every_arm_has_a_judge_that_the_service_accepts() -> None:
    for arm in ARMS.values():
        judge = {"model": "m", "base_urls": ["http://127.0.0.1:1/v1"], **arm.judge}
        Config.model_validate({"default_judge": "main", "judges": {"main": judge}})
    assert chosen(f"{DEFAULT}; 1 pass", list(ARMS), []) == [DEFAULT, "1 pass"]


def test_the_quick_run_tells_what_every_arm_is_worth(tmp_path: Path) -> None:
    out, plot = tmp_path / "alignment.json", tmp_path / "alignment.png"
    main(quick=True, repetitions=1, out=out, plot=plot)
    (section,) = json.loads(out.read_bytes()).values()
    (rows,) = section["tables"].values()
    assert {each["arm"] for each in rows} >= {"RULER", "RULER, mean of 8", DEFAULT, "1 pass"}
    for each in rows:
        assert -1 <= each["cosine"]["value"] <= 1
        assert each["tokens"] > 0
    by_arm = {each["arm"]: each for each in rows if each["judge"] == PARTS[1]}
    assert by_arm["RULER, mean of 8"]["tokens"] == pytest.approx(8 * by_arm["RULER"]["tokens"])
    assert by_arm["RULER, mean of 8"]["cosine"]["value"] > by_arm["RULER"]["cosine"]["value"]
    (target,) = section["targets"]
    assert target["target"] == ">= 1.3"
    assert plot.stat().st_size > 5_000
