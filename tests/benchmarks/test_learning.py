import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.judges.reading import Form
from benchmarks.learning import keep, main, missing, read_records
from benchmarks.learning_report import (
    against,
    area_over_tokens_P,
    at_tokens_P,
    bootstrap,
    budget,
    by_arm,
    mean_P,
)
from benchmarks.learning_run import ARMS, Setup
from benchmarks.sums import SumJudge, closeness, fresh_addition
from podium_service.judges.judges_file import Config
from podium_service.prompts.templates import build_prompt
from podium_service.prompts.transcript import Transcript
from podium_service.prompts.verdict import parse_verdict
from tests.trainer.tiny import save_model

SETUP = Setup("model")


def record(arm: str, seed: int, held_out: list[list[float]], tokens: int) -> dict[str, Any]:
    """Return a run of one step between looks."""
    looks = [{"step": step, "scores": scores} for step, scores in enumerate(held_out)]
    steps = [{"tokens": tokens} for _ in held_out[1:]]
    return {"arm": arm, "seed": seed, "looks": looks, "steps": steps}


@pytest.mark.parametrize(
    ("said", "worth"),
    [("7", 1.0), (" 7.", 1.0), ("6", 0.45), ("The sum is 7", 0.5), ("27", 0.0), ("none", 0.0)],
)
def test_only_the_bare_sum_is_right_and_near_sums_score_more(said: str, worth: float) -> None:
    assert closeness(said, 7) == pytest.approx(worth)


def test_the_judge_reads_the_last_sum_of_the_prompt() -> None:
    asked = "<shared_messages>\n2 + 2 =\n4\n3 + 4 =\n</shared_messages>"
    bodies = [f'<message role="assistant">\n{said}\n</message>' for said in ("7", "4", "?")]
    transcript = Transcript(asked, bodies, ["d1", "d2", "d3"], [[0], [1], [2]])
    prompt = build_prompt("scores", "long", "Be fair.", transcript, [2, 0, 1])
    reply = SumJudge(seed=0, noise_sd=0.0, grid=0.05).reply({"messages": prompt.chat()})
    said = reply["choices"][0]["message"]["content"]
    assert parse_verdict(said, prompt.shown_ids, [2, 0, 1]).by_body() == [0.75, 0.4, 0.25]


@pytest.mark.parametrize("form", ["best", "scores"])
def test_the_judge_reads_short_prompts_and_no_sum_of_an_attempt(form: Form) -> None:
    """The best attempt answers 3 + 4; another one repeats a sum of its own."""
    bodies = ["7", "9 + 9 =", "2"]
    if form == "scores":
        bodies = [f'<message role="assistant">\n{said}\n</message>' for said in bodies]
    transcript = Transcript(
        "2 + 2 =\n4\n3 + 4 =", bodies, ["d1", "d2", "d3"], [[0], [1], [2]], is_plain=form == "best"
    )
    prompt = build_prompt(form, "short", "", transcript, [2, 1, 0])
    judge = SumJudge(seed=0, noise_sd=0.0, grid=0.05)
    reply = judge.reply({"messages": prompt.chat()})["choices"][0]["message"]["content"]
    if form == "best":
        assert reply == "C"
    else:
        assert parse_verdict(reply, prompt.shown_ids, [2, 1, 0]).by_body()[0] == 0.75


def test_copies_of_a_problem_differ_for_the_judge_only() -> None:
    task = fresh_addition(copies=2)
    one, other = (task.train[0], task.train[len(task.train) // 2])
    assert one.messages == other.messages
    assert one.task != other.task


def test_every_arm_has_a_judge_that_the_service_accepts() -> None:
    for arm in ARMS.values():
        main_judge = {"model": "m", "base_urls": ["http://127.0.0.1:1/v1"], **arm.judge}
        Config.model_validate({"default_judge": "main", "judges": {"main": main_judge}})


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "learning.jsonl"
    keep(path, {"arm": "b", "seed": 0, "setup": vars(SETUP)})
    keep(path, {"arm": "a", "seed": 0, "setup": vars(SETUP) | {"steps": 7}})
    with path.open("ab") as file:
        file.write(b'{"arm": "a", "se')  # killed here
    assert missing(read_records(path, SETUP), ["a", "b"], 2) == [("a", 0), ("a", 1), ("b", 1)]
    keep(path, {"arm": "a", "seed": 0, "setup": vars(SETUP)})
    assert missing(read_records(path, SETUP), ["a", "b"], 2) == [("a", 1), ("b", 1)]


def test_differences_are_paired_by_seed_and_prompt() -> None:
    records = [record("ruler std", s, [[0, 0], [0.1 * s, 0.5]], 100) for s in range(3)]
    records += [record("oracle", s, [[0, 0], [0.1 * s + 0.2, 0.7]], 25) for s in range(3)]
    runs = by_arm(records, list(ARMS))
    assert list(runs) == ["ruler std", "oracle"]
    assert against(runs, "oracle", mean_P) == pytest.approx((0.2, 0.2, 0.2))
    assert against(runs, "ruler std", mean_P) is None


def test_at_equal_tokens_the_dearer_arm_has_fewer_steps() -> None:
    runs = by_arm(
        [
            record("default mean", 0, [[0.0], [0.4], [0.8]], 100),
            record("ruler std", 0, [[0.0], [0.3]], 50),
        ],
        list(ARMS),
    )
    assert budget(runs, "default mean") == 50
    assert at_tokens_P(runs["default mean"][0], 50) == pytest.approx([0.2])


def test_the_area_over_tokens_is_the_mean_height_of_the_curve() -> None:
    """From 0 over .4 at 100 tokens to .8 at 200: a straight line, of mean height .3 up to 150."""
    run = record("ruler std", 0, [[0.0], [0.4], [0.8]], 100)
    assert area_over_tokens_P(run, 150) == pytest.approx([0.3])
    assert area_over_tokens_P(run, 0) == pytest.approx([0.0])


def test_the_bootstrap_holds_the_mean_and_narrows_with_prompts() -> None:
    rng = np.random.default_rng(1)
    widths = []
    for num_prompts in (10, 400):
        mean, low, high = bootstrap(rng.normal(0.3, 1.0, size=(3, num_prompts)), 500)
        assert low < mean < high
        widths.append(high - low)
    assert widths[1] < widths[0]


@pytest.mark.benchmark
def test_a_quick_run_trains_two_arms_and_writes_its_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_model(tmp_path / "model")
    results, plot = tmp_path / "results", tmp_path / "learning.png"
    main(model=str(model), quick=True, results=results, plot=plot)
    told = json.loads((results / "learning.json").read_text())
    assert set(told["arms"]) == {"ruler std", "default mean"}
    assert {"date", "versions", "setup"} <= set(told)
    assert told["arms"]["ruler std"]["calls_per_group"] <= 1
    assert told["arms"]["ruler std"]["failed_groups"] == 0
    assert told["arms"]["ruler std"]["tokens_per_run"] > 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    first = capsys.readouterr().out
    assert "ruler std seed 0" in first
    main(model=str(model), quick=True, results=results, plot=plot)
    again = capsys.readouterr().out
    assert "held-out score" in again
    assert "seed 0" not in again
