"""`podium_score_group` with the groups and the gathering of ART."""

import asyncio
import logging
import multiprocessing
from pathlib import Path
from typing import Any

import art
import pytest
from art.trajectories import History
from openai.types.chat.chat_completion import Choice

from podium import AsyncRankClient, RequestRefused
from podium.integrations.art import FIRST_COMPLETION, judge_name, podium_score_group
from tests.fakes import by_length, fails, scores
from tests.integrations.pages import run_script
from tests.integrations.servers import StartJudge, StartPodium

PROMPT = {"role": "user", "content": "2 + 2 ="}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]

pytestmark = pytest.mark.anyio


def choice(content: str | None, **message: Any) -> Choice:
    turn = {"role": "assistant", "content": content, **message}
    return Choice.model_validate({"index": 0, "finish_reason": "stop", "message": turn})


def trajectory(answer: str, **fields: Any) -> art.Trajectory:
    return art.Trajectory(messages_and_choices=[PROMPT, choice(answer)], **fields)


def group(*answers: str, **fields: Any) -> art.TrajectoryGroup:
    metadata = {"answer": "4", "scenario_id": "sum"}
    return art.TrajectoryGroup([trajectory(each) for each in answers], metadata=metadata, **fields)


def rewards(scored: art.TrajectoryGroup | None) -> list[float]:
    assert scored is not None
    return [each.reward for each in scored.trajectories]


@pytest.fixture
def client(checks_url: str) -> AsyncRankClient:
    return AsyncRankClient(checks_url)


async def test_gathered_groups_are_scored(checks_url: str, client: AsyncRankClient) -> None:
    async def rollout(answer: str) -> art.Trajectory:
        return trajectory(answer)

    async def score(each: art.TrajectoryGroup) -> art.TrajectoryGroup | None:
        return await podium_score_group(each, "checks", reference="answer", client=client)

    groups = await art.gather_trajectory_groups(
        (
            art.TrajectoryGroup((rollout(each) for each in answers), metadata={"answer": "4"})
            for answers in (["4", "5"], ["6", "4"])
        ),
        after_each=score,
        pbar_desc=None,
    )
    by_answer = [
        {each.messages()[-1]["content"]: each.reward for each in scored} for scored in groups
    ]
    assert by_answer == [{"4": 1.0, "5": 0.0}, {"6": 0.0, "4": 1.0}]


async def test_all_that_a_group_holds_is_kept(client: AsyncRankClient) -> None:
    first = trajectory(
        "4", reward=0.25, initial_policy_version=3, final_policy_version=4,
        metrics={"turns": 1}, metadata={"seed": 7}, logs=["began"],
    )  # fmt: skip
    given = art.TrajectoryGroup(
        [first, trajectory("5"), RuntimeError("a rollout died")],
        metadata={"answer": "4"}, metrics={"difficulty": 2}, logs=["made"],
    )  # fmt: skip
    scored = await podium_score_group(given, reference="answer", client=client)
    assert scored is not None
    kept = scored.trajectories[0]
    assert (kept.initial_policy_version, kept.final_policy_version) == (3, 4)
    assert (kept.metadata, kept.logs[0]) == ({"seed": 7}, "began")
    assert kept.metrics["turns"] == 1
    assert kept.metrics["independent_reward"] == 0.25
    assert kept.messages_and_choices == first.messages_and_choices
    assert kept.start_time == first.start_time
    assert [each.message for each in scored.exceptions] == ["a rollout died"]
    assert scored.metadata["answer"] == "4"
    assert scored.metadata["podium_ranking"].startswith("rk_")
    assert scored.metrics["difficulty"] == 2
    assert scored.metrics["podium/groups_ranked"] == 1
    assert scored.logs == ["made"]
    assert (first.reward, first.metrics, first.logs) == (0.25, {"turns": 1}, ["began"])
    assert given.metrics == {"difficulty": 2}


async def test_tools_and_calls_reach_the_judge(
    start_podium: StartPodium, start_judge: StartJudge
) -> None:
    judge = start_judge(scores(by_length))
    podium = AsyncRankClient(start_podium(main=judge.settings()).url)
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
    used = art.Trajectory(
        messages_and_choices=[
            PROMPT,
            choice(None, tool_calls=[call]),
            {"role": "tool", "tool_call_id": "1", "content": "4"},
            choice("It is four."),
        ],
        tools=TOOLS,
    )
    given = art.TrajectoryGroup([used, trajectory("5", tools=TOOLS)])
    scored = await podium_score_group(given, "main", rubric="Be long.", client=podium)
    assert rewards(scored)[0] > rewards(scored)[1]
    [asked] = judge.judge.asked
    assert "It is four." in asked.text
    assert "add" in asked.text
    assert "Be long." in asked.text
    assert scored is not None
    assert scored.trajectories[0].metrics["podium/score"] == pytest.approx(
        by_length(next(t for t in asked.shown.values() if "four" in t)), abs=0.2
    )


