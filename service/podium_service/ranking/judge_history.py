"""Tell the noise of a judge from its past groups.

The past groups of a judge are read from the store once and kept up to date in memory. Two judges
that share a judge key share a history: model, sampling, prompt, rubric and method are the same.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

from podium_service.scoring.noise import MAX_GROUPS, MIN_GROUPS, JudgeNoise, PastGroup, learn_noise
from podium_service.store.protocol import Store

_MAX_JUDGES = 64
# The noise is learned again once this share of the groups that it rests on is new.
_SHARE_OF_NEW_GROUPS = 0.2


class _PastGroups:
    """The past groups of one judge, and the noise learned from them."""

    def __init__(self, past_groups: Sequence[PastGroup]) -> None:
        # By whether a group has residuals: groups without residuals are many and must not crowd
        # out the groups that tell the noise.
        self._groups = {kind: deque[PastGroup](maxlen=MAX_GROUPS) for kind in (True, False)}
        self._num_groups = 0  # groups dropped since are counted too
        # By length: the number of groups at that time, and the noise.
        self._learned: dict[int, tuple[int, JudgeNoise | None]] = {}
        for past_group in past_groups:
            self.add(past_group)

    def add(self, past_group: PastGroup) -> None:
        self._groups[past_group.has_residuals].append(past_group)
        self._num_groups += 1

    def noise(self, length: int) -> JudgeNoise | None:
        num_groups = self._num_groups
        num_learned, noise = self._learned.get(length, (0, None))
        num_required = _SHARE_OF_NEW_GROUPS * min(num_groups, MAX_GROUPS) if noise else 0
        if num_groups >= MIN_GROUPS and num_groups - num_learned >= num_required:
            noise = learn_noise([*self._groups[True], *self._groups[False]], length)
            self._learned[length] = num_groups, noise
        return noise


class JudgeHistory:
    """The past groups of judges, and the noise learned from them for each length of list."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._past_groups: dict[str, _PastGroups] = {}  # the keys are judge keys
        self._reading = asyncio.Lock()

    async def noise(self, judge_key: str, length: int) -> JudgeNoise | None:
        """Return the noise to assume in calls of `length` trajectories; None if too few tell it."""
        if judge_key not in self._past_groups:
            async with self._reading:
                await self._read(judge_key)
        return self._past_groups[judge_key].noise(length)

    def add(self, judge_key: str, past_group: PastGroup) -> None:
        """Take one more group into account; the caller has stored it already."""
        if judge_key in self._past_groups:
            self._past_groups[judge_key].add(past_group)

    async def _read(self, judge_key: str) -> None:
        if judge_key not in self._past_groups:
            # The memory is bounded, because each rubric that a request brings makes another judge.
            if len(self._past_groups) >= _MAX_JUDGES:
                del self._past_groups[next(iter(self._past_groups))]
            past_groups = await self._store.read_past_groups(judge_key, MAX_GROUPS)
            self._past_groups[judge_key] = _PastGroups(past_groups)
