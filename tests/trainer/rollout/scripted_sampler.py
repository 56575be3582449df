"""A sampler with scripted completions, and helpers to look at the attempts it leads to."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from podium_trainer.policy.chat import Chat
from podium_trainer.policy.samples import Attempt, Completion, Request, Sample
from podium_trainer.tasks.task import Prompt
from tests.trainer.tiny import END, tiny_chat

CHAT = tiny_chat()


class ScriptedSampler:
    """Returns the completions of a script in order, and fails the test when the script is empty.

    Attributes:
        script: completions still to come: a text, to which the stop token is added, or token ids.
        requests: the requests of each call.
        seeds: the seed of each call.
    """

    servers_ready = None

    def __init__(
        self, script: Sequence[str | list[int]], *, in_lockstep: bool = True, chat: Chat = CHAT
    ) -> None:
        self.script = list(script)
        self.in_lockstep = in_lockstep
        self.chat = chat
        self.policy_version = 3
        self.requests: list[list[Request]] = []
        self.seeds: list[int] = []

    def sample(self, requests: Sequence[Request], *, seed: int) -> list[list[Completion]]:
        self.requests.append(list(requests))
        self.seeds.append(seed)
        return [[self._next() for _ in range(r.num_completions)] for r in requests]

    def _next(self) -> Completion:
        if not self.script:
            pytest.fail("the sampler's script is used up")
        entry = self.script.pop(0)
        ids = [*self.chat.encode(entry), END] if isinstance(entry, str) else entry
        logprobs = [-0.25 * (1 + i) for i in range(len(ids))]
        reason = "stop" if ids[-1] == END else "length"
        return Completion(ids, logprobs, reason, [self.policy_version] * len(ids))  # type: ignore[arg-type]

    def close(self) -> None:
        assert not self.script, f"unused completions: {self.script}"


def make_prompt(question: str) -> Prompt:
    return Prompt(question, [{"role": "user", "content": question}])


def assert_consistent(sample: Sample) -> None:
    """Check that all lists are equally long, and only sampled tokens have values."""
    for values in (sample.loss_mask, sample.behavior_logprobs, sample.policy_versions):
        assert len(values) == len(sample.token_ids)
    for is_trained, logprob, version in zip(
        sample.loss_mask, sample.behavior_logprobs, sample.policy_versions, strict=True
    ):
        assert (logprob, version) == (0.0, -1) if not is_trained else version == 3
    assert not any(sample.advantages)


def trained_ids(sample: Sample) -> list[int]:
    """Return the tokens that are trained on."""
    pairs = zip(sample.token_ids, sample.loss_mask, strict=True)
    return [token_id for token_id, is_trained in pairs if is_trained]


def write_call(name: str, **arguments: Any) -> str:
    """Write a tool call as Hermes models do."""
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def tool_results(attempt: Attempt) -> list[str]:
    """Return the tool results that the judge sees."""
    return [message["content"] for message in attempt.messages if message["role"] == "tool"]
