"""Describe a ranked group in a few numbers, by which lists are filtered and runs summed up."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from podium.integrations.outcome import ANCHOR_ID
from podium_service.schemas import Ranking, RankRequest, Trajectory

WIN_RATE = "win_rate"  # the kind of the groups that compare attempts with those of the start


def statistics_of(
    request: RankRequest, ranking: Ranking | None, lengths: Sequence[int]
) -> dict[str, Any]:
    """Return the columns of `asks` that sum up a group; those of its answer only if it has one.

    An anchor counts for the win rate alone, because the policy did not write it.

    Args:
        lengths: one per trajectory, as `length_of` counts.
    """
    ids = {each.id for each in request.trajectories}
    skipped = ids & {ANCHOR_ID} if len(ids) > 1 else set()
    sent = zip(request.trajectories, lengths, strict=True)
    written = [(each, length) for each, length in sent if each.id not in skipped]
    trajectories, lengths = [each for each, _ in written], [length for _, length in written]
    results = [each for each in ranking.results if each.id not in skipped] if ranking else []
    rewards = [each.reward for each in results]
    scores = [each.score for each in results if each.score is not None]
    taus = (
        [each.agreement for each in ranking.jurors if each.agreement is not None] if ranking else []
    )
    return {
        "spread": max(rewards) - min(rewards) if rewards else None,
        "ties": share_of_ties(rewards),
        "agreement": fmean(taus) if taus else None,
        "mean_score": fmean(scores) if scores else None,
        "win_rate": win_rate(request, ranking) if ranking else None,
        "verified": mean_verified([each.verified_reward for each in trajectories]),
        "mean_length": fmean(lengths),
        "truncated": sum(each.finish_reason == "length" for each in trajectories),
        "longest_wins": longest_wins(lengths, rewards),
        "check_disagrees": check_disagrees(
            [each.verified_reward for each in trajectories], rewards
        ),
    }


def win_rate(request: RankRequest, ranking: Ranking) -> float | None:
    """Return the share of pairs in which an attempt of now is ranked before one of the baseline.

    An equal rank counts half. The baseline are the attempts that a group of the kind `win_rate`
    names in its metadata, or the anchor of an integration; None without one, or without others.
    """
    metadata = request.metadata or {}
    baseline: Any = (ANCHOR_ID,)
    if metadata.get("kind") == WIN_RATE:
        baseline = metadata.get("baseline")
    if not isinstance(baseline, list | tuple):
        return None
    names = {str(name) for name in baseline}
    old = [each.rank for each in ranking.results if each.id in names]
    now = [each.rank for each in ranking.results if each.id not in names]
    wins = [1.0 if a < b else 0.5 if a == b else 0.0 for a in now for b in old]
    return fmean(wins) if wins else None


def mean_verified(verified: Sequence[float | None]) -> float | None:
    """Return the mean of the verified rewards; None unless each trajectory has one."""
    known = [each for each in verified if each is not None]
    return fmean(known) if known and len(known) == len(verified) else None


def length_of(trajectory: Trajectory) -> int:
    """Return the number of characters that the policy wrote: texts, thoughts and arguments."""
    length = 0
    for message in trajectory.messages:
        if message.role != "assistant":
            continue
        length += len(message.text) + len(message.thoughts)
        for call in message.calls:
            length += len(str(call.called.arguments or ""))
    return length


def share_of_ties(rewards: Sequence[float]) -> float | None:
    """Return the share of the pairs with equal rewards; None where there is no pair."""
    number = len(rewards)
    if number < 2:
        return None
    equal = sum(count * (count - 1) for count in Counter(rewards).values())
    return equal / (number * (number - 1))


def longest_wins(lengths: Sequence[int], rewards: Sequence[float]) -> bool | None:
    """Return whether the one longest trajectory has the greatest reward; None without signal."""
    if not rewards or max(rewards) == min(rewards):
        return None
    longest = max(lengths)
    return lengths.count(longest) == 1 and rewards[lengths.index(longest)] == max(rewards)


def check_disagrees(verified: Sequence[float | None], rewards: Sequence[float]) -> bool | None:
    """Return whether a trajectory that is verified to be best has less reward than one that is not.

    None where the verified rewards are missing or equal, or there are no rewards.
    """
    known = [each for each in verified if each is not None]
    if not rewards or len(known) < len(verified) or max(known) == min(known):
        return None
    pairs = list(zip(known, rewards, strict=True))
    best = min(reward for check, reward in pairs if check == max(known))
    return best < max(reward for check, reward in pairs if check < max(known))
