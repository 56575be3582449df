"""The recipe whose reward is half a judge's and half a check's does what its page says."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from podium_trainer.records.rollouts.file import NAME, read_lines
from podium_trainer.run.checks.preflight import PreflightError
from podium_trainer.tasks.scorers import score_contains
from podium_trainer.tasks.task import Prompt
from tests.docs.blocks import ROOT, blocks
from tests.service.process import running
from tests.trainer.runs import settings, train

WORDS = "abcdefghijkl"


@pytest.fixture
def recipe(tmp_path: Path, judge_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Write the files of the page, for a tiny model that says letters; return its recipe."""
    page = blocks(ROOT / "docs/training.md")
    judges, recipe = (
        each.text
        for each in page
        if each.section.startswith("A judge and a check") and each.language == "yaml"
    )
    judges = judges.replace("https://api.openai.com/v1", judge_url)
    (tmp_path / "judges.yaml").write_text(judges, encoding="utf-8")
    lines = [json.dumps({"prompt": f"with {word}", "reference": word}) for word in WORDS]
    (tmp_path / "sentences.jsonl").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    small = settings(tmp_path, "unused")
    made: dict[str, Any] = yaml.safe_load(recipe)
    return made | {
        "model": small["model"] | {"lora": {"rank": 2}},
        "steps": 2,
        "sampler": {"max_tokens": 6},
        "rollout": {"prompts_per_step": 2, "group_size": 6, "max_refills": 0},
        "eval": {"every": 2, "samples": 2, "win_rate": {"prompts": 2}},
    }


@pytest.mark.demo
def test_the_mixed_recipe_trains_on_a_judge_and_a_check(
    tmp_path: Path, recipe: dict[str, Any]
) -> None:
    key = {"OPENAI_API_KEY": "sk-test"}
    with running("--config", "judges.yaml", cwd=tmp_path, **key) as podium:
        recipe["service"]["url"] = podium.url
        seen = train(recipe)
        plain = {**recipe, "out": "other", "task": {**recipe["task"], "reward": None}}
        with pytest.raises(PreflightError, match=r"^judge 'mixed' mixes in .*: set task\.reward"):
            train(plain)
    groups = [each for each in read_lines(Path(recipe["out"]) / NAME) if each["kind"] == "train"]
    ranked = [each for each in groups if each["ranking_id"]]
    assert len(ranked) == len(groups) == 4
    values = set()
    for group in ranked:
        for attempt in group["attempts"]:
            values.add(attempt["verified"])
            prompt = Prompt("", group["prompt"], reference=group["reference"])
            assert attempt["verified"] == score_contains(prompt, attempt["messages"])
            share = attempt["reward"] - 0.5 * attempt["verified"]
            assert -1e-9 <= share <= 0.5 + 1e-9, "half of the reward is the judge's"
    assert values <= {0.0, 1.0}
    means = [row["verified_mean"] for row in seen.rows]
    assert means[0] is None
    assert all(0 <= mean <= 1 for mean in means[1:] if isinstance(mean, float))
    assert seen.rows[2]["win_rate"] is not None
    assert seen.rows[2]["win_rate_failed"] == 0
