"""Batches as data sets and policies really make them, and mistakes of a user; no training."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from podium import RequestRefused, ServiceAbsent
from podium.integrations.trl import FIRST_COMPLETION, PodiumReward
from tests.fakes import by_length, scores
from tests.integrations.servers import JudgeServer, StartJudge, StartPodium

PROMPTS = ["2 + 2 ="] * 4
COMPLETIONS = ["4", "5", "4", "22"]
ANSWERS: Any = {"answer": ["4"] * 4}
CHAT = [{"role": "user", "content": "2 + 2 ="}]


class Trainer:
    """A part of TRL's trainer, which a reward function sees: the owner of its `log_metric`."""

    def __init__(self, size: int = 4, *, training: bool = True, tools: Any = None) -> None:
        self.model = SimpleNamespace(training=training)
        self.num_generations, self.num_generations_eval = size, 2
        self.args = SimpleNamespace(run_name="r" * 400, scale_rewards="none")
        self.tools = tools
        self.eos_token_ids = [2]
        self.logged: dict[str, float] = {}

    def log(self, name: str, value: float) -> None:
        self.logged[name] = value


@pytest.mark.parametrize(
    ("completions", "rewards"),
    [
        (COMPLETIONS, [1, 0.25, 1, 0.25]),
        (["4"] * 4, [0.5] * 4),
        (["", "", "4", ""], [0, 0, 1, 0]),
        (["\0", "4", "\u202e", "☃" * 9], [1 / 3, 1, 1 / 3, 1 / 3]),
        (["4", "x" * 3_000_000, "y" * 3_000_000, "5"], [1, 1 / 3, 1 / 3, 1 / 3]),
    ],
)
def test_any_text_is_ranked(checks_url: str, completions: list[str], rewards: list[float]) -> None:
    found = PodiumReward(checks_url, reference="answer")(PROMPTS, completions, **ANSWERS)
    assert found == pytest.approx(rewards)


@pytest.mark.parametrize("said", [[], [{"role": "assistant", "content": None}], [{}]])
def test_a_completion_without_words_loses(checks_url: str, said: list[dict[str, Any]]) -> None:
    good = [{"role": "assistant", "content": "4"}]
    reward = PodiumReward(checks_url, reference="answer")
    assert reward([CHAT] * 2, [said, good], answer=["4"] * 2) == [0, 1]


def test_a_batch_of_nothing_has_no_rewards(checks_url: str) -> None:
    assert PodiumReward(checks_url)([], []) == []


def test_a_group_of_one_is_neither_good_nor_bad(checks_url: str) -> None:
    reward = PodiumReward(checks_url, reference="answer", num_generations=1)
    assert reward(PROMPTS, COMPLETIONS, **ANSWERS) == [0.5] * 4
    anchored = PodiumReward(checks_url, reference="answer", anchor="answer", num_generations=1)
    assert anchored(PROMPTS, COMPLETIONS, **ANSWERS) == [0.5, 0, 0.5, 0]


def test_a_groups_first_completion_stays_its_opponent(checks_url: str) -> None:
    reward = PodiumReward(checks_url, reference="answer", anchor=FIRST_COMPLETION)
    trainer = Trainer()
    reward(PROMPTS, COMPLETIONS, log_metric=trainer.log, **ANSWERS)
    assert trainer.logged["podium/win_rate"] == 0.25  # two tie with the 4, two lose
    reward(PROMPTS, ["5"] * 4, log_metric=trainer.log, **ANSWERS)
    assert trainer.logged["podium/win_rate"] == 0


@pytest.mark.parametrize(
    ("settings", "columns", "error", "named"),
    [
        ({"num_generations": 3}, ANSWERS, ValueError, "no whole groups of 3"),
        ({"reference": "gold"}, ANSWERS, ValueError, "'gold'"),
        ({"anchor": "gold"}, ANSWERS, ValueError, "beside the prompt: answer"),
        ({"judge": "mian"}, ANSWERS, RequestRefused, "mian"),
        ({"judge": ""}, ANSWERS, RequestRefused, "judge"),
        ({}, {"answer": [None] * 4}, RequestRefused, "reference"),
    ],
)
def test_a_mistake_is_named_at_the_first_batch(
    checks_url: str,
    settings: dict[str, Any],
    columns: Any,
    error: type[Exception],
    named: str,
) -> None:
    reward = PodiumReward(checks_url, **{"reference": "answer", **settings})
    with pytest.raises(error, match=named):
        reward(PROMPTS, COMPLETIONS, **columns)


@pytest.mark.parametrize(
    "settings",
    [{"base_url": "127.0.0.1:8000"}, {"max_dry": 0}, {"deadline_s": 0}],
)
def test_a_setting_that_cannot_be_is_refused_at_once(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        PodiumReward(**settings)


def test_a_service_that_is_not_there_is_told_within_seconds() -> None:
    reward = PodiumReward("http://127.0.0.1:9", reference="answer", deadline_s=60)
    with pytest.raises(ServiceAbsent, match="podium serve"):
        reward(PROMPTS, COMPLETIONS, **ANSWERS)


def test_a_group_is_no_larger_than_64_with_its_anchor(checks_url: str) -> None:
    prompts, completions = ["p"] * 64, [str(number) for number in range(64)]
    columns: Any = {"answer": ["4"] * 64}
    found = PodiumReward(checks_url, reference="answer")(prompts, completions, **columns)
    assert max(found, key=lambda each: each or 0) == 1
    with pytest.raises(RequestRefused, match="at most 64"):
        PodiumReward(checks_url, reference="answer", anchor="answer")(
            prompts, completions, **columns
        )


def test_training_and_evaluation_have_sizes_of_their_own(checks_url: str) -> None:
    for training, groups in ((True, 1), (False, 2)):
        trainer = Trainer(training=training)
        state = SimpleNamespace(global_step=3)
        reward = PodiumReward(checks_url, reference="answer")  # the run's name has 400 characters
        reward(PROMPTS, COMPLETIONS, log_metric=trainer.log, trainer_state=state, **ANSWERS)
        assert trainer.logged["podium/groups_ranked"] == groups


@pytest.fixture
def judge(start_judge: StartJudge) -> JudgeServer:
    return start_judge(scores(by_length))


def test_what_the_judge_is_shown(judge: JudgeServer, start_podium: StartPodium) -> None:
    """Tools as definitions, cut completions, and a column that holds lists."""
    url = start_podium(main=judge.settings()).url
    tool = {"type": "function", "function": {"name": "look_up", "description": "Look it up."}}
    ids = [[5, 2], [5, 6], [5, 2], [5, 6]]
    PodiumReward(url, reference="answer")(
        PROMPTS,
        COMPLETIONS,
        completion_ids=ids,
        log_metric=Trainer(tools=[tool]).log,
        answer=[["4", "vier ♥"]] * 4,
    )
    [asked] = judge.judge.asked
    assert "Look it up." in asked.text
    assert json.dumps(["4", "vier ♥"], ensure_ascii=False) in asked.text
    assert asked.text.count("cut off") == 2
