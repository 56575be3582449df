"""TRL's GRPOTrainer trains a tiny model with rewards of a real service."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback
from trl import GRPOConfig

from podium import NothingRanked, RequestRefused
from podium.integrations.trl import FIRST_COMPLETION, PodiumReward, warn_if_spread_divides
from tests.fakes import at_random, fails, says, scores
from tests.integrations.servers import StartJudge, StartPodium
from tests.integrations.trl.tiny import logged, trainer

SUMS = [{"prompt": f"{a} + 1 =", "answer": str(a + 1)} for a in range(8)]
CHATS = [{"prompt": [{"role": "user", "content": row["prompt"]}]} for row in SUMS]
BROKEN = [says("no verdict at all"), fails(500), fails(400, "filtered", code="content_filter")]


def by_length(text: str) -> float:
    return min(1.0, len(text) / 400)


def sum_or_guess(position: int, prompt: str) -> str:
    """Complete every second prompt with its sum, the others with 0."""
    return str(int(prompt.split()[0]) + 1) if position % 2 else "0"


def weights(run: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.model.named_parameters()}


def have_changed(run: Any, before: dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(value, before[name]) for name, value in weights(run).items())


def test_three_steps_on_texts_with_the_checks_judge(tmp_path: Path, checks_url: str) -> None:
    reward = PodiumReward(checks_url, reference="answer", anchor="answer")
    run = trainer(tmp_path, reward, SUMS, completions=sum_or_guess)
    before = weights(run)
    run.train()
    assert have_changed(run, before)
    assert logged(run, "podium/groups_ranked") == [2, 2, 2]
    assert logged(run, "podium/groups_failed") == [0, 0, 0]
    assert logged(run, "podium/score") == [0.5, 0.5, 0.5]
    assert logged(run, "podium/win_rate") == [0.25, 0.25, 0.25]  # half tie, half lose
    assert len(logged(run, "rewards/podium/mean")) == 3
    shown = run._logs["extra"]
    assert set(shown["podium/score"]) == {0.0, 1.0}
    assert all(each.startswith("rk_") for each in shown["podium/ranking"])


def test_a_judge_that_fails_at_30_percent_costs_whole_groups(
    tmp_path: Path, start_podium: StartPodium, start_judge: StartJudge
) -> None:
    good = scores(by_length)
    judge = start_judge(at_random([good] * 7 + BROKEN, seed=3))
    podium = start_podium(main=judge.settings())
    run = trainer(
        tmp_path, PodiumReward(podium.url, judge="main", max_dry=None), CHATS, max_steps=6
    )
    run.train()
    ranked, failed = (logged(run, f"podium/groups_{word}") for word in ("ranked", "failed"))
    assert [a + b for a, b in zip(ranked, failed, strict=True)] == [2] * 6
    assert 0 < sum(failed) < 12
    assert "<finish_reason>" in judge.judge.asked[0].text  # a random model finds no end
    errors = list(run._logs["extra"]["podium/error"])
    advantages = list(run._logs["advantages"])
    assert len(errors) == len(advantages) == 8  # the last batch
    for start in (0, 4):
        assert len(set(errors[start : start + 4])) == 1
        if errors[start]:
            assert advantages[start : start + 4] == [0.0] * 4


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first number.
        b: The second number.
    """
    return a + b


def test_tool_messages_as_trl_writes_them_are_ranked(
    tmp_path: Path, start_podium: StartPodium, start_judge: StartJudge
) -> None:
    def call(position: int, prompt: str) -> str:
        arguments = json.dumps({"a": position, "b": 100})
        return f'<tool_call>\n{{"name": "add", "arguments": {arguments}}}\n</tool_call>'

    judge = start_judge(scores(by_length))
    podium = start_podium(main=judge.settings())
    run = trainer(
        tmp_path,
        PodiumReward(podium.url),
        CHATS,
        completions=call,
        tools=[add],
        max_steps=1,
        max_completion_length=400,
    )
    run.train()
    assert logged(run, "podium/groups_ranked") == [2]
    shown = "".join(asked.text for asked in judge.judge.asked)
    assert all(str(100 + position) in shown for position in range(8))  # the results of the tool
    assert "Add two numbers." in shown  # the definition of the tool
    tool = next(m for m in run._logs["completion"][0] if m["role"] == "tool")
    assert tool == {"role": "tool", "name": "add", "content": "100"}


