"""Whole runs: a real service, a real (tiny) model, real kills."""

import itertools
import json
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from podium_trainer.config import ModelConfig
from podium_trainer.policy.load import PolicyError, load_model
from podium_trainer.records.checkpoint import checkpoints
from podium_trainer.records.metrics import JsonlFile, MetricsError, read_rows
from podium_trainer.records.rollouts.file import NAME, read_lines
from podium_trainer.run.checks.preflight import PreflightError
from podium_trainer.run.folder import StartError
from podium_trainer.train import TrainingStopped
from podium_trainer.update.groups import RankedGroup
from tests.fake_service import failed, ranked, serve
from tests.service.process import Podium, running
from tests.trainer.runs import Recorder, settings, start_process, train, write_judges
from tests.trainer.tiny import naive_logprobs


def wait_for_rows(path: Path, count: int) -> None:
    ends_at = time.monotonic() + 120
    while len(read_rows(path)) < count:
        assert time.monotonic() < ends_at, f"{path} did not get {count} rows"
        time.sleep(0.002)


@pytest.mark.restart
def test_invariant_10_a_killed_run_resumes_to_the_same_metrics(
    tmp_path: Path, service_url: str
) -> None:
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    changes: dict[str, Any] = {"steps": 40, "checkpoint": {"every": 3}}
    for folder in (unbroken, killed):
        folder.mkdir()
    train(settings(unbroken, service_url, **changes))
    recipe = settings(killed, service_url, **changes)

    rows_at_kill = random.randrange(2, 19)
    process = start_process(recipe, killed)
    wait_for_rows(killed / "run/metrics.jsonl", rows_at_kill)
    time.sleep(random.random() * 0.1)  # anywhere within a step, a checkpoint included
    process.kill()
    process.wait()
    assert len(read_rows(killed / "run/metrics.jsonl")) < 41, (
        f"it was killed too late, after row {rows_at_kill}"
    )
    train(recipe, resume=True)

    same = (unbroken / "run/metrics.jsonl").read_bytes()
    assert (killed / "run/metrics.jsonl").read_bytes() == same
    assert [row["step"] for row in read_rows(killed / "run/timings.jsonl")] == list(range(41))
    weights = [checkpoints(folder / "run/checkpoints")[-1] for folder in (unbroken, killed)]
    files = [(path / "weights/model.safetensors").read_bytes() for path in weights]
    rollouts = [list(read_lines(each / "run" / NAME)) for each in (unbroken, killed)]
    assert rollouts[0] == rollouts[1], "no step is lost or repeated"
    assert files[0] == files[1]


def test_a_run_without_a_checkpoint_resumes_from_the_start(
    tmp_path: Path, service_url: str
) -> None:
    recipe = settings(tmp_path, service_url, steps=2, checkpoint={"every": 2})
    with pytest.raises(Killed):
        train(recipe, watcher=kill_at(1))
    assert len(read_rows(tmp_path / "run/metrics.jsonl")) == 2
    assert len(train(recipe, resume=True).rows) == 3
    assert len(read_rows(tmp_path / "run/metrics.jsonl")) == 3


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path, service_url: str) -> None:
    recipe = settings(tmp_path, service_url, steps=1)
    train(recipe)
    with pytest.raises(StartError, match="already holds a run: add --resume"):
        train(recipe)


class Killed(BaseException):
    """Ends a run between two steps, with nothing saved."""


def kill_at(number: int) -> Recorder:
    def after(step: int) -> None:
        if step == number:
            raise Killed

    return Recorder(after)


