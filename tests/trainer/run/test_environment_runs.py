"""Whole runs in environments, with and without faults, of a tiny model."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from podium_trainer.train import TrainingStopped
from tests.service.process import wait
from tests.trainer.fake_vllm import FakeVllm, Wire
from tests.trainer.runs import settings, start_process, train

# It starts with 6 s of CPU and ends with 2 s, for a picture: so long on a core that 20 others use.
LIMIT_S = 200.0


def recipe(folder: Path, service: str, task: str, **changes: Any) -> dict[str, Any]:
    """Return a recipe for a model of which every second token ends its turn."""
    settled = settings(folder, service, steps=2, eval={"every": 2, "samples": 2}, **changes)
    path = folder / "model/generation_config.json"
    ends = {"eos_token_id": list(range(2, 260, 2))}
    path.write_text(json.dumps(json.loads(path.read_text()) | ends))
    return settled | {"task": {"name": task}}


def test_a_game_of_several_turns_is_trained(tmp_path: Path, service_url: str) -> None:
    watcher = train(recipe(tmp_path, service_url, "guess"))
    last: dict[str, Any] = dict(watcher.rows[-1])
    assert last["policy_version"] > 0
    assert last["turns"] > 1
    assert last["attempts_failed"] == 0
    assert 0 <= last["held_out"] <= 1
    for attempt in watcher.seen[1][0].attempts:
        assert attempt.num_tokens <= 6 * attempt.num_turns  # the hints are not trained on


def test_faults_of_environments_are_counted(tmp_path: Path, service_url: str) -> None:
    task = "tests.trainer.rollout.worlds:third_fails"
    rows: list[Any] = [*train(recipe(tmp_path, service_url, task)).rows]
    assert len(rows) == 3
    assert all(row["attempts_failed"] > 0 for row in rows[1:])
    assert rows[-1]["groups_unplayed"] == 0
    assert rows[-1]["policy_version"] > 0


def test_a_run_whose_environments_all_fail_says_why(tmp_path: Path, service_url: str) -> None:
    task = "tests.trainer.rollout.worlds:all_fail"
    with pytest.raises(TrainingStopped, match=r"failed in their environment\): step raised Run"):
        train(recipe(tmp_path, service_url, task))


def ended(choice: Wire) -> Wire:
    """Let a choice end with the token that ends a turn."""
    tokens = [*choice["token_ids"][:-1], 2]
    content = [{"token_id": token, "logprob": -1.0} for token in tokens]
    return choice | {"token_ids": tokens, "logprobs": {"content": content}, "finish_reason": "stop"}


def num_steps(log: Path) -> int:
    """Count the steps of environments that have begun."""
    return log.read_text().count("step") if log.exists() else 0


def test_ctrl_c_ends_a_run_whose_environments_work(tmp_path: Path, service_url: str) -> None:
    fake, log = FakeVllm(), tmp_path / "events"
    fake.spoil = ended
    with fake.serving():
        sampler = {"kind": "vllm", "urls": [fake.url], "parity_bound": 1e3}
        settled = settings(tmp_path, service_url, sampler=sampler)
        settled["task"] = {
            "name": "tests.trainer.rollout.worlds:dawdle", "options": {"log": str(log)},
        }  # fmt: skip
        process = start_process(settled, tmp_path)
        try:
            wait(lambda: process.poll() is not None or num_steps(log) >= 12, LIMIT_S)
            process.send_signal(signal.SIGINT)
            assert process.wait(LIMIT_S) == 130, (tmp_path / "train.log").read_text()
        finally:
            process.kill()
    events = [line.split()[0] for line in log.read_text().splitlines()]
    assert events.count("close") == events.count("reset") >= 12
