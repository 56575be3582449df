"""The store as ranking uses it: pass `SQLStore`, or a fake, to a constructor."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from podium_service.prompts.call import Call
from podium_service.prompts.verdict import Verdict
from podium_service.schemas import Usage
from podium_service.scoring.noise import JudgeNoise, PastGroup
from podium_service.store.asks.records import Ask
from podium_service.store.quotas.payer import NOBODY, Payer


@dataclass(frozen=True, slots=True)
class StoredVerdicts:
    """The stored verdicts of a content key.

    Attributes:
        verdicts: the verdicts by index of the pass.
        calls, tokens: the cost so far, replies without a verdict included.
        complete, noise: whether the group was ranked to the end, and the noise assumed then.
    """

    verdicts: dict[int, Verdict]
    calls: int = 0
    tokens: int = 0
    complete: bool = False
    noise: JudgeNoise | None = None


class Store(Protocol):
    """The methods that ranking calls; `SQLStore` documents them."""

    def claim(self, key: str) -> AbstractAsyncContextManager[StoredVerdicts]: ...

    def claim_question(self, key: str) -> AbstractAsyncContextManager[Verdict | None]: ...

    async def read_past_groups(self, judge_key: str, limit: int) -> list[PastGroup]: ...

    def add_past_group(
        self, key: str, judge_key: str, past: PastGroup, noise: JudgeNoise | None
    ) -> None: ...

    def add_call(
        self,
        key: str,
        pass_index: int,
        judge: str,
        call: Call,
        usage: Usage,
        payer: Payer = NOBODY,
    ) -> None: ...

    def add_answer(self, key: str, judge: str, call: Call) -> None: ...

    async def flush(self) -> None: ...

    async def add_ranking(self, ask: Ask, rests_on: Sequence[str]) -> None: ...

    def add_failure(self, ask: Ask) -> None: ...
