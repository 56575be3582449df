"""`podium-train show` prints what was sampled in a run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from podium_trainer.evaluation.evaluator import HeldOut, HeldOutGroup
from podium_trainer.records.rollouts.file import NAME, RolloutsFile
from podium_trainer.records.rollouts.lines import rollout_lines
from podium_trainer.records.rows.gathered import Gathered
from podium_trainer.run.cli import run
from podium_trainer.update.groups import RankedGroup, group_advantages
from tests.trainer import ranked

PROMPTS = "add 1 2, add 11 22, odd"


def ranked_group(name: str, *texts: str) -> RankedGroup:
    """Make a group whose last attempt is the best."""
    rewards = [number / len(texts) for number in range(len(texts))]
    group = ranked.group(texts, rewards, [f"why {text}" for text in texts], name)
    assert group.answer.ranking
    for result in group.answer.ranking.results:
        object.__setattr__(result, "rank", float(len(texts) - int(result.id)))
    group.answer.ranking.results.reverse()
    return group


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    file = RolloutsFile(tmp_path / NAME)
    for step in (1, 2):
        groups = [
            ranked_group("add 1 2", f"three {step}", f"3 {step}", f"{step} is it"),
            ranked_group("add 11 22", f"33 {step}", f"4 {step}"),
            ranked.group(["lost"], None, ["judge", "is", "ill"], "odd"),
        ]
        kept = groups[:2]
        gathered = Gathered(kept, groups, advantages=group_advantages(kept, "mean"))
        first = groups[0]
        held_out = HeldOut([HeldOutGroup(first.prompt, first.attempts, [0.0, 1.0, 0.5])], 0.5, None)
        file.log(step, rollout_lines(step, gathered, held_out))
    file.close()
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    status = run(["show", *map(str, arguments)])
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return captured.out


def test_the_last_step_is_shown_in_order_of_rank(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(capsys, folder)
    assert text.splitlines()[:10] == [
        "step 2 · add 1 2 · trained on · judge j · k · reliability 0.50",
        "    user: add 1 2",
        "  #1 · reward 0.667 · advantage +0.333 · 2 tokens",
        "    2 is it",
        "    judge: why 2 is it",
        "  #2 · reward 0.333 · advantage +0.000 · 2 tokens",
        "    3 2",
        "    judge: why 3 2",
        "  #3 · reward 0.000 · advantage -0.333 · 2 tokens",
        "    three 2",
    ]
    assert "step 2 · odd · not trained on\n" in text
    assert "error: verdict_invalid: judge is ill" in text
    assert "step 1" not in text


def test_one_prompt_is_shown_over_all_steps(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = [
        line for line in shown(capsys, folder, "--prompt", "add 1 2").splitlines() if "step" in line
    ]
    assert [head[:16] for head in heads] == ["step 1 · add 1 2", "step 2 · add 1 2"]
    part = shown(capsys, folder, "--prompt", "add", "--step", 1)
    assert part.count("step 1 · add") == 2


def test_only_the_best_or_the_worst_attempt_is_shown(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best, worst = (shown(capsys, folder, "--step", 1, flag) for flag in ("--best", "--worst"))
    assert "1 is it" in best
    assert "three 1" not in best
    assert "three 1" in worst
    assert "1 is it" not in worst
    assert "lost" in best, "a group without ranks is shown whole"


def test_held_out_attempts_are_shown_with_their_scores(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(capsys, folder, "--held-out")
    assert text.startswith("step 2 · add 1 2 · held out\n")
    assert "not ranked · score 1 · 2 tokens" in text


def test_json_holds_the_chosen_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, folder, "--json", "--best", "--prompt", "add 11 22")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["step"], line["attempts"][0]["rank"]) for line in lines] == [(1, 1.0), (2, 1.0)]


def test_a_hostile_text_is_shown_without_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [text[:3000] for text in ranked.HOSTILE]
    group = ranked.group(texts, None, texts, texts[1])
    file = RolloutsFile(tmp_path / NAME)
    file.log(1, rollout_lines(1, Gathered([], [group]), None))
    file.close()
    short, full = shown(capsys, tmp_path), shown(capsys, tmp_path, "--full")
    for text in (short, full):
        assert not [c for c in text if not c.isprintable() and c != "\n"]
    assert len(short) < 8_000 < 12_000 < len(full)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--step", "9"],
            "--step 9: there is no such group; {}",
        ),
        (
            ["--prompt", "sub"],
            "--prompt 'sub': there is no such group; {}",
        ),
    ],
)
def test_what_is_not_there_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert run(["show", str(folder), *arguments]) == 1
    held = f"{folder / NAME} has steps 1 to 2 and prompts {PROMPTS}"
    assert capsys.readouterr().err == f"podium-train: {words.format(held)}\n"


def test_a_folder_without_rollouts_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["show", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"podium-train: {tmp_path / NAME}: there is no such file: name the folder `out` of a run\n"
    )


def test_a_closed_pipe_ends_the_command_quietly(folder: Path) -> None:
    command = f"{sys.executable} -P -m podium_trainer show {folder} --json | head -c 1 >/dev/null"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], env=os.environ, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
