"""Groups of attempts on the wire, and rewards on the samples that are trained on."""

import json
from dataclasses import replace
from functools import partial

import pytest

from podium.answers import GroupReward
from podium.errors import JudgeFailed
from podium_trainer.policy.samples import Attempt, Completion, FinishReason, Sample
from podium_trainer.tasks.task import Prompt
from podium_trainer.update.groups import RankedGroup, to_samples, to_wire
from podium_trainer.update.mini_batch import GroupSamples
from tests.trainer.tiny import sample

PROMPT = Prompt("p7", [{"role": "user", "content": "2 + 2 ="}], task="Add.", reference="4")


def attempt(*samples: Sample, finish_reason: FinishReason = "stop", text: str = "4") -> Attempt:
    messages = [*PROMPT.messages, {"role": "assistant", "content": text}]
    return Attempt(messages, list(samples), finish_reason, 1)


def flat(groups: list[GroupSamples]) -> list[Sample]:
    return [sample for attempts in groups for samples in attempts for sample in samples]


def ranked(rewards: list[float], *attempts: Attempt) -> RankedGroup:
    return RankedGroup(PROMPT, list(attempts), GroupReward(rewards, True))


def test_every_sampled_token_gets_its_trajectorys_advantage() -> None:
    group = ranked(
        [1.0, 0.5, 0.0],
        attempt(sample([3, 4, 5, 6], [1, 3])),
        attempt(sample([3, 7])),
        attempt(sample([3, 8])),
    )
    samples = flat(to_samples([group], "mean", mask_truncated=False))
    assert [s.advantages for s in samples] == [[0, 0.5, 0, 0.5], [0, 0], [0, -0.5]]
    assert [s.token_ids for s in samples] == [[3, 4, 5, 6], [3, 7], [3, 8]]
    assert samples[0].behavior_logprobs == [0, -1, 0, -1]


def test_all_samples_of_a_rewritten_attempt_share_its_advantage() -> None:
    group = ranked([1.0, 0.0], attempt(sample([3, 4]), sample([3, 5])), attempt(sample([3, 6])))
    [attempts] = to_samples([group], "mean", mask_truncated=False)
    assert [[s.advantages[1] for s in samples] for samples in attempts] == [[0.5, 0.5], [-0.5]]


def test_truncated_attempts_can_count_for_the_baseline_alone() -> None:
    group = ranked(
        [1.0, 0.0, 0.5], attempt(sample([3, 4])),
        attempt(sample([3, 5]), finish_reason="length"), attempt(sample([3, 6])),
    )  # fmt: skip
    samples = flat(to_samples([group], "mean", mask_truncated=True))
    assert [(s.token_ids[1], s.advantages[1]) for s in samples] == [(4, 0.5), (6, 0.0)]
    assert len(flat(to_samples([group], "mean", mask_truncated=False))) == 3


def test_samples_without_a_sampled_token_are_left_out() -> None:
    group = ranked([1.0, 0.0], attempt(sample([3, 4]), sample([3, 4, 5], [])), attempt(sample([6])))
    assert len(flat(to_samples([group], "mean", mask_truncated=False))) == 1


def test_attempts_without_a_positive_advantage_can_be_left_out() -> None:
    pair = (attempt(sample([3, 4])), attempt(sample([3, 5]), sample([3, 6])))
    groups = [ranked([1.0, 0.0], *pair), ranked([0.0, 1.0], *pair), ranked([0.5, 0.5], *pair)]
    settings = {"mask_truncated": False, "needs_positive": True}
    best = to_samples(groups, "best", **settings)
    assert [len(flat([each])) for each in best] == [1, 2, 3]  # the last group's two best tie
    assert [len(flat([each])) for each in to_samples(groups, "mean", **settings)] == [1, 2]


def test_schemes_that_look_at_the_whole_batch_see_all_groups() -> None:
    pair = (attempt(sample([3, 4])), attempt(sample([3, 5])))
    groups = [ranked([1.0, 0.0], *pair), ranked([0.5, 0.5], *pair)]
    samples = flat(to_samples(groups, "batch_std", mask_truncated=False))
    # The squares .25 .25 0 0 have the std sqrt(.125).
    assert [s.advantages[1] for s in samples] == pytest.approx([2**0.5, -(2**0.5), 0, 0])


def test_an_unranked_group_has_no_rewards_and_no_signal() -> None:
    failed = GroupReward.from_error(JudgeFailed("judge_failed", 502, True, None, "no"))
    group = RankedGroup(PROMPT, [attempt(sample([3, 4]))], failed)
    assert not group.is_ranked
    assert not group.has_signal
    with pytest.raises(AssertionError):
        _ = group.rewards
    assert ranked([0.5, 0.5]).has_signal is False
    assert ranked([0.5, 0.6]).has_signal is True


def test_the_wire_carries_messages_and_no_tokens() -> None:
    attempts = [attempt(sample([3, 4]), text="4"), attempt(sample([3, 5]), finish_reason="length")]
    tools = [{"type": "function", "function": {"name": "f"}}]
    group = to_wire(
        PROMPT,
        attempts,
        step=12,
        judge="main",
        rubric="Be right.",
        tools=tools,
        run="demo",
        steps=40,
    )
    assert json.loads(group.to_json()) == {
        "group_id": "step-12/p7",
        "judge": "main",
        "task": "Add.",
        "reference": "4",
        "rubric": "Be right.",
        "tools": tools,
        "metadata": {"run": "demo", "step": 12, "steps": 40, "prompt_id": "p7"},
        "trajectories": [
            {"id": "0", "messages": attempts[0].messages, "finish_reason": "stop"},
            {"id": "1", "messages": attempts[1].messages, "finish_reason": "length"},
        ],
    }
    bare = to_wire(
        PROMPT, attempts, step=1, judge=None, rubric=None, tools=[], run="demo", steps=40
    )
    assert set(json.loads(bare.to_json())) == {
        "group_id", "task", "reference", "metadata", "trajectories",
    }  # fmt: skip


def test_the_id_of_a_group_is_no_longer_than_the_service_takes() -> None:
    group = to_wire(
        replace(PROMPT, id="x" * 300), [attempt(sample([3, 4]))] * 2,
        step=1, judge=None, rubric=None, tools=[], run="demo", steps=40,
    )  # fmt: skip
    assert json.loads(group.to_json())["group_id"] == "step-1/" + "x" * 249


@pytest.mark.parametrize("logprobs", [[], [-1.0], [-1.0, -2.0, -3.0]])
def test_a_completion_whose_lists_differ_in_length_is_refused(logprobs: list[float]) -> None:
    with pytest.raises(ValueError, match="must be equally long"):
        Completion([4, 5], logprobs, "stop", [0, 0])
    with pytest.raises(ValueError, match="must be equally long"):
        Completion([], [], "stop", [])


def test_verified_rewards_go_with_their_attempts() -> None:
    wire = partial(
        to_wire, PROMPT, [attempt(text=text) for text in "ab"],
        step=1, judge=None, rubric=None, tools=(), run="r", steps=2,
    )  # fmt: skip
    sent = wire([0.25, None]).to_wire()["trajectories"]
    assert [each.get("verified_reward") for each in sent] == [0.25, None]
    assert "verified_reward" not in str(wire().to_wire())
