"""Whole runs that gather ahead of the update, with fake vLLM servers and a real service."""

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podium_trainer.records.checkpoint import checkpoints, read_state
from podium_trainer.records.metrics import read_rows
from podium_trainer.records.rollouts.file import NAME, read_lines
from podium_trainer.run.recipe import RecipeError, read_command_line
from podium_trainer.samplers.vllm_requests import GENERATE
from podium_trainer.tasks.task import PromptCursor
from podium_trainer.train import Trainer
from tests.trainer.fake_vllm import FakeVllm, Wire, fault, varied
from tests.trainer.runs import Recorder, settings, train

STEPS, PROMPTS = 4, 3
FIRST_TOKEN = 30
HANG_S = 300.0


@pytest.fixture
def fake() -> Iterator[FakeVllm]:
    server = FakeVllm()
    server.spoil = varied
    with server.serving():
        yield server


def recipe_for(folder: Path, service: str, fake: FakeVllm, **changes: Any) -> dict[str, Any]:
    sampler = {"kind": "vllm", "urls": [fake.url], "parity_bound": 1e3, "max_tokens": 1}
    return settings(
        folder, service, sampler=sampler, steps=STEPS,
        rollout={"prompts_per_step": PROMPTS, "group_size": 4, "max_refills": 0}, **changes,
    )  # fmt: skip


class UntilSampled(Recorder):
    """Holds each update until the groups of the next step have been asked for."""

    def __init__(self, fake: FakeVllm, steps: int = STEPS) -> None:
        super().__init__()
        self.fake, self.steps, self.waiting = fake, steps, 0

    def start(self, trainer: Trainer) -> None:
        self.fake.calls.clear()

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        if name == "update":
            ends_at = time.monotonic() + 20
            wanted = PROMPTS * min(len(self.rows) + 1, self.steps)
            while self.fake.paths.count(GENERATE) < wanted:
                assert time.monotonic() < ends_at, "no gather runs beside the update"
                time.sleep(0.005)


def prompts_by_step(out: Path) -> dict[int, set[str]]:
    found = defaultdict(set)
    for line in read_lines(out / NAME):
        found[line["step"]].add(line["prompt_id"])
    return dict(found)


def test_a_gather_runs_beside_each_update_and_no_token_is_older(
    tmp_path: Path, service_url: str, fake: FakeVllm
) -> None:
    watcher = UntilSampled(fake)
    train(recipe_for(tmp_path, service_url, fake), watcher=watcher, before=watcher.start)
    assert [row["staleness_max"] for row in watcher.rows] == [None, 0, 1, 1, 1]
    assert [row["policy_version"] for row in watcher.rows] == [0, 1, 2, 3, 4]
    timings = read_rows(tmp_path / "run/timings.jsonl")[1:]
    for name in ("waited_s", "rollout_idle", "rank_idle", "update_idle"):
        assert all(row[name] is not None for row in timings)


def test_a_run_that_gathers_ahead_resumes_in_its_place(
    tmp_path: Path, service_url: str, fake: FakeVllm
) -> None:
    recipe = recipe_for(tmp_path, service_url, fake, checkpoint={"every": 2})
    watcher = UntilSampled(fake)
    watcher.after = lambda step: (_ for _ in ()).throw(KeyboardInterrupt) if step == 3 else None
    with pytest.raises(KeyboardInterrupt):
        train(recipe, watcher=watcher, before=watcher.start)
    saved = {path.name: read_state(path).prompts_taken for path in checkpoints_of(tmp_path)}
    assert saved == {"step-000002": 2 * PROMPTS, "step-000003": 3 * PROMPTS}
    orders = []
    train(recipe, resume=True, before=lambda t: orders.append(t.task.train))
    cursor = PromptCursor(orders[0], 0)
    wanted = {step: {p.id for p in cursor.take(PROMPTS)} for step in range(1, STEPS + 1)}
    assert prompts_by_step(tmp_path / "run") == wanted


