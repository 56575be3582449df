"""The benchmark of steps whose parts overlap: its bounds, its plot, and a quick run."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.pipeline.learning import ARMS, OlderWeights
from benchmarks.pipeline.parts import PROMPTS, Parts, kinds, pareto_quantiles, uneven
from benchmarks.pipeline.plot import draw
from benchmarks.pipeline.real_model import WAYS, run
from benchmarks.processes import judge_server, service
from podium_trainer.samplers.local import LocalSampler
from tests.trainer.fake_vllm import FakeVllm, by_prompt
from tests.trainer.tiny import save_model, tiny_policy


def test_a_step_takes_the_longest_part_or_its_share_of_the_sum() -> None:
    equal = Parts([1.0] * PROMPTS, judge_s=1.0, update_s=1.0)
    assert [equal.bound_s(ahead) for ahead in (0, 1, 2, 4)] == [3.0, 1.5, 1.0, 1.0]
    straggler = Parts([0.5] * (PROMPTS - 1) + [2.5], judge_s=0.5, update_s=0.5)
    assert straggler.rollout_s == 2.5
    assert [straggler.bound_s(ahead) for ahead in (0, 1, 4)] == [3.5, 1.75, 1.0]
    steps = Parts([1.0] * PROMPTS + [3.0] * PROMPTS, judge_s=0.0, update_s=0.0)
    assert steps.rollout_s == 2.0


def test_every_kind_of_step_has_whole_steps() -> None:
    for parts in [*kinds(0.1).values(), uneven(0.1)]:
        assert len(parts.groups_s) % PROMPTS == 0
    assert sum(pareto_quantiles(0.5, 1.2)) == pytest.approx(0.5 * PROMPTS)


def test_the_sampler_has_the_weights_of_k_updates_before() -> None:
    policy, behind = tiny_policy(), tiny_policy()
    sampler = LocalSampler(behind, temperature=1.0)
    sync = OlderWeights(policy, sampler, behind=2)
    first = [next(iter(policy.model.parameters())), next(iter(behind.model.parameters()))]
    start = float(first[0].detach().flatten()[0])
    for version in range(1, 6):
        first[0].data += 1.0
        sync.push(version)
        assert sampler.policy_version == max(0, version - 2)
        drawn_with = float(first[1].detach().flatten()[0])
        assert drawn_with == pytest.approx(start + max(0, version - 2))


def test_the_runs_of_all_arms_are_drawn(tmp_path: Path) -> None:
    looks = [{"step": step, "score": 0.1 * step} for step in (0, 4)]
    runs: list[dict[str, Any]] = [{"arm": arm.name, "seed": 0, "looks": looks} for arm in ARMS]
    draw(runs, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.benchmark
def test_a_model_is_measured_in_every_way(tmp_path: Path) -> None:
    save_model(tmp_path / "model")
    fake = FakeVllm()
    fake.draw = by_prompt
    with fake.serving(), judge_server(0.0) as judge, service(judge.url) as podium:
        for name, way in WAYS.items():
            found = run(name, 2, tmp_path / "model", fake.url, podium.url, parity_bound=1e3)
            assert (found.way, found.staleness) == (name, way.max_staleness)
            assert len(found.steps_s) == 2
            assert min(found.parts_s[part] for part in ("update", "sync")) > 0


@pytest.mark.benchmark
def test_a_quick_run_overlaps_the_parts(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.json"
    command = [sys.executable, "-m", "benchmarks.pipeline", "--quick", "--json", str(file)]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300)
    found = json.loads(file.read_bytes())
    alone, ahead = found["cells"]
    assert (alone["max_staleness"], alone["staleness"]) == (0, 0)
    assert ahead["staleness"] <= ahead["max_staleness"] == 2
    assert ahead["step_s"] < alone["step_s"]
    as_played, once_all_are_played = found["ranking"]
    assert as_played["step_s"] < once_all_are_played["step_s"]