async def test_a_failed_group_is_left_out(
    start_podium: StartPodium, start_judge: StartJudge
) -> None:
    judge = start_judge(fails(400, "no"))
    podium = AsyncRankClient(start_podium(main=judge.settings()).url)
    assert await podium_score_group(group("4", "5"), client=podium) is None
    with pytest.raises(Exception, match="judge_rejected"):
        await podium_score_group(group("4", "5"), client=podium, swallow_exceptions=False)


async def test_an_unknown_judge_ends_the_gathering(client: AsyncRankClient) -> None:
    async def made() -> art.TrajectoryGroup:
        return group("4", "5")

    async def score(each: art.TrajectoryGroup) -> art.TrajectoryGroup | None:
        return await podium_score_group(each, "openai/o3", client=client)

    with pytest.raises(RequestRefused, match="openai/o3"):
        await art.gather_trajectory_groups([made()], after_each=score, max_exceptions=9)


async def test_faults_of_the_caller_are_named(client: AsyncRankClient) -> None:
    with pytest.raises(ValueError, match=r"'anwser'.*answer, scenario_id"):
        await podium_score_group(group("4", "5"), reference="anwser", client=client)
    history = History(messages_and_choices=[PROMPT])
    more = art.TrajectoryGroup([trajectory("4", additional_histories=[history])])
    with pytest.raises(ValueError, match="additional_histories"):
        await podium_score_group(more, client=client)


async def test_a_group_without_trajectories_is_kept(client: AsyncRankClient) -> None:
    empty = art.TrajectoryGroup([RuntimeError("all died")])
    scored = await podium_score_group(empty, client=client)
    assert scored is not None
    assert len(scored.exceptions) == 1


@pytest.mark.parametrize(("anchor", "rate"), [("answer", 0.25), (FIRST_COMPLETION, 0.75)])
async def test_an_anchor_is_ranked_and_not_trained_on(
    client: AsyncRankClient, anchor: str, rate: float
) -> None:
    # 5 is wrong and 4 is right: against 4 they win 0 and 1/2, against 5 they win 1/2 and 1.
    scored = await podium_score_group(
        group("5", "4"), reference="answer", anchor=anchor, client=client
    )
    assert scored is not None
    assert len(scored) == 2
    assert scored.metrics["podium/win_rate"] == rate


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["4"], [0.5]),
        (["4", "4", "5"], [1, 1, 0]),
        (["", "4"], [0, 1]),
        (["x" * 3_000_000, "4"], [0, 1]),
        (["\0☃\u202e", "4"], [0, 1]),
    ],
)
async def test_any_group_is_scored(
    client: AsyncRankClient, answers: list[str], expected: list[float]
) -> None:
    asked = group(*answers)
    asked.metadata["scenario_id"] = "ünï☃\n" * 100  # longer than the id of a group may be
    scored = await podium_score_group(asked, "checks", reference="answer", client=client)
    assert rewards(scored) == expected
    again = await podium_score_group(scored or asked, "checks", reference="answer", client=client)
    assert rewards(again) == expected


def test_judges_are_found_by_the_name_of_a_model() -> None:
    assert judge_name(None) is None
    assert judge_name("openai/o3") == "openai/o3"
    assert judge_name("openai/o3", {"openai/o3": "main"}) == "main"


async def test_parameters_of_litellm_are_warned_about(
    client: AsyncRankClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "podium"):
        for _ in range(2):
            await podium_score_group(
                group("4", "5"), "checks", {"temperature": 1}, reference="answer", client=client
            )
    assert len([each for each in caplog.records if "extra_litellm_params" in each.message]) == 1


def test_each_event_loop_and_process_is_served(
    checks_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PODIUM_URL", checks_url)

    def score() -> list[float]:
        return rewards(asyncio.run(podium_score_group(group("4", "5"), reference="answer")))

    assert score() == score() == [1.0, 0.0]
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=lambda: queue.put(score()))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert queue.get() == [1.0, 0.0]


def test_the_script_of_the_page_runs(checks_url: str, tmp_path: Path) -> None:
    said = run_script("art.md", tmp_path, PODIUM_URL=checks_url)
    assert f"podium: the groups of this run: {checks_url}/ui" in "\n".join(said)
    assert said[-2:] == ["2 + 2 = 4: 1.0", "2 + 2 = 5: 0.0"], said