def test_a_lora_run_with_a_reference_resumes_to_the_same_metrics(
    tmp_path: Path, service_url: str
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    changes: dict[str, Any] = {
        "steps": 4,
        "model": {"lora": {"rank": 2}},
        "loss": {"kl": "k3"},
        "checkpoint": {"every": 2},
    }
    for folder in (whole, broken):
        folder.mkdir()
    train(settings(whole, service_url, **changes))
    recipe = settings(broken, service_url, **changes)
    with pytest.raises(Killed):
        train(recipe, watcher=kill_at(3))
    train(recipe, resume=True)
    same = (whole / "run/metrics.jsonl").read_bytes()
    assert (broken / "run/metrics.jsonl").read_bytes() == same
    rollouts = [list(read_lines(each / "run" / NAME)) for each in (whole, broken)]
    assert rollouts[0] == rollouts[1]
    assert {line["step"] for line in rollouts[0]} == {1, 2, 3, 4}


class Reviver(Recorder):
    """Kills the service after step 1; brings it back when the next ranking has found nobody."""

    def __init__(self, first: Podium, bring_back: Callable[[], object]) -> None:
        super().__init__(lambda step: first.kill() if step == 1 else None)
        self.first = first
        self.timer = threading.Timer(1.0, bring_back)

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        if name == "rank" and self.first.exit_code is not None and self.timer.ident is None:
            self.timer.start()


def test_a_run_goes_on_after_the_service_restarts(tmp_path: Path) -> None:
    options = ("--config", str(write_judges(tmp_path)))
    with ExitStack() as stack:
        first = stack.enter_context(running(*options, cwd=tmp_path))
        assert first.url
        again = running(*options, "--port", first.url.rsplit(":", 1)[1], cwd=tmp_path)
        reviver = Reviver(first, lambda: stack.enter_context(again))
        train(settings(tmp_path, first.url), watcher=reviver)
        reviver.timer.join()
    assert first.exit_code is not None
    assert [row["groups_failed"] for row in reviver.rows] == [0, 0, 0, 0]
    assert all(row["groups_trained"] for row in reviver.rows[1:])


def reward_of(messages: list[dict[str, Any]]) -> float:
    """Return anything that differs between completions and stays in [0, 1]."""
    return sum(str(messages[-1]["content"]).encode()) % 11 / 10


def rewards_of(group: dict[str, Any]) -> dict[str, float]:
    return {each["id"]: reward_of(each["messages"]) for each in group["trajectories"]}


def service_that_fails_every_third_group() -> Starlette:
    async def judges(request: Request) -> Response:
        return JSONResponse({"judges": [{"name": "main", "default": True, "answers": True}]})

    counter = itertools.count()

    async def rank_batch(request: Request) -> Response:
        groups = (await request.json())["groups"]
        lines = [
            failed(index, 502, "verdict_invalid", retryable=False)
            if next(counter) % 3 == 1
            else ranked(index, group, rewards_of(group))
            for index, group in enumerate(groups)
        ]
        return Response(b"".join(lines), media_type="application/x-ndjson")

    routes = [Route("/judges", judges), Route("/rank/batch", rank_batch, methods=["POST"])]
    return Starlette(routes=routes)


def step_by_hand(recipe: dict[str, Any], groups: list[RankedGroup]) -> dict[str, torch.Tensor]:
    """Take one AdamW step on `-mean over tokens of ratio x (reward - group mean)`, by samples."""
    model = load_model(recipe["model"]["path"], ModelConfig(path=recipe["model"]["path"]))
    num_tokens = sum(s.num_loss_tokens for g in groups for a in g.attempts for s in a.samples)
    loss = torch.zeros(())
    for group in groups:
        rewards = [reward_of(list(attempt.messages)) for attempt in group.attempts]  # type: ignore[arg-type]
        for attempt, reward in zip(group.attempts, rewards, strict=True):
            [sample] = attempt.samples
            behavior = torch.tensor(sample.behavior_logprobs)[torch.tensor(sample.loss_mask)]
            ratio = (naive_logprobs(model, sample) - behavior).exp()
            loss = loss - (ratio * (reward - sum(rewards) / len(rewards))).sum() / num_tokens
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3 / 5, betas=(0.9, 0.99), weight_decay=0.0
    )
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    optimizer.step()
    # AdamW's first step divides by the gradient: rounding in a tiny gradient counts in full.
    scale = max(float(g.abs().max()) for g in gradients.values())
    return {
        name: torch.where(gradients[name].abs() > 1e-4 * scale, p.detach(), torch.nan)
        for name, p in model.named_parameters()
    }


