"""Groups that lie on two processes, and rewards in forked, spawned and threaded ones."""

import asyncio
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate import PartialState
from trl.experimental.async_grpo.async_rollout_worker import RolloutGroup, _AsyncRolloutLoop

from podium.integrations.trl import PodiumReward
from tests.fakes import scores
from tests.integrations.servers import StartJudge, StartPodium
from tests.integrations.trl import share_groups

LIMIT_S = 600
PROMPTS = ["2 + 2 ="] * 4
COMPLETIONS = ["4", "5", "4", "22"]
REWARDS = [1.0, 0.25, 1.0, 0.25]


def torchrun(
    processes: int, url: str, judge: str, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Train with a batch of 4 completions over so many processes."""
    folder.mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    arguments = [share_groups.__file__, url, judge, str(4 // processes), str(folder / "found.json")]
    path = os.pathsep.join([str(Path(__file__).parents[3]), *filter(None, sys.path)])
    return subprocess.run(
        [*command, "--nproc-per-node", str(processes), *arguments],
        capture_output=True, text=True, check=False, timeout=LIMIT_S,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def test_two_processes_get_the_rewards_of_one(
    tmp_path: Path, start_podium: StartPodium, start_judge: StartJudge
) -> None:
    judge = start_judge(scores(lambda text: len(text) / 100))
    url = start_podium(main=judge.settings()).url
    found = []
    for processes in (1, 2):
        done = torchrun(processes, url, "main", tmp_path / str(processes))
        assert done.returncode == 0, done.stderr
        found.append(json.loads((tmp_path / str(processes) / "found.json").read_text()))
    one, two = found
    assert one["completions"] == two["completions"] == ["a" * (10 + 7 * i) for i in range(4)]
    assert one["rewards"] == two["rewards"] == sorted(one["rewards"])
    assert one["advantages"] == two["advantages"]
    assert one["rankings"] == two["rankings"]
    assert one["ranked"] == two["ranked"] == [1]
    assert judge.calls == 1  # the second run is answered from the store


def test_two_processes_stop_together_at_an_unknown_judge(tmp_path: Path, checks_url: str) -> None:
    done = torchrun(2, checks_url, "mian", tmp_path / "2")
    assert done.returncode != 0
    assert done.stderr.count("RequestRefused: unknown_judge") >= 2


def reward(url: str) -> PodiumReward:
    return PodiumReward(url, reference="answer")


def ask(function: PodiumReward) -> list[float | None]:
    return function(PROMPTS, COMPLETIONS, completion_ids=[[1]] * 4, answer=["4"] * 4)


def answer(function: PodiumReward, queue: Any) -> None:
    queue.put(ask(function))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_reward_that_was_used_works_in_another_process(checks_url: str, method: Any) -> None:
    function = reward(checks_url)
    assert ask(function) == pytest.approx(REWARDS)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=answer, args=(function, queue), daemon=True)
    child.start()
    assert queue.get(timeout=LIMIT_S) == pytest.approx(REWARDS)
    child.join()
    assert ask(function) == pytest.approx(REWARDS)


def test_a_reward_works_in_several_event_loops(checks_url: str) -> None:
    function = reward(checks_url)

    async def twice() -> list[list[float | None]]:
        asked = [asyncio.to_thread(ask, function) for _ in range(2)]
        return await asyncio.gather(*asked)

    for _ in range(2):
        for rewards in asyncio.run(twice()):
            assert rewards == pytest.approx(REWARDS)


def test_the_asynchronous_trainer_scores_a_group(checks_url: str) -> None:
    PartialState(cpu=True)  # its logger wants one
    function = pickle.loads(pickle.dumps(reward(checks_url)))
    loop = SimpleNamespace(
        reward_funcs=[function],
        reward_func_names=["podium"],
        _env_reward_types=[],
        _provides_rollout_reward=False,
    )
    sequence = SimpleNamespace(input_ids=[1], completion_mask=[1], old_log_probs=[0.0])
    group = RolloutGroup(
        prompts=PROMPTS,
        completions=COMPLETIONS,
        completions_ids=[[1]] * 4,
        completions_sequences=[[sequence]] * 4,
        reward_kwargs={"answer": ["4"] * 4},
        env_rewards=[None] * 4,
        rollout_rewards=[None] * 4,
        tool_call_counts=[0] * 4,
        tool_failure_counts=[0] * 4,
        model_version=0,
        group_id=0,
    )
    samples = asyncio.run(_AsyncRolloutLoop._score_group(loop, group))
    assert [sample.metrics["rewards/podium"] for sample in samples] == pytest.approx(REWARDS)
    assert [sample.advantage for sample in samples] == pytest.approx([1, -1, 1, -1], abs=1e-5)