def says_its_version(choice: Wire) -> Wire:
    """Draw the weights' version as the first token, and another one that differs."""
    choice = varied(choice)
    label = choice["weight_versions"][0]["version"].rpartition("-")[2]
    tokens = [FIRST_TOKEN + int(label) if label.isdigit() else 3, *choice["token_ids"][1:]]
    content = [{"token_id": token, "logprob": -1.0} for token in tokens]
    return choice | {"token_ids": tokens, "logprobs": {"content": content}}


class PushesSlowly(Recorder):
    """Lets the requests of step 4 fail once and come again during a push that takes long.

    With two steps ahead, those of step 4 are the only ones that are begun with step 2.
    """

    def __init__(self, fake: FakeVllm) -> None:
        super().__init__()
        self.fake, self.after = fake, self.spoil

    def start(self, trainer: Trainer) -> None:
        self.fake.calls.clear()

    def spoil(self, step: int) -> None:
        if step == 1:
            self.wait_for_requests(3 * PROMPTS)
            self.fake.faults[GENERATE].extend([fault(503)] * PROMPTS)
            self.fake.faults["/collective_rpc"].append(1.0)

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        if name == "update":
            assert self.fake.paths.count(GENERATE) <= PROMPTS * (len(self.rows) + 2 + 1)

    def wait_for_requests(self, count: int) -> None:
        ends_at = time.monotonic() + 20
        while self.fake.paths.count(GENERATE) < count:
            assert time.monotonic() < ends_at, "the gathers ahead do not ask"
            time.sleep(0.005)


def test_a_push_that_takes_longer_than_wait_s_holds_gathers_only(
    tmp_path: Path, service_url: str, fake: FakeVllm
) -> None:
    fake.spoil = says_its_version
    watcher = PushesSlowly(fake)
    recipe = recipe_for(tmp_path, service_url, fake, log={"samples_every": 1}) | {"steps": 6}
    recipe["rollout"]["max_staleness"] = 2
    recipe["sampler"] |= {"max_tokens": 2, "wait_s": 0.2}
    train(recipe, watcher=watcher, before=watcher.start)
    assert [row["policy_version"] for row in watcher.rows] == list(range(7))
    for step, groups in watcher.seen.items():
        samples = [s for group in groups for a in group.attempts for s in a.samples]
        drawn = [s.policy_versions[-1] for s in samples]
        assert [s.token_ids[-2] - FIRST_TOKEN for s in samples] == drawn
        assert all(0 <= step - 1 - version <= 2 for version in drawn)
    assert len(watcher.seen) == 6


def checkpoints_of(folder: Path) -> list[Path]:
    return checkpoints(folder / "run/checkpoints")


class HangsAfterStep2(UntilSampled):
    """Lets the requests of step 3 hang: those of step 2 are there when the first update begins."""

    def __init__(self, fake: FakeVllm) -> None:
        super().__init__(fake)
        self.began = 0.0
        self.after = self.stop

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        super().phase(name, done, total)
        if name == "update" and len(self.rows) == 1:
            self.fake.faults[GENERATE].extend([HANG_S] * PROMPTS)

    def stop(self, step: int) -> None:
        if step == 2:
            self.began = time.monotonic()
            raise KeyboardInterrupt


def test_a_stop_ends_the_gathers_ahead_at_once(
    tmp_path: Path, service_url: str, fake: FakeVllm
) -> None:
    watcher = HangsAfterStep2(fake)
    with pytest.raises(KeyboardInterrupt):
        train(recipe_for(tmp_path, service_url, fake), watcher=watcher, before=watcher.start)
    assert time.monotonic() - watcher.began < HANG_S / 5  # saving and closing included
    [saved] = checkpoints_of(tmp_path)
    assert read_state(saved).step == 2
    assert read_state(saved).prompts_taken == 2 * PROMPTS


def test_the_local_sampler_cannot_run_ahead() -> None:
    flags = ["addition", "--model", "m", "--rollout.max_staleness", "2"]
    with pytest.raises(RecipeError, match=r"^rollout\.max_staleness: 2: must be 0 with [^\n]*$"):
        read_command_line(flags)
    config, _ = read_command_line([*flags, "--sampler.kind", "vllm"])
    assert config.max_staleness == 2
    config, _ = read_command_line(["addition", "--model", "m", "--sampler.kind", "vllm"])
    assert config.max_staleness == 1
