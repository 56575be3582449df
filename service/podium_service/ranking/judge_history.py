"""What is known of each judge from its past groups, read from the store once and kept up to date.

A judge here is its settings as far as they move its noise: model, sampling, prompt, rubric, method.
"""

import asyncio
from collections import deque

from podium_service.scoring.noise import MAX_GROUPS, MIN_GROUPS, JudgeNoise, PastGroup, learn_noise
from podium_service.store.store import Store

_MAX_JUDGES = 64
_NEWS = 0.2  # share of new groups among those looked at that is worth learning again


class JudgeHistory:
    """Past groups by judge, and what was learnt from them by length of list."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # By judge, and by whether they tell its noise: those that do not crowd out none that do.
        self._past: dict[str, dict[bool, deque[PastGroup]]] = {}
        self._seen: dict[str, int] = {}  # groups ever, those dropped included
        self._learnt: dict[tuple[str, int], tuple[int, JudgeNoise | None]] = {}
        self._reading = asyncio.Lock()

    async def noise(self, judge_key: str, length: int) -> JudgeNoise | None:
        """What to assume of a judge's lists of `length`; None while too little is known."""
        if judge_key not in self._past:
            await self._read(judge_key)
        seen = self._seen[judge_key]
        learnt_at, noise = self._learnt.get((judge_key, length), (0, None))
        if seen >= MIN_GROUPS and seen - learnt_at >= _NEWS * min(seen, MAX_GROUPS):
            telling, others = (self._past[judge_key][kind] for kind in (True, False))
            noise = learn_noise([*telling, *others], length)
            self._learnt[judge_key, length] = seen, noise
        return noise

    def add(self, judge_key: str, past: PastGroup) -> None:
        """Take one more group into account; it is in the store already."""
        if judge_key in self._past:
            self._past[judge_key][past.has_residuals].append(past)
            self._seen[judge_key] += 1

    async def _read(self, judge_key: str) -> None:
        async with self._reading:
            if judge_key not in self._past:
                self._forget_one()
                past = await self._store.read_past_groups(judge_key, MAX_GROUPS)
                self._past[judge_key] = {
                    kind: deque((p for p in past if p.has_residuals is kind), maxlen=MAX_GROUPS)
                    for kind in (True, False)
                }
                self._seen[judge_key] = len(past)

    def _forget_one(self) -> None:
        """Requests may bring rubrics of their own, and each makes another judge."""
        if len(self._past) >= _MAX_JUDGES:
            oldest = next(iter(self._past))
            del self._past[oldest], self._seen[oldest]
            self._learnt = {key: each for key, each in self._learnt.items() if key[0] != oldest}
