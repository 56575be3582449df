"""The file of rollouts tells what was sampled and what it earned, and survives kills."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import zstandard

from podium.answers import GroupReward, Ranking, TrajectoryResult
from podium_trainer.evaluation.evaluator import HeldOut, HeldOutGroup
from podium_trainer.evaluation.win_rate import Played, mix
from podium_trainer.records.metrics import MetricsError
from podium_trainer.records.rollouts.file import RolloutsFile, drop_steps_after, read_lines
from podium_trainer.records.rollouts.lines import Line, rollout_lines
from podium_trainer.records.rollouts.table import Cell, Tables, table_rows
from podium_trainer.records.rows.gathered import Gathered
from podium_trainer.update.groups import RankedGroup, group_advantages
from tests.trainer import ranked

TRAINED = ranked.group(["four", "7"], [0.25, 0.75], ["too long", "right"])
TIED = ranked.group(["a", "b"], [0.5, 0.5], [None, None], "a tie")
FAILED = ranked.group(["x", "y"], None, ["no", "verdict"], "a failure")


def lines_of(step: int, *groups: RankedGroup, is_skipped: bool = False) -> list[Line]:
    kept = [group for group in groups if group.has_signal]
    advantages = group_advantages(kept, "mean")
    gathered = Gathered(kept, list(groups), advantages=advantages, is_skipped=is_skipped)
    return rollout_lines(step, gathered, None)


def write(path: Path, *steps: int) -> None:
    file = RolloutsFile(path)
    for step in steps:
        file.log(step, lines_of(step, TRAINED, TIED))
    file.close()


def steps_in(path: Path) -> list[int]:
    return [line["step"] for line in read_lines(path)]


def test_a_trained_group_has_rewards_advantages_and_reasons() -> None:
    [line] = lines_of(3, TRAINED)
    about = {name: line[name] for name in ("step", "kind", "prompt_id", "ranking_id", "judge")}
    assert about == {
        "step": 3, "kind": "train", "prompt_id": "What is 3 + 4?", "ranking_id": "k", "judge": "j",
    }  # fmt: skip
    assert (line["is_trained"], line["reliability"], line["error"]) == (True, 0.5, None)
    assert line["prompt"] == [{"role": "user", "content": "What is 3 + 4?"}]
    names = ("reward", "advantage", "explanation", "tokens", "turns", "finish_reason")
    assert [tuple(each[name] for name in names) for each in line["attempts"]] == [
        (0.25, -0.25, "too long", 2, 1, "stop"),
        (0.75, 0.25, "right", 2, 1, "stop"),
    ]
    assert line["attempts"][1]["messages"] == [{"role": "assistant", "content": "7"}]


def test_a_group_without_signal_has_no_advantages() -> None:
    tied, failed = lines_of(1, TIED, FAILED)
    assert not tied["is_trained"]
    assert [each["advantage"] for each in tied["attempts"]] == [None, None]
    assert [each["reward"] for each in tied["attempts"]] == [0.5, 0.5]
    assert failed["error"] == "verdict_invalid: no verdict (HTTP 502, request r-1)"
    assert [each["reward"] for each in failed["attempts"]] == [None, None]
    assert (failed["ranking_id"], failed["judge"]) == (None, None)


def test_a_skipped_step_trained_on_no_group() -> None:
    [line] = lines_of(1, TRAINED, is_skipped=True)
    assert not line["is_trained"]
    assert [each["advantage"] for each in line["attempts"]] == [None, None]


def test_a_held_out_group_shows_what_it_was_ranked_against() -> None:
    prompt, attempts = TRAINED.prompt, [*TRAINED.attempts, *TIED.attempts[:1]]
    now = [Played(each.messages, "stop") for each in attempts[:2]]
    old = [Played([*prompt.messages, {"role": "assistant", "content": "old"}], "length")]
    comparison = mix(prompt, now, old, run="r", step=4, seed="0")
    places = {name: number for number, name in enumerate(comparison.ids, 1)}
    results = [
        TrajectoryResult(id=each.id, rank=places.get(each.id, 3), reward=0.5, explanation=each.id)
        for each in comparison.group.trajectories
    ]
    ranking = Ranking(
        id="rk", judge="j", method="m", passes=1, results=results, reliability=None, cached=False
    )
    group = HeldOutGroup(
        prompt, attempts, [0.0, 1.0, None], comparison, GroupReward([0.5] * 3, True, ranking)
    )
    [line] = rollout_lines(4, Gathered(), HeldOut([group], 0.5, None))
    assert (line["kind"], line["ranking_id"], line["is_trained"]) == ("held_out", "rk", False)
    names = ("rank", "task_score", "is_baseline", "finish_reason", "tokens")
    assert [tuple(each[name] for name in names) for each in line["attempts"]] == [
        (1, 0.0, False, "stop", 2),
        (2, 1.0, False, "stop", 2),
        (None, None, False, "stop", 2),
        (3, None, True, "length", None),
    ]
    assert line["attempts"][3]["messages"] == [{"role": "assistant", "content": "old"}]


class TableTracker:
    def __init__(self) -> None:
        self.steps: list[int] = []

    def log_table(self, step: int, columns: Sequence[str], rows: Sequence[list[Cell]]) -> None:
        self.steps.append(step)
        assert {len(columns)} == {len(row) for row in rows}


def test_trackers_get_a_table_every_few_steps() -> None:
    tracker, none = TableTracker(), TableTracker()
    for step in range(7):
        Tables([tracker], 3).log(step, lines_of(step, TRAINED) if step else [])
        Tables([none], 0).log(step, lines_of(step, TRAINED))
    assert (tracker.steps, none.steps) == ([1, 3, 6], [])


def test_a_table_has_a_row_for_each_attempt() -> None:
    first, _, lost, _ = table_rows(lines_of(2, TRAINED, FAILED))
    assert first == [2, "What is 3 + 4?", "four", 1.0, 0.25, -0.25, "too long"]
    assert lost[3:] == [None, None, None, "verdict_invalid: no verdict (HTTP 502, request r-1)"]


def test_lines_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "run/rollouts.jsonl.zst"
    hostile = ranked.group(ranked.HOSTILE, [0.1 * n for n in range(7)], ranked.HOSTILE)
    file = RolloutsFile(path)
    first, second = lines_of(1, hostile), lines_of(2, TRAINED, FAILED)
    file.log(1, first)
    file.log(2, [])
    file.log(2, second)
    assert list(read_lines(path)) == [*first, *second], "it is read while it is written"
    file.close()
    with path.open("rb") as stream:
        whole = zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True).read()
    assert whole.count(b"\n") == 3, "as zstdcat reads it"


def test_a_file_cut_anywhere_reads_to_its_last_whole_step(tmp_path: Path) -> None:
    path, cut = tmp_path / "whole", tmp_path / "cut"
    sizes = [0]
    for step in (1, 2, 3):
        write(path, step)
        sizes.append(path.stat().st_size)
    content = path.read_bytes()
    for size in sorted({*range(0, len(content), 23), *(s + n for s in sizes for n in (-1, 0, 1))}):
        cut.write_bytes(content[: max(0, size)])
        num_whole = sum(size >= each for each in sizes[1:])
        assert steps_in(cut) == [step for step in (1, 2, 3)[:num_whole] for _ in range(2)]
    for num_whole, size in enumerate(sizes[:-1]):
        cut.write_bytes(content[: size + 9])
        drop_steps_after(cut, 3)
        assert cut.stat().st_size == size
        write(cut, *range(num_whole + 1, 4))
        assert cut.read_bytes() == content


@pytest.mark.parametrize("garbage", [b"\0" * 5000, b"(\xb5/\xfd" + b"\xff" * 99])
def test_garbage_after_the_last_step_is_cut_off(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "rollouts"
    write(path, 1, 2)
    whole = path.read_bytes()
    path.write_bytes(whole + garbage)
    assert steps_in(path) == [1, 1, 2, 2]
    drop_steps_after(path, 2)
    assert path.read_bytes() == whole


def test_steps_that_are_done_again_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "rollouts"
    write(path, *range(1, 6))
    drop_steps_after(path, 3)
    write(path, 4, 5)
    assert steps_in(path) == [step for step in range(1, 6) for _ in range(2)]
    drop_steps_after(path, -1)
    assert steps_in(path) == []
    drop_steps_after(tmp_path / "none", 1)


def test_steps_are_read_over_the_ends_of_chunks(tmp_path: Path) -> None:
    path = tmp_path / "rollouts"
    file = RolloutsFile(path)
    draw = random.Random(0)
    for step in range(12):
        file.log(step, [{"step": step, "text": draw.randbytes(8_000).hex()}])
    file.close()
    assert path.stat().st_size > 65_536, "more than one chunk"
    assert steps_in(path) == list(range(12))


def test_a_step_on_a_full_disk_is_one_line() -> None:
    file = RolloutsFile(Path("/dev/full"))
    with pytest.raises(MetricsError, match=r"^/dev/full cannot be written: .* then add --resume$"):
        file.log(1, lines_of(1, TRAINED))
    file.close()
