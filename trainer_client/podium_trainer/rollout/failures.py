"""Part the groups that were sampled from those that failed, and count the latter."""

from collections import Counter
from collections.abc import Sequence

from podium_trainer.policy.samples import Attempt
from podium_trainer.rollout.conversation import Conversation
from podium_trainer.samplers import Cause, SamplingFailed
from podium_trainer.tasks.task import Prompt

PlayedGroup = list[Attempt] | SamplingFailed  # the attempts, or why there are none

WORDS: dict[Cause, str] = {
    "unanswered": "not answered",
    "refused": "refused",
    "not_finite": "not finite",
    "environment": "failed in their environment",
}


def attempts_of(group: Sequence[Conversation]) -> PlayedGroup:
    """Return the attempts whose environment did not fail, or why there are none to compare."""
    attempts = [conversation.attempt() for conversation in group if conversation.error is None]
    errors = [conversation.error for conversation in group if conversation.error is not None]
    if errors and len(attempts) < min(2, len(group)):
        return SamplingFailed(errors[-1], "environment")
    return attempts


def part_failures(
    prompts: Sequence[Prompt], played: Sequence[PlayedGroup]
) -> tuple[list[Prompt], list[list[Attempt]], list[SamplingFailed]]:
    """Return the prompts that have attempts, the attempts at each of them, and the failures."""
    kept: list[Prompt] = []
    groups: list[list[Attempt]] = []
    failures: list[SamplingFailed] = []
    for prompt, group in zip(prompts, played, strict=True):
        if isinstance(group, SamplingFailed):
            failures.append(group)
        else:
            kept.append(prompt)
            groups.append(group)
    return kept, groups, failures


def describe_failures(failures: Sequence[SamplingFailed], num_groups: int) -> str:
    """Say in one line how many of some groups failed, by cause, and quote the last failure.

    Args:
        failures: at least one.
        num_groups: the number of all groups.
    """
    counts = Counter(failure.cause for failure in failures)
    causes = ", ".join(
        f"{counts[cause]} {words}" for cause, words in WORDS.items() if counts[cause]
    )
    return f"{len(failures)} of {num_groups} groups were not sampled ({causes}): {failures[-1]}"