def test_failed_groups_do_not_change_the_update_of_the_others(
    tmp_path: Path,
) -> None:
    with serve(service_that_fails_every_third_group()) as url:
        recipe = settings(tmp_path, url, steps=1, rollout={"prompts_per_step": 6, "max_refills": 0})
        policies = []
        watcher = train(recipe, before=lambda trainer: policies.append(trainer.policy))
    assert watcher.rows[1]["groups_failed"] == 2
    assert watcher.rows[1]["groups_trained"] == 4
    kept = [group for group in watcher.seen[1] if group.is_ranked]
    trained = dict(policies[0].model.named_parameters())

    by_hand = step_by_hand(recipe, kept)
    compared = 0
    for name, expected in by_hand.items():
        here = ~expected.isnan()
        compared += int(here.sum())
        torch.testing.assert_close(trained[name].detach()[here], expected[here], rtol=0, atol=2e-6)
    assert compared > 500
    with_all = step_by_hand(recipe, watcher.seen[1])  # failed groups as if their rewards were known
    assert any(
        bool(((trained[name] - expected).abs() > 1e-4).any()) for name, expected in with_all.items()
    )


def test_a_run_of_tied_groups_stops_and_says_what_to_do(tmp_path: Path) -> None:
    judges = tmp_path / "judges.yaml"
    judges.write_text(
        "{default_judge: t, judges: {t: {kind: checks, criteria: [{check: max_words, words: 99}]}}}"
    )
    with running("--config", str(judges), cwd=tmp_path) as podium:
        assert podium.url
        recipe = settings(tmp_path, podium.url, steps=9, max_idle_steps=2)
        with pytest.raises(TrainingStopped, match=r"2 steps: the rewards of every group"):
            train(recipe)
    rows = read_rows(tmp_path / "run/metrics.jsonl")
    assert rows[-1]["groups"] == rows[-1]["groups_tied"] == 6  # three, refilled once


def test_a_first_step_that_is_refused_whole_stops_the_run(tmp_path: Path) -> None:
    with running(cwd=tmp_path) as podium:  # the embedded default wants references
        assert podium.url
        recipe = settings(tmp_path, podium.url)
        lines = (tmp_path / "prompts.jsonl").read_text().splitlines()
        bare = [{"prompt": json.loads(line)["prompt"]} for line in lines]
        (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(x) + "\n" for x in bare))
        with pytest.raises(TrainingStopped, match="groups could not be ranked: reference_required"):
            train(recipe)


def test_a_missing_service_is_reported_before_the_model_loads(tmp_path: Path) -> None:
    recipe = settings(tmp_path, "http://127.0.0.1:9")
    (tmp_path / "model/model.safetensors").unlink()
    with pytest.raises(PreflightError, match=r"http://127.0.0.1:9 does not answer .*--service"):
        train(recipe)


def test_an_unknown_judge_is_reported_at_the_start(tmp_path: Path, service_url: str) -> None:
    recipe = settings(tmp_path, service_url)
    recipe["service"]["judge"] = "solomon"
    with pytest.raises(PreflightError, match="'solomon' is not configured: use one of taste"):
        train(recipe)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/nowhere", "there is no such folder; `python -m podium_trainer.run.smollm2 DIR` fetches"),
        (".models/none", "there is no such folder"),
        ("{folder}", "holds no config.json"),
    ],
)
def test_a_missing_model_is_reported_first(
    tmp_path: Path, service_url: str, path: str, words: str
) -> None:
    recipe = settings(tmp_path, service_url)
    recipe["model"]["path"] = path.format(folder=tmp_path)
    with pytest.raises(PolicyError, match=words):
        train(recipe)


class Interrupter(Recorder):
    """Ctrl-C, once, in a phase after so many rows."""

    def __init__(self, name: str, num_rows: int) -> None:
        super().__init__()
        self.due: tuple[str, int] | None = (name, num_rows)

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        if self.due == (name, len(self.rows)):
            self.due = None
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("phase", "num_rows", "saved"),
    [
        ("rank", 3, "step-000002"),
        ("sync", 3, "step-000003"),
        ("checkpoint", 4, "step-000003"),
    ],
)
def test_a_stopped_run_saves_its_last_state(
    tmp_path: Path, service_url: str, phase: str, num_rows: int, saved: str
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder in (whole, stopped):
        folder.mkdir()
    changes: dict[str, Any] = {"steps": 4, "checkpoint": {"every": 3}}
    train(settings(whole, service_url, **changes))
    recipe = settings(stopped, service_url, **changes)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, watcher=Interrupter(phase, num_rows))
    assert [path.name for path in checkpoints(stopped / "run/checkpoints")] == [saved]
    train(recipe, resume=True)
    same = (whole / "run/metrics.jsonl").read_bytes()
    assert (stopped / "run/metrics.jsonl").read_bytes() == same


