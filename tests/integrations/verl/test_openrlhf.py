"""OpenRLHF's own executor, with an engine that knows its answers, through the bridge."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openrlhf.utils.agent as agent
import pytest
import torch

from tests.fakes import by_length, fails, scores
from tests.integrations.servers import StartJudge, StartPodium

PAGE = Path(__file__).parents[3] / "docs/integrations/openrlhf.md"


class Characters:
    """A tokenizer whose tokens are the codes of characters."""

    def __call__(self, text: str, **_: Any) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.tensor([[ord(char) for char in text]])}

    def decode(self, ids: list[int], **_: Any) -> str:
        return "".join(map(chr, ids))


@dataclass
class Engine:
    """Answers with one text, after some time."""

    text: str
    delay_s: float = 0.0

    async def generate(self, *_: Any, **__: Any) -> Any:
        await asyncio.sleep(self.delay_s)
        ids = [ord(char) for char in self.text]
        output = SimpleNamespace(token_ids=ids, finish_reason="stop", logprobs=None)
        return SimpleNamespace(outputs=[output])


async def roll_out(url: str, *samples: tuple[str, Engine]) -> list[dict[str, Any]]:
    """Execute samples as an engine actor does: all at once, each by itself."""
    executor = agent.SingleTurnAgentExecutor(url)
    params = SimpleNamespace(max_tokens=64, logprobs=None)
    asked = (
        executor.execute(prompt, "5", params, 1024, Characters(), engine)
        for prompt, engine in samples
    )
    return list(await asyncio.gather(*asked))


def test_groups_are_ranked_as_their_samples_come(
    start_podium: StartPodium, start_judge: StartJudge
) -> None:
    """Two prompts of four samples, the last of each late."""
    judge = start_judge(scores(by_length))
    podium = start_podium(main=judge.settings())
    samples = [
        (prompt, Engine("a" * (n + 1), 0.2 * (n == 3)))
        for n in range(4)
        for prompt in ("2 + 3?", "3 + 2?")
    ]
    url = f"{podium.url}/bridge/openrlhf?group_size=4&judge=main"
    outputs = asyncio.run(roll_out(url, *samples))
    assert judge.calls == 2
    for prompt in ("2 + 3?", "3 + 2?"):
        rewards = [output["reward"] for output in outputs if output["prompt"] == prompt]
        assert rewards == sorted(rewards)
        assert len(set(rewards)) == 4
    assert all(output["scores"] == output["reward"] for output in outputs)
    assert {tuple(output["extra_logs"]) for output in outputs} == {
        ("podium/score", "podium/reliability", "podium/groups_failed", "podium/cost_usd",
         "podium/judge_tokens")
    }  # fmt: skip
    torch.tensor([outputs[0]["reward"]])  # as OpenRLHF makes an experience of it


def test_a_sample_that_is_sent_again_keeps_its_seat(
    start_podium: StartPodium, start_judge: StartJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time limit of 180 s is made shorter, so that all but the last sample are sent again."""
    monkeypatch.setattr(agent, "aiohttp", _with_timeout(agent.aiohttp, seconds=1.0))
    judge = start_judge(scores(by_length))
    podium = start_podium(main=judge.settings())
    url = f"{podium.url}/bridge/openrlhf?group_size=3"
    samples = [("2 + 3?", Engine("same")), ("2 + 3?", Engine("same")), ("2 + 3?", Engine("b", 2.5))]
    outputs = asyncio.run(roll_out(url, *samples))
    assert judge.calls == 1
    same, same_too, other = (output["reward"] for output in outputs)
    assert same == same_too > other


def test_a_failed_group_has_equal_rewards(
    start_podium: StartPodium, start_judge: StartJudge
) -> None:
    podium = start_podium(main=start_judge(fails(401, "bad key")).settings())
    url = f"{podium.url}/bridge/openrlhf?group_size=2"
    outputs = asyncio.run(roll_out(url, ("q", Engine("a")), ("q", Engine("bb"))))
    assert [output["reward"] for output in outputs] == [0, 0]
    assert [output["extra_logs"]["podium/groups_failed"] for output in outputs] == [1, 1]


def test_an_unknown_judge_leaves_samples_without_a_reward(
    start_podium: StartPodium,
) -> None:
    podium = start_podium()
    url = f"{podium.url}/bridge/openrlhf?group_size=1&judge=mian"
    [output] = asyncio.run(roll_out(url, ("q", Engine("a"))))
    assert output["reward"] is None


def _with_timeout(aiohttp: Any, seconds: float) -> Any:
    names = {name: getattr(aiohttp, name) for name in ("ClientSession", "ClientError")}
    limit = aiohttp.ClientTimeout(total=seconds)
    return SimpleNamespace(**names, ClientTimeout=lambda total: limit)
