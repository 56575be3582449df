"""Whole runs with a vLLM server that fails at some prompts, and at all of them."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podium_trainer.records.checkpoint import checkpoints
from podium_trainer.records.metrics import read_rows
from podium_trainer.train import TrainingStopped
from tests.trainer.fake_vllm import Answer, FakeVllm, Wire, fault
from tests.trainer.runs import Recorder, settings, train
from tests.trainer.samplers.test_sampling_failures import with_logprob

TOO_LONG = fault(400, "This model's maximum context length is 1024 tokens")
PATH = "/inference/v1/generate"


def differ(choice: Wire) -> Wire:
    """Give each completion of a group its own token, so that the judge can rank them."""
    token = 11 + 9 * choice["index"]
    content = [{"token_id": token, "logprob": -1.0}]
    return choice | {
        "token_ids": [token],
        "logprobs": {"content": content},
        "weight_versions": [dict(choice["weight_versions"][0], end=1)],
    }


@pytest.fixture
def fake() -> Iterator[FakeVllm]:
    with FakeVllm().serving() as server:
        server.spoil = differ
        yield server


def vllm_settings(folder: Path, service: str, fake: FakeVllm, **changes: Any) -> dict[str, Any]:
    """Return a recipe whose sampler is the fake server, which knows nothing of the policy.

    All parts take turns, so that a script of faults meets the step that it is for.
    """
    recipe = settings(folder, service, **changes)
    recipe["rollout"] |= {"max_staleness": 0}
    recipe["sampler"] |= {"kind": "vllm", "urls": [fake.url], "parity_bound": 100.0}
    return recipe


def test_a_group_that_is_not_sampled_is_counted_and_left_out(
    tmp_path: Path, service_url: str, fake: FakeVllm
) -> None:
    rollout = {"prompts_per_step": 5, "max_refills": 0}
    recipe = vllm_settings(tmp_path, service_url, fake, steps=1, rollout=rollout)
    recipe["sampler"]["timeout_s"] = 3.0  # long enough for those that answer
    faults: list[Answer | float] = [TOO_LONG, 30.0, (200, with_logprob(math.nan))]
    watcher = train(recipe, before=lambda trainer: fake.faults[PATH].extend(faults))
    row = watcher.rows[1]
    lost = [row[f"groups_{cause}"] for cause in ("unanswered", "refused", "not_finite")]
    assert lost == [1, 1, 1]
    assert (row["groups"], row["groups_trained"], row["policy_version"]) == (2, 2, 1)
    [note] = [note for note in watcher.notes if "not sampled" in note]
    assert note.startswith(
        "step 1: 3 of 5 groups were not sampled (1 not answered, 1 refused, 1 not finite): "
    )


def test_a_first_step_without_any_group_stops_the_run(
    tmp_path: Path, service_url: str, fake: FakeVllm
) -> None:
    recipe = vllm_settings(tmp_path, service_url, fake, steps=9)
    with pytest.raises(
        TrainingStopped, match=r"6 of 6 groups were not sampled \(6 refused\): .*400"
    ):
        train(recipe, before=lambda trainer: fake.faults[PATH].extend([TOO_LONG] * 6))
    assert checkpoints(tmp_path / "run/checkpoints") == []


def test_steps_without_any_group_stop_the_run_after_saving(
    tmp_path: Path, service_url: str, fake: FakeVllm
) -> None:
    recipe = vllm_settings(
        tmp_path, service_url, fake, steps=9, max_idle_steps=2, checkpoint={"every": 99}
    )

    def refuse_later(step: int) -> None:
        fake.faults[PATH].extend([TOO_LONG] * 6 if step else [])

    with pytest.raises(
        TrainingStopped, match=r"in 2 steps; in the last one 6 of 6 groups were not"
    ):
        train(recipe, watcher=Recorder(refuse_later))
    rows = read_rows(tmp_path / "run/metrics.jsonl")
    assert [row["groups_refused"] for row in rows] == [0, 0, 6, 6]
    [saved] = checkpoints(tmp_path / "run/checkpoints")
    assert saved.name == "step-000002"
    fake.faults.clear()
    train(recipe | {"steps": 4}, resume=True)
    assert [row["policy_version"] for row in read_rows(tmp_path / "run/metrics.jsonl")] == [
        0, 1, 1, 2, 3,
    ]  # fmt: skip