class SignalsInUpdate(Recorder):
    """Sends a signal to stop in the update of step 2."""

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        if name == "update" and len(self.rows) == 2:
            signal.raise_signal(signal.SIGINT)


def test_a_run_finishes_the_update_in_which_it_is_stopped(
    tmp_path: Path, service_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder in (whole, stopped):
        folder.mkdir()
    train(settings(whole, service_url, steps=3))
    recipe = settings(stopped, service_url, steps=3)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, watcher=SignalsInUpdate())
    assert "stops once the state can be saved" in capfd.readouterr().err
    assert [path.name for path in checkpoints(stopped / "run/checkpoints")] == ["step-000002"]
    train(recipe, resume=True)
    same = (whole / "run/metrics.jsonl").read_bytes()
    assert (stopped / "run/metrics.jsonl").read_bytes() == same


def test_a_run_that_masks_every_truncated_attempt_stops(tmp_path: Path, service_url: str) -> None:
    recipe = settings(tmp_path, service_url, steps=9, max_idle_steps=2)
    recipe["sampler"]["max_tokens"] = 1
    recipe["rollout"]["mask_truncated"] = True
    with pytest.raises(TrainingStopped, match=r"was truncated; raise sampler.max_tok"):
        train(recipe)


@pytest.mark.parametrize(
    ("lora", "rate", "words"),
    [
        (None, 1e-5, "1e-05, for all weights of a model of 0M parameters"),
        ({"rank": 2}, 3e-4, "0.0003, for adapters on a model of 0M parameters"),
    ],
)
def test_a_run_says_its_default_learning_rate(
    tmp_path: Path, service_url: str, lora: Any, rate: float, words: str
) -> None:
    changes: dict[str, Any] = {"model": {"lora": lora}, "steps": 1}
    recipe = settings(tmp_path, service_url, optimizer={"lr": None, "warmup_steps": 1}, **changes)
    rates = []
    watcher = train(recipe, before=lambda t: rates.append(t.optimizer.param_groups[0]["lr"]))
    assert rates == [rate]
    assert f"optimizer.lr {words}" in watcher.notes
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["optimizer"]["lr"] is None


def test_resuming_a_folder_without_a_run_is_refused(tmp_path: Path, service_url: str) -> None:
    with pytest.raises(StartError, match="holds no run: check --out"):
        train(settings(tmp_path, service_url), resume=True)


def test_resuming_with_another_seed_is_refused(tmp_path: Path, service_url: str) -> None:
    train(settings(tmp_path, service_url, steps=1))
    with pytest.raises(StartError, match="seed is 7 and was 0"):
        train(settings(tmp_path, service_url, steps=2, seed=7), resume=True)


class InterrupterAtCheckpoint(Interrupter):
    """Ctrl-C in the step after a checkpoint; remembers which folder that was."""

    def __init__(self, folder: Path) -> None:
        super().__init__("rank", 3)
        self.folder, self.inode = folder, 0

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        if name == "rank" and len(self.rows) == 3:
            [found] = checkpoints(self.folder)
            self.inode = found.stat().st_ino
        super().phase(name, done, total)


def test_a_stop_does_not_write_the_same_checkpoint_twice(tmp_path: Path, service_url: str) -> None:
    recipe = settings(tmp_path, service_url, steps=4, checkpoint={"every": 2, "keep": 1})
    watcher = InterrupterAtCheckpoint(tmp_path / "run/checkpoints")
    with pytest.raises(KeyboardInterrupt):
        train(recipe, watcher=watcher)
    [kept] = checkpoints(tmp_path / "run/checkpoints")
    assert (kept.name, kept.stat().st_ino) == ("step-000002", watcher.inode)


def test_a_row_on_a_full_disk_is_one_line() -> None:
    file = JsonlFile(Path("/dev/full"))
    with pytest.raises(MetricsError, match=r"^/dev/full cannot be written: .* then add --resume$"):
        file.log(1, {"reward_mean": 0.5})
    file.close()
