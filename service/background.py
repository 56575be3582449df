"""What is known of each judge from its past groups, read from the store once and kept up to date.

A judge here is its settings as far as they move its noise: model, sampling, prompt, rubric, method.
"""

import asyncio
from collections import deque

from service.statistics.noise import MAX_GROUPS, MIN_GROUPS, JudgeNoise, PastGroup, learn
from service.store import Store

_RELEARN = 1.2  # once there are so many times as many groups


class Background:
    """Past groups by judge, and what was learnt from them by length of list."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._past: dict[str, deque[PastGroup]] = {}
        self._seen: dict[str, int] = {}  # groups ever, those dropped included
        self._learnt: dict[tuple[str, int], tuple[int, JudgeNoise | None]] = {}
        self._reading = asyncio.Lock()

    async def noise(self, judge_key: str, length: int) -> JudgeNoise | None:
        """What to assume of a judge's lists of `length`; None while too little is known."""
        if judge_key not in self._past:
            await self._read(judge_key)
        seen = self._seen[judge_key]
        learnt_at, noise = self._learnt.get((judge_key, length), (0, None))
        if seen >= MIN_GROUPS and seen >= _RELEARN * learnt_at:
            noise = learn(self._past[judge_key], length)
            self._learnt[judge_key, length] = seen, noise
        return noise

    def add(self, judge_key: str, past: PastGroup) -> None:
        """Take one more group into account; it is in the store already."""
        if judge_key in self._past:
            self._past[judge_key].append(past)
            self._seen[judge_key] += 1

    async def _read(self, judge_key: str) -> None:
        async with self._reading:
            if judge_key not in self._past:
                past = await self._store.past_groups(judge_key, MAX_GROUPS)
                self._past[judge_key] = deque(past, maxlen=MAX_GROUPS)
                self._seen[judge_key] = len(past)
