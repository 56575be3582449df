"""A ranking as the store's reader returns it, for pages that are made without a service."""

from importlib.resources import files
from typing import Any

import orjson

from podium_service.schemas import Ranking, RankRequest, TrajectoryResult, Usage
from podium_service.schemas.history import (
    CallView,
    RankingDetail,
    RankingSummary,
    RunDetail,
    RunStep,
    RunSummary,
    SentGroup,
)

AT = 1_795_996_800.0  # 2026-11-30 00:00 UTC
SCORES = [
    [0.9, 0.3, 0.55, 0.1],
    [0.85, 0.4, 0.5, 0.2],
    [0.95, 0.3, 0.7, 0.1],
    [0.8, 0.35, 0.5, 0.05],
]
SENTENCES = [
    "Looks the reservation up, cancels it, and states the refund that the tool confirmed.",
    "Promises a refund before any tool has confirmed it.",
    "Cancels correctly, but never says what is refunded.",
    "Refuses although the policy allows the cancellation.",
]


def example_group() -> dict[str, Any]:
    """Return the group that ships with the service."""
    text = files("podium_service").joinpath("examples", "group.json").read_bytes()
    group: dict[str, Any] = orjson.loads(text)
    return group


def detail_of(group: dict[str, Any], **summary: Any) -> RankingDetail:
    """Return a ranking of a group, whose attempts rank in the order of the request."""
    request = RankRequest.model_validate(group)
    ids = [each.id for each in request.trajectories]
    size = len(ids)
    results = [
        TrajectoryResult(
            id=each,
            rank=place,
            reward=round(1 - (place - 0.5) / size, 4),
            score=round(0.9 - 0.8 * (place - 1) / max(1, size - 1), 3),
            stderr=0.04,
            explanation=SENTENCES[(place - 1) % len(SENTENCES)],
            flags=["steering:rewards"] if place == size else [],
        )
        for place, each in enumerate(ids, 1)
    ]
    sent = {name: value for name, value in group.items() if name in SentGroup.model_fields}
    fields = {
        "id": "rk_1", "ask": "ask_1", "at": AT, "outcome": "ranked", "run": "airline", "step": 12,
        "group_id": request.group_id, "prompt_id": "p1", "judge": "main", "model": "m-1",
        "method": "listwise", "passes": 4, "reliability": 0.93, "num_trajectories": size,
        "ids": ids, "rewards": [each.reward for each in results], "latency_s": 1.84,
        "cost_usd": 0.0021, "tokens": 5530, "prompt": request.task, "lengths": [120] * size,
    }  # fmt: skip
    return RankingDetail(
        summary=RankingSummary(**(fields | summary)),
        ranking=Ranking(
            id="rk_1", group_id=request.group_id, judge="main", model="m-1", method="listwise",
            passes=4, results=results, reliability=0.93, cached=False,
            usage=Usage(calls=4, prompt_tokens=5120, completion_tokens=410, cost_usd=0.0021),
        ),
        request=SentGroup(**sent),
        metadata={"run": "airline", "step": 12},
    )  # fmt: skip


def calls_of(detail: RankingDetail) -> list[CallView]:
    """Return four passes over a group, each in another order."""
    ids = detail.summary.ids
    return [_call(ids, index) for index in range(4)]


def _call(ids: list[str], index: int) -> CallView:
    order = ids[index % len(ids) :] + ids[: index % len(ids)]
    shown = {f"ID{place}": each for place, each in enumerate(order)}
    return CallView(
        pass_index=index,
        at=1_796_000_000.0 + index,
        judge="main",
        model="m-1",
        messages=[
            {"role": "system", "content": "You rank attempts."},
            {"role": "user", "content": "Here are the attempts.\n" + "\n".join(shown)},
        ],
        reply='{"ID0": {"score": 0.9}}',
        finish_reason="stop",
        order=order,
        shown_ids=shown,
        scores={each: SCORES[index][place % 4] for place, each in enumerate(ids)},
        explanations={each: SENTENCES[place % 4] for place, each in enumerate(ids)},
        usage=Usage(
            calls=1, prompt_tokens=1280, cached_tokens=975, completion_tokens=102, cost_usd=0.0005
        ),
        latency_s=1.1 + index / 10,
    )


def run_of(name: str, steps: int, *, gain: float = 0.004) -> RunDetail:
    """Return a run whose score rises by `gain` a step, and whose answers grow longer."""
    wave = [0.02 * ((7 * step) % 5 - 2) for step in range(steps)]
    some = [
        RunStep(
            step=step, at=AT + 60 * step, groups=16, ranked=15 if step % 9 == 4 else 16,
            failed=1 if step % 9 == 4 else 0,
            failures={"judge_unavailable": 1} if step % 9 == 4 else {},
            cached=step % 3, reliability=0.7 + 2 * wave[step], with_signal=0.85 + wave[step],
            ties=0.12 - wave[step] / 2, flagged=0.0, truncated=max(0.0, wave[step]),
            mean_score=0.35 + gain * step + wave[step], mean_length=300 + 4 * step,
            latency_s=1.8 + wave[step], cost_usd=0.031, tokens=81_000,
        )
        for step in range(steps)
    ]  # fmt: skip
    summary = RunSummary(
        run=name, first_at=AT, last_at=AT + 60 * steps, last_step=steps - 1, groups=16 * steps,
        failed=sum(step.failed for step in some), cost_usd=0.031 * steps, tokens=81_000 * steps,
    )  # fmt: skip
    return RunDetail(summary=summary, steps=some)


def summaries(number: int) -> list[RankingSummary]:
    """Return rows of a list, of many kinds."""
    base = detail_of(example_group()).summary
    prompts = [
        "Cancel reservation ZFA04Y and say what is refunded.",
        "A farmer has 17 sheep. All but 9 run away. How many are left?",
        "Write a function that returns the n-th Fibonacci number in O(log n).",
    ]
    found = []
    for index in range(number):
        failed = index % 9 == 5
        rewards = [((7 * index + 3 * each) % 11) / 11 for each in range(base.num_trajectories)]
        found.append(base.model_copy(update={
            "id": f"rk_{index}", "ask": f"ask_{index}",
            "group_id": f"step-{40 - index}/prompt-{index % 3}",
            "step": 40 - index, "at": AT - 60 * index, "prompt": prompts[index % 3],
            "rewards": None if failed else rewards, "code": "judge_unavailable" if failed else None,
            "outcome": "failed" if failed else "ranked", "cached": index % 5 == 3,
            "reliability": None if failed else 0.5 + rewards[0] / 2,
            "flags": [["steering:rewards"], []] if index % 7 == 2 else None,
            "lengths": [80 + 60 * each + 11 * (index % 4) for each in range(len(rewards))],
        }))  # fmt: skip
    return found