def test_evaluation_has_its_own_group_size_and_an_anchor(
    tmp_path: Path, start_podium: StartPodium, start_judge: StartJudge
) -> None:
    judge = start_judge(scores(by_length))
    podium = start_podium(main=judge.settings())
    longer = {"now": 0}

    def write(position: int, prompt: str) -> str:
        return "a" * (10 * position + longer["now"])

    run = trainer(
        tmp_path,
        PodiumReward(podium.url, anchor=FIRST_COMPLETION),
        CHATS,
        completions=write,
        eval_rows=CHATS[:4],
        num_generations_eval=2,
        per_device_eval_batch_size=8,
        max_steps=1,
    )
    first = run.evaluate()
    assert first["eval_podium/groups_ranked"] == 4
    assert first["eval_podium/win_rate"] == 0.75  # in each of 4 groups of 2, one ties with itself
    longer["now"] = 100
    assert run.evaluate()["eval_podium/win_rate"] == 1.0
    run.train()
    assert logged(run, "podium/groups_ranked") == [2]


def test_an_unknown_judge_stops_the_run_at_the_first_batch(tmp_path: Path, checks_url: str) -> None:
    run = trainer(tmp_path, PodiumReward(checks_url, judge="mian", reference="answer"), SUMS)
    before = weights(run)
    with pytest.raises(RequestRefused, match="mian"):
        run.train()
    assert not have_changed(run, before)


def test_a_reference_that_every_group_lacks_stops_the_run(tmp_path: Path, checks_url: str) -> None:
    run = trainer(tmp_path, PodiumReward(checks_url), SUMS)
    with pytest.raises(RequestRefused, match="reference"):
        run.train()


class KilledAfterTheFirstStep(TrainerCallback):
    """Kill the service after step 1, and start it again after so many steps."""

    def __init__(self, podium: Any, back_after: int | None) -> None:
        self.podium = podium
        self.back_after = back_after

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1:
            self.podium.kill()
        if state.global_step == self.back_after:
            self.podium.start()


def test_a_service_that_is_restarted_costs_its_batches(
    tmp_path: Path, start_podium: StartPodium
) -> None:
    podium = start_podium()
    reward = PodiumReward(podium.url, reference="answer", deadline_s=3)
    kill = KilledAfterTheFirstStep(podium, back_after=2)
    run = trainer(tmp_path, reward, SUMS, completions=sum_or_guess, callbacks=[kill])
    run.train()
    assert logged(run, "podium/groups_ranked") == [2, 0, 2]
    assert logged(run, "podium/groups_failed") == [0, 2, 0]


def test_an_outage_stops_the_run_after_max_dry_batches(
    tmp_path: Path, start_podium: StartPodium, caplog: pytest.LogCaptureFixture
) -> None:
    podium = start_podium()
    reward = PodiumReward(podium.url, reference="answer", deadline_s=1, max_dry=2)
    kill = KilledAfterTheFirstStep(podium, back_after=None)
    run = trainer(
        tmp_path,
        reward,
        SUMS,
        completions=sum_or_guess,
        callbacks=[kill],
        max_steps=9,
        scale_rewards="group",
    )
    with pytest.raises(NothingRanked, match="2 batches"):
        run.train()
    assert run.state.global_step == 2
    assert caplog.text.count("set GRPOConfig(") == 1  # in three batches


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, 'scale_rewards="none"'),
        ({"scale_rewards": True}, 'scale_rewards="none"'),
        (
            {"scale_rewards": False, "multi_objective_aggregation": "normalize_then_sum"},
            'multi_objective_aggregation="sum_then_normalize", scale_rewards="none"',
        ),
        ({"scale_rewards": "batch"}, None),
        ({"scale_rewards": False}, None),
    ],
)
def test_a_trainer_that_divides_by_the_spread_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, settings: dict[str, Any], line: str | None
) -> None:
    warn_if_spread_divides(GRPOConfig(str(tmp_path), use_cpu=True, bf16=False, **settings))
    said = [each.getMessage() for each in caplog.records if each.name == "podium"]
    assert [text.endswith(f"; set GRPOConfig({line})") for text in said] == [True] * bool(line)
