from pathlib import Path
from typing import Any

from benchmarks.trl_learning.job import Job, addition
from benchmarks.trl_learning.plot import draw, held_out


def run(trainer: str, seed: int, *scores: float) -> dict[str, Any]:
    looks = [{"step": 6 * n, "scores": [score, 1.0]} for n, score in enumerate(scores)]
    return {"trainer": trainer, "seed": seed, "looks": looks}


def test_both_trainers_are_told_the_same_rollouts(tmp_path: Path) -> None:
    recipe = addition(
        "model", "http://127.0.0.1:1", tmp_path, seed=1, steps=20, prompts_per_step=8, group_size=8
    )
    job = Job.model_validate_json(
        Job(recipe=recipe, eval_every=6, eval_samples=4).model_dump_json()
    )
    assert job.recipe == recipe
    assert recipe.rollout.max_refills == 0  # TRL replaces no group
    assert [step for step in range(1, 21) if job.is_look_due(step)] == [6, 12, 18, 20]


def test_a_trainer_with_fewer_seeds_is_drawn(tmp_path: Path) -> None:
    runs = [run("podium-train", 0, 0, 0.5), run("podium-train", 1, 0, 1), run("TRL", 0, 0, 0.5)]
    assert held_out(runs[0]) == [0.5, 0.75]
    draw(runs, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
