"""What rollouts hand on. Read this file first; `types.py` is the wire's side of it.

    Completion   one sampled model turn: its tokens as the sampler drew them
    Sample       what the update eats: per-token streams, nothing about tasks, groups or judges
    Attempt      one trajectory: what the judge reads and the samples that it is trained on

Token ids and logprobs come from the sampler and are never made again from text.
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
        num_completions: how many completions, drawn independently.
        max_tokens: the most tokens that one completion may have; a stop token counts.
    """

    prompt_ids: Sequence[int]
    num_completions: int
    max_tokens: int


@dataclass(frozen=True)
class Completion:
    """One sampled model turn of T tokens, a final stop token included.

    Attributes:
        token_ids: T ints.
        logprobs: T floats, natural logarithms under the distribution that was sampled from (the
            temperature applied).
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
            raise ValueError(f"a completion's lists must be equally long, not {sorted(lengths)}")


@dataclass(frozen=True)
class Sample:
    """One row of training data: T tokens and what is known of each.

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
        return sum(self.loss_mask)


@dataclass(frozen=True)
class Attempt:
    """One trajectory of a group.

    Attributes:
        messages: OpenAI chat messages, prompt first: what the judge sees.
        samples: the token streams behind it, advantages all 0; more than one only if the chat
            format rewrote earlier turns.
        finish_reason: the last completion's.
        num_turns: how many completions it has.
    """

    messages: Sequence[Mapping[str, Any]]
    samples: list[Sample]
    finish_reason: FinishReason
    num_turns: int
