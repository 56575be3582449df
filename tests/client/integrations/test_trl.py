"""What `PodiumReward` sends and returns, by a service that answers over TCP, without TRL."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

from podium.integrations.outcome import ANCHOR_ID
from podium.integrations.trl import FIRST_COMPLETION, PodiumReward
from tests.fake_service import Wire, failed, ranked, serve


class Service:
    """Reward each attempt by its length, in tenths; fail groups that hold the text "fail"."""

    def __init__(self) -> None:
        self.groups: list[Wire] = []
        self.url = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        groups = json.loads(body)["groups"]
        self.groups += groups
        lines = [self.line(index, group) for index, group in enumerate(groups)]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"".join(lines)})

    def line(self, index: int, group: Wire) -> bytes:
        texts = {each["id"]: each["messages"][-1]["content"] for each in group["trajectories"]}
        if "fail" in texts.values():
            return failed(index, 502, "verdict_invalid", retryable=False)
        return ranked(index, group, {id: len(text) / 10 for id, text in texts.items()})


@pytest.fixture
def service() -> Iterator[Service]:
    app = Service()
    with serve(app) as url:
        app.url = url
        yield app


class Trainer:
    """The part of a `GRPOTrainer` that a reward function sees."""

    def __init__(self, *, training: bool = True, run_name: str | None = None) -> None:
        self.num_generations = 2
        self.num_generations_eval = 3
        self.model = SimpleNamespace(training=training)
        self.args = SimpleNamespace(run_name=run_name, scale_rewards="none")
        self.metrics: dict[str, float] = {}
        self.extra: dict[str, list[Any]] = {}

    def log_metric(self, name: str, value: float) -> None:
        self.metrics[name] = value

    def log_extra(self, name: str, values: list[Any]) -> None:
        self.extra[name] = values

    def ask(self, reward: PodiumReward, completions: list[str], **data: Any) -> list[float | None]:
        prompts = data.pop("prompts", ["2 + 2 ="] * len(completions))
        return reward(
            prompts,
            completions,
            completion_ids=[[1]] * len(completions),
            trainer_state=SimpleNamespace(global_step=7),
            log_extra=self.log_extra,
            log_metric=self.log_metric,
            **data,
        )


def test_groups_have_the_size_that_the_trainer_tells(service: Service) -> None:
    reward = PodiumReward(service.url, num_generations=5)
    six = ["a", "aa", "aaa", "aaaa", "fail", "a"]
    assert Trainer().ask(reward, six) == [0.1, 0.2, 0.3, 0.4, None, None]
    assert Trainer(training=False).ask(reward, six) == [0.1, 0.2, 0.3, None, None, None]
    assert [len(group["trajectories"]) for group in service.groups] == [2, 2, 2, 3, 3]


def test_without_a_trainer_the_size_is_given_or_the_prompt_tells(service: Service) -> None:
    prompts, completions = ["p", "p", "p", "q"], ["a", "fail", "aaa", "aaaa"]
    assert PodiumReward(service.url)(prompts, completions) == [None, None, None, 0.4]
    by_two = PodiumReward(service.url, num_generations=2)
    assert by_two(prompts, completions) == [None, None, 0.3, 0.4]
    with pytest.raises(ValueError, match="3 completions are no whole groups of 2"):
        by_two(prompts[:3], completions[:3])


def test_the_anchor_is_sent_and_its_reward_is_not_returned(service: Service) -> None:
    trainer = Trainer()
    reward = PodiumReward(service.url, anchor="best", reference="best", task="why")
    got = trainer.ask(reward, ["a", "aa"], best=[12, 12], why=["add", "add"])
    assert got == [0.1, 0.2]
    [group] = service.groups
    assert (group["reference"], group["task"]) == ("12", "add")
    assert [each["id"] for each in group["trajectories"]] == ["0", "1", ANCHOR_ID]
    assert group["trajectories"][2]["messages"] == [
        {"role": "user", "content": "2 + 2 ="},
        {"role": "assistant", "content": "12"},
    ]
    assert trainer.metrics["podium/win_rate"] == 0.5  # all have the same rank here
    assert trainer.extra["podium/rank"] == [1.0, 1.0]


def test_the_first_completion_of_a_prompt_is_the_anchor(service: Service) -> None:
    reward = PodiumReward(service.url, anchor=FIRST_COMPLETION)
    for completions in (["a", "aa"], ["aaa", "aaaa"]):
        Trainer().ask(reward, completions)
    anchors = [group["trajectories"][-1]["messages"][-1]["content"] for group in service.groups]
    assert anchors == ["a", "a"]


def test_a_group_without_an_anchor_or_reference_is_sent_without(service: Service) -> None:
    reward = PodiumReward(service.url, anchor="best", reference="best")
    assert Trainer().ask(reward, ["a", "aa"], best=[None, None]) == [0.1, 0.2]
    [group] = service.groups
    assert len(group["trajectories"]) == 2
    assert "reference" not in group


@pytest.mark.parametrize("what", ["reference", "task", "anchor"])
def test_a_column_that_is_not_there_is_named(service: Service, what: str) -> None:
    reward = PodiumReward(service.url, **{what: "anwser"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=rf"{what} from column 'anwser'.*: answer, why$"):
        Trainer().ask(reward, ["a", "b"], answer=["4", "4"], why=["x", "x"])
    assert not service.groups


def test_ids_and_metadata_tell_the_run_and_the_step(service: Service) -> None:
    reward = PodiumReward(service.url, judge="main", rubric="Be brief.")
    for trainer in (Trainer(run_name="demo"), Trainer(), Trainer(run_name="demo", training=False)):
        for _ in range(2):  # batches of one step
            trainer.ask(reward, ["a"] * 6)
    ids = [group["group_id"] for group in service.groups]
    expected = [f"{run}/step-7/prompt-{n}" for run in ("demo", "trl") for n in range(6)]
    assert ids == expected + [f"demo/eval-7/prompt-{n}" for n in range(4)]
    assert service.groups[0]["metadata"] | {"version": ""} == {
        "run": "demo", "step": 7, "trainer": "trl", "version": ""
    }  # fmt: skip
    assert {(group["judge"], group["rubric"]) for group in service.groups} == {
        ("main", "Be brief.")
    }


def test_the_page_of_the_run_is_told_at_its_first_batch(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    reward, trainer = PodiumReward(service.url), Trainer(run_name="my run/2")
    for _ in range(2):
        trainer.ask(reward, ["a", "aa"])
    assert capsys.readouterr().err.splitlines() == [
        f"podium: the groups of this run: {service.url}/ui/runs/my%20run%2F2"
    ]


def test_a_number_in_a_column_is_sent_as_text(service: Service) -> None:
    Trainer().ask(PodiumReward(service.url, reference="answer"), ["a", "b"], answer=[4, 4])
    assert service.groups[0]["reference"] == "4"
