"""Play faults of judges at random and count them, and record limits and deadlines meanwhile."""

import asyncio
import re
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from random import Random

from podium_service.errors import PodiumError
from podium_service.http.service import Service
from podium_service.schemas import Ranking, RankRequest
from podium_service.store.quotas.spend import SpendAccount
from tests.fakes import Answer, Asked, Step, drops, fails, hangs, says
from tests.service.faults import (
    FILTERED,
    GOOD,
    NO_CREDIT,
    NO_SCHEMA,
    SPARE,
    TOO_LONG,
    at_the_cap,
    html,
    never_ends,
    reasoned,
    renamed,
    rewritten,
    scored,
    with_one_more,
    with_the_first_twice,
    without_the_last,
)

FAULTY_SHARE = 0.3  # of the calls
MAX_LATE_S, PATIENT_S = 0.2, 60.0
GROUPS_PER_JUDGE, CONCURRENT_GROUPS = 40, 48
PRICE = {"prompt": 1.0, "completion": 10.0}
WORST_USD = 0.11  # of a call: twice the cap of 5 trajectories is 9,920 tokens
GAUGES = (
    "podium_judge_in_flight",
    "podium_judge_waiting",
    "podium_endpoint_in_flight",
    "podium_judge_reserved_usd",
)

# Replies in time that are no verdict.
MALFORMED: list[Step] = [
    at_the_cap('{"'), at_the_cap(" \n" * 2000), rewritten(lambda text: text[:-9]),
    rewritten(without_the_last), rewritten(with_one_more), rewritten(renamed),
    rewritten(with_the_first_twice), scored("7"), scored("10"), scored("15"), scored('"80%"'),
    scored("NaN"), says("The first one."), says(""), says(None, refusal="no"),
    says("", "content_filter"),
]  # fmt: skip
# The faults by the outcome under which the metrics count the call.
FAULTS: dict[str, list[Step]] = {
    "ok": [
        *MALFORMED, reasoned, rewritten(lambda text: f"<think>hm</think>{text}"),
        rewritten(lambda text: f"```json\n{text}\n```"),
    ],
    "judge_rate_limited": [fails(429), fails(429, retry_after="0.05")],
    "judge_unavailable": [fails(500), fails(503), drops, hangs, html, never_ends],
    "judge_rejected": [fails(401), fails(404)],
    "judge_refused": [FILTERED],
    "parameter_rejected": [NO_SCHEMA],
    "context_overflow": [TOO_LONG],
}  # fmt: skip
# These faults put a judge out of service for longer than the test runs.
LAST_FAULTS: dict[str, list[Step]] = {
    "judge_rate_limited": [fails(429, retry_after="600")],
    "judge_quota_exhausted": [NO_CREDIT],
}
LAST_SHARE = 0.01  # of the faults
UNANSWERED: list[Step] = [drops, hangs, html, never_ends]  # these calls may have been paid


class Script:
    """Plays good answers and faults at random, and counts by judge what it did."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.played: dict[str, Counter[str]] = defaultdict(Counter)  # by outcome
        self.billed: dict[str, Counter[str]] = defaultdict(Counter)  # tokens, by kind
        self.malformed: Counter[str] = Counter()
        self.payable: Counter[tuple[str, int]] = Counter()  # by group
        self.num_faulty = 0

    def __call__(self, asked: Asked) -> Answer:
        name = asked.body["model"]
        outcome, step = "ok", GOOD
        if name != SPARE and self.random.random() < FAULTY_SHARE:
            outcome, step = self._fault()
        self.played[name][outcome] += 1
        self.malformed[name] += step in MALFORMED
        answer = step(asked)
        if outcome == "ok":
            self._bill(name, answer)
        if outcome == "ok" or step in UNANSWERED:
            number = re.search(r"answer (\d+)\.", asked.text)
            assert number
            self.payable[name, int(number[1])] += 1
        return replace(answer, delay_s=answer.delay_s or self.random.uniform(0, 0.02))

    def cost_usd(self, name: str) -> float:
        prompt, completion = self.billed[name]["prompt"], self.billed[name]["completion"]
        return (PRICE["prompt"] * prompt + PRICE["completion"] * completion) / 1e6

    def _fault(self) -> tuple[str, Step]:
        self.num_faulty += 1
        faults = LAST_FAULTS if self.random.random() < LAST_SHARE else FAULTS
        return self.random.choice(
            [(outcome, step) for outcome in faults for step in faults[outcome]]
        )

    def _bill(self, name: str, answer: Answer) -> None:
        assert isinstance(answer.body, dict)
        usage = answer.body["usage"]
        self.billed[name] += Counter(
            prompt=usage["prompt_tokens"], completion=usage["completion_tokens"]
        )


@dataclass(frozen=True)
class Outcome:
    """The end of one group; its times are seconds on the event loop's clock."""

    number: int
    request: RankRequest
    worths: list[float]
    deadline: float
    ended: float
    ranking: Ranking | None = None
    error: PodiumError | None = None

    @property
    def late_s(self) -> float:
        """The seconds from its deadline to its end; negative before the deadline."""
        return self.ended - self.deadline


class Monitor:
    """Records the most that is reserved and spent, and when the event loop itself was late."""

    def __init__(self, opened: Service, accounts: list[SpendAccount]) -> None:
        self.most = dict.fromkeys(accounts, 0.0)
        self._opened = opened
        self.is_running = asyncio.Event()
        self._stalls: list[tuple[float, float]] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_clock())
            tasks.create_task(self._watch_spending())

    def late_s(self, outcome: Outcome) -> float:
        """Return how late a group ended, without the stalls of the whole process."""
        end = outcome.ended
        stalled_s = sum(
            max(0.0, min(till, end) - max(since, outcome.deadline)) for since, till in self._stalls
        )
        return outcome.late_s - stalled_s

    async def _watch_clock(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + 0.02
            await asyncio.sleep(0.02)
            self.is_running.set()
            if clock() - due > 0.02:
                self._stalls.append((due, clock()))

    async def _watch_spending(self) -> None:
        while True:
            spending = await self._opened.store.quotas.read_spending(self.most, at=time.time())
            for account, spent in spending.items():
                total_usd = spent.reserved + spent.settled
                self.most[account] = max(self.most[account], total_usd)
            await asyncio.sleep(0.02)
