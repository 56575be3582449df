"""The types that pass from rollouts to the update. Read this file first.

    Completion   one sampled model turn: its tokens as the sampler drew them
    Sample       one row of training data: token streams, nothing about tasks, groups or judges
    Attempt      one trajectory: the messages for the judge and the samples to train on

Token ids and logprobs come from the sampler and are never computed again from text.

Tensors and lists carry their shapes as suffixes, here and in the rest of the package:

    P  prompts      G  members of a group             N  trained tokens of a micro-batch
    B  rows         T  tokens of a row or sample      U  distinct predictions, U <= N
    V  vocabulary   D  width of a hidden state        S  samples of a micro-batch
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Request:
    """A prompt to sample from.

    Attributes:
        prompt_ids: the prompt's tokens.
        num_completions: the number of completions to draw, independently of each other.
        max_tokens: the largest number of tokens in one completion; a stop token counts.
    """

    prompt_ids: Sequence[int]
    num_completions: int
    max_tokens: int


@dataclass(frozen=True)
class Completion:
    """One sampled model turn of T tokens, with its final stop token if there is one.

    Attributes:
        token_ids: T ints.
        logprobs: T floats, natural logarithms under the distribution that was sampled from (with
            the temperature applied).
        finish_reason: "stop" after a stop token, "length" if cut off.
        policy_versions: T ints, the version of the weights that drew each token.
    """

    token_ids: list[int]
    logprobs: list[float]
    finish_reason: FinishReason
    policy_versions: list[int]

    def __post_init__(self) -> None:
        lengths = {len(self.token_ids), len(self.logprobs), len(self.policy_versions)}
        if len(lengths) != 1 or not self.token_ids:
            raise ValueError(
                "a completion's lists must be equally long and not empty, but their lengths are"
                f" {sorted(lengths)}"
            )


@dataclass(frozen=True)
class Sample:
    """One row of training data: T tokens in parallel lists.

    Attributes:
        token_ids: T ints, prompt first.
        loss_mask: T bools, True where the policy sampled the token.
        behavior_logprobs: T floats, 0 where loss_mask is False.
        advantages: T floats, 0 where loss_mask is False.
        policy_versions: T ints, -1 where loss_mask is False.
    """

    token_ids: list[int]
    loss_mask: list[bool]
    behavior_logprobs: list[float]
    advantages: list[float]
    policy_versions: list[int]

    @property
    def num_loss_tokens(self) -> int:
        """The number of tokens that are trained on."""
        return sum(self.loss_mask)


def start_sample(prompt_ids: Sequence[int]) -> Sample:
    """Make a sample that holds a prompt and nothing sampled yet."""
    return append_prompt(Sample([], [], [], [], []), prompt_ids)


def append_prompt(sample: Sample, token_ids: Sequence[int]) -> Sample:
    """Return the sample with more tokens that the policy did not sample."""
    count = len(token_ids)
    return Sample(
        [*sample.token_ids, *token_ids],
        [*sample.loss_mask, *[False] * count],
        [*sample.behavior_logprobs, *[0.0] * count],
        [*sample.advantages, *[0.0] * count],
        [*sample.policy_versions, *[-1] * count],
    )


def append_completion(sample: Sample, completion: Completion) -> Sample:
    """Return the sample with a sampled turn, whose advantages are 0 for now."""
    count = len(completion.token_ids)
    return Sample(
        [*sample.token_ids, *completion.token_ids],
        [*sample.loss_mask, *[True] * count],
        [*sample.behavior_logprobs, *completion.logprobs],
        [*sample.advantages, *[0.0] * count],
        [*sample.policy_versions, *completion.policy_versions],
    )


@dataclass(frozen=True)
class Attempt:
    """One trajectory of a group.

    Attributes:
        messages: OpenAI chat messages for the judge, prompt first.
        samples: the trajectory's tokens, with all advantages 0. There is more than one sample only
            if the chat template rewrote earlier turns.
        finish_reason: "length" if the attempt was cut off: by the largest number of tokens of a
            completion, of turns, or of tokens in the model's context; else "stop".
        num_turns: the number of completions.
        environment_reward: the sum of the rewards of its environment; None if it gave none.
    """

    messages: Sequence[Mapping[str, Any]]
    samples: list[Sample]
    finish_reason: FinishReason
    num_turns: int
    environment_reward: float | None = None

    @property
    def num_tokens(self) -> int:
        """The number of tokens that the policy sampled."""
        return sum(sample.num_loss_tokens for sample in self.samples)
