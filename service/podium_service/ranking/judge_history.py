"""Tell the noise of a judge from its past groups.

The past groups of a judge are read from the store once and kept up to date in memory. Two judges
that share a judge key share a history: model, sampling, prompt, rubric and method are the same.
"""

import asyncio
from collections import deque

from podium_service.scoring.noise import MAX_GROUPS, MIN_GROUPS, JudgeNoise, PastGroup, learn_noise
from podium_service.store.protocol import Store

_MAX_JUDGES = 64
# The noise is learned again once this share of the groups that it rests on is new.
_SHARE_OF_NEW_GROUPS = 0.2


class JudgeHistory:
    """The past groups of judges, and the noise learned from them for each length of list."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # By judge key, and by whether a group has residuals: groups without residuals are many and
        # must not crowd out the groups that tell the noise.
        self._past_groups: dict[str, dict[bool, deque[PastGroup]]] = {}
        self._num_groups: dict[str, int] = {}  # by judge key; groups dropped since are counted too
        # By judge key and length: the number of groups at that time, and the noise.
        self._learned: dict[tuple[str, int], tuple[int, JudgeNoise | None]] = {}
        self._reading = asyncio.Lock()

    async def noise(self, judge_key: str, length: int) -> JudgeNoise | None:
        """Return the noise to assume of a judge; None while too few groups tell it.

        Args:
            judge_key: the judge.
            length: trajectories in one call.
        """
        if judge_key not in self._past_groups:
            await self._read(judge_key)
        num_groups = self._num_groups[judge_key]
        num_learned, noise = self._learned.get((judge_key, length), (0, None))
        num_new = num_groups - num_learned
        if num_groups >= MIN_GROUPS and num_new >= _SHARE_OF_NEW_GROUPS * min(
            num_groups, MAX_GROUPS
        ):
            past_groups = self._past_groups[judge_key]
            noise = learn_noise([*past_groups[True], *past_groups[False]], length)
            self._learned[judge_key, length] = num_groups, noise
        return noise

    def add(self, judge_key: str, past_group: PastGroup) -> None:
        """Take one more group into account; the caller has stored it already."""
        if judge_key in self._past_groups:
            self._past_groups[judge_key][past_group.has_residuals].append(past_group)
            self._num_groups[judge_key] += 1

    async def _read(self, judge_key: str) -> None:
        async with self._reading:
            if judge_key not in self._past_groups:
                self._forget_oldest()
                past_groups = await self._store.read_past_groups(judge_key, MAX_GROUPS)
                self._past_groups[judge_key] = {
                    kind: deque((p for p in past_groups if p.has_residuals is kind), MAX_GROUPS)
                    for kind in (True, False)
                }
                self._num_groups[judge_key] = len(past_groups)

    def _forget_oldest(self) -> None:
        """Bound the memory, because each rubric that a request brings makes another judge."""
        if len(self._past_groups) >= _MAX_JUDGES:
            oldest = next(iter(self._past_groups))
            del self._past_groups[oldest], self._num_groups[oldest]
            self._learned = {key: each for key, each in self._learned.items() if key[0] != oldest}
