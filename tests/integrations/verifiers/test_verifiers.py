"""`PodiumEnv` with the episodes and traces of verifiers."""

from pathlib import Path
from typing import Any

import pytest
import verifiers.v1 as vf
from verifiers.v1.graph import MessageNode
from verifiers.v1.trace import AgentInfo, TraceTask
from verifiers.v1.types import AssistantMessage, ToolCall, UserMessage
from verifiers.v1.utils.loaders import environment_class

from podium import RequestRefused, ServiceAbsent
from podium.integrations.verifiers import FIRST_COMPLETION, PodiumEnv, PodiumEnvConfig
from tests.fakes import by_length, fails, scores
from tests.integrations.pages import run_script
from tests.integrations.servers import StartJudge, StartPodium

pytestmark = pytest.mark.anyio


class Data(vf.TaskData):  # type: ignore[misc]
    answer: str = "4"


TASK: Any = vf.Task(Data(prompt="2 + 2 ="))


async def started(**settings: Any) -> PodiumEnv:
    """Return an environment with its client, as it is after `start`."""
    env = PodiumEnv.__new__(PodiumEnv)  # its __init__ loads a taskset
    env.config = PodiumEnvConfig(**settings)
    await env.start()
    return env


def trace(answer: str, *, error: bool = False, **message: Any) -> Any:
    task = TraceTask(type="Task", data=TASK.data)
    made = vf.Trace(task=task, agent=AgentInfo(config=vf.AgentConfig()), ok=not error)
    made.nodes.append(MessageNode(message=UserMessage(content="2 + 2 ="), parent=None))
    reply = AssistantMessage(content=answer, **message)
    made.nodes.append(MessageNode(message=reply, parent=0, sampled=True))
    return made


def episode(*traces: Any) -> Any:
    made = vf.Episode(task=TraceTask(type="Task", data=TASK.data))
    made.traces.extend(traces)
    return made


def test_the_environment_is_found_by_its_id() -> None:
    assert environment_class("", "podium-env") is PodiumEnv


async def test_the_traces_of_an_episode_are_ranked(checks_url: str) -> None:
    env = await started(podium_url=checks_url, podium_reference="answer", podium_weight=0.5)
    played = episode(trace("5"), trace("4"), trace("", error=True))
    await env.finalize(TASK, played)
    assert [each.reward for each in played.traces] == [0.0, 0.5, 0.0]
    assert "podium" not in played.traces[2].rewards
    assert played.traces[1].metrics["podium/groups_ranked"] == 1
    assert played.traces[1].info["podium"]["rank"] == 1.0


async def test_calls_reach_the_judge(start_podium: StartPodium, start_judge: StartJudge) -> None:
    judge = start_judge(scores(by_length))
    env = await started(podium_url=start_podium(main=judge.settings()).url)
    call = ToolCall(id="1", name="add", arguments='{"a": 2}')
    played = episode(trace("", tool_calls=[call]), trace("4"))
    await env.finalize(TASK, played)
    [asked] = judge.judge.asked
    assert "add" in asked.text


async def test_a_failed_episode_raises_and_has_no_reward(
    start_podium: StartPodium, start_judge: StartJudge
) -> None:
    judge = start_judge(fails(400, "no"))
    env = await started(podium_url=start_podium(main=judge.settings()).url)
    played = episode(trace("5"), trace("4"))
    with pytest.raises(Exception, match="judge_rejected"):
        await env.finalize(TASK, played)
    assert [each.rewards for each in played.traces] == [{}, {}]


async def test_an_unknown_judge_is_refused_at_the_start(checks_url: str) -> None:
    with pytest.raises(RequestRefused, match="mian"):
        await started(podium_url=checks_url, podium_judge="mian", podium_reference="answer")


async def test_a_service_that_is_not_there_ends_the_start() -> None:
    with pytest.raises(ServiceAbsent):
        await started(podium_url="http://127.0.0.1:9")


async def test_a_field_that_is_not_there_is_named(checks_url: str) -> None:
    env = await started(podium_url=checks_url, podium_reference="anwser")
    with pytest.raises(ValueError, match=r"'anwser'.*answer"):
        await env.finalize(TASK, episode(trace("4"), trace("5")))


@pytest.mark.parametrize(("anchor", "rate"), [("answer", 0.25), (FIRST_COMPLETION, 0.75)])
async def test_an_anchor_is_ranked_and_gets_no_reward(
    checks_url: str, anchor: str, rate: float
) -> None:
    env = await started(podium_url=checks_url, podium_reference="answer", podium_anchor=anchor)
    played = episode(trace("5"), trace("4"))
    await env.finalize(TASK, played)
    assert [each.metrics["podium/win_rate"] for each in played.traces] == [rate, rate]


def test_the_script_of_the_page_runs(checks_url: str, tmp_path: Path) -> None:
    said = run_script("verifiers.md", tmp_path, PODIUM_URL=checks_url)
    assert said[-2:] == ["5: 0.0", "4: 1.0"], said
