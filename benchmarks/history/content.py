"""Fill a store with groups, their calls, and what these tell and cost; and make groups to write.

All is synthetic: 20 runs of 250 steps, three judges, 2% failures, 10% answers from the store, two
calls a group, of which 1% are no verdict.
"""

import random
import time
from functools import partial
from typing import Any

import orjson
import sqlalchemy as sa

from podium_service.schemas import Ranking, RankRequest, TrajectoryResult, Usage
from podium_service.store.asks.ids import AskIds, ask_name
from podium_service.store.asks.records import Ask
from podium_service.store.database.tables import ASKS, CALLS, LEDGER, PAST_GROUPS
from podium_service.store.store import SQLStore

RUNS, STEPS, SIZE = 20, 250, 8
JUDGES = [f"judge-{number}" for number in range(3)]
AT_ONCE = 5000
CALLS_A_GROUP = 2
WORDS = ["sum", "of", "two", "numbers", "that", "were", "given", "in", "the", "second", "letter"]
_USAGE = orjson.dumps(
    {"calls": 1, "prompt_tokens": 4000, "completion_tokens": 40, "cost_usd": 0.001}
)
_PAST = {"length": SIZE, "items": SIZE, "information": 2.0, "ss_items": 1.0, "ss_raw": 0.1,
         "df_raw": 7.0, "slot_xtx": [], "slot_xty": []}  # fmt: skip


async def fill(store: SQLStore, groups: int) -> str:
    """Write groups in bulk, and return the name of the newest ask."""
    draw, ids = random.Random(0), AskIds()
    rows: dict[sa.Table, list[dict[str, Any]]] = {ASKS: [], CALLS: [], PAST_GROUPS: []}
    first = time.time() - groups
    last = 0
    for number in range(groups):
        at = first + number
        last = ids.next(at)
        ask = row(draw, last, number, groups)
        rows[ASKS].append(ask)
        if not ask["code"] and not ask["cached"]:
            key = f"{draw.getrandbits(256):064x}"
            rows[CALLS] += [call(draw, key, index, ask, at) for index in range(CALLS_A_GROUP)]
            rows[PAST_GROUPS].append(past_group(draw, key, ask["judge"], at))
        if len(rows[ASKS]) == AT_ONCE or number == groups - 1:
            await store.run_in_transaction(partial(insert, rows))
            rows = {table: [] for table in rows}
    await store.run_in_transaction(partial(insert, {LEDGER: ledger_rows(draw)}))
    return ask_name(last)


def insert(rows: dict[sa.Table, list[dict[str, Any]]], connection: sa.Connection) -> None:
    """Insert rows by table."""
    for table, some in rows.items():
        if some:
            connection.execute(sa.insert(table), some)


def call(
    draw: random.Random, key: str, index: int, ask: dict[str, Any], at: float
) -> dict[str, Any]:
    """Return the row of one call of a group, without its prompt."""
    has_fault = draw.random() < 0.01
    return {
        "id": f"{int(at * 1e6):016x}{draw.getrandbits(64):016x}",
        "key": key,
        "pass_index": index,
        "created_at": at,
        "judge": ask["judge"],
        "api_key_id": "",
        "run": ask["run"],
        "model": ask["model"],
        "prompt": b"[]",
        "reply": b"no verdict" if has_fault else b"",
        "finish_reason": "stop",
        "verdict": None,
        "fault": b"the reply is no JSON" if has_fault else None,
        "usage": _USAGE,
        "latency_s": draw.random(),
    }


def past_group(draw: random.Random, key: str, judge: str, at: float) -> dict[str, Any]:
    """Return the row of what a group told about the noise of its judge."""
    past = _PAST | {"ss_raw": 0.2 * draw.random()}
    return {
        "key": key, "judge_key": judge, "has_residuals": True, "created_at": at,
        "past": orjson.dumps(past), "noise": None,
    }  # fmt: skip


def ledger_rows(draw: random.Random) -> list[dict[str, Any]]:
    """Return what each judge cost in each run on thirty days."""
    return [
        {"day": f"2026-11-{day + 1:02}", "api_key_id": "", "judge": judge, "run": f"run-{run}",
         "calls": 100, "tokens": 400_000, "cost_usd": draw.random()}
        for day in range(30) for judge in JUDGES for run in range(RUNS)
    ]  # fmt: skip


def problem(code: str) -> dict[str, Any]:
    """Return what a failed group was answered."""
    return {"type": f"urn:podium:{code}", "title": "No", "status": 502, "detail": "main: no",
            "code": code, "retryable": False, "request_id": ""}  # fmt: skip


def row(draw: random.Random, ask: int, number: int, groups: int) -> dict[str, Any]:
    """Return the row of one request, as a service would have written it."""
    failed, per_run = draw.random() < 0.02, max(1, groups // RUNS)
    rewards = sorted(draw.random() for _ in range(SIZE))
    if draw.random() < 0.03:
        rewards = [0.5] * SIZE
    code = draw.choice(["judge_unavailable", "verdict_invalid", "deadline_exceeded"])
    return {
        "id": ask,
        "ranking_id": f"rk_{draw.getrandbits(80):020x}",
        "run": f"run-{number // per_run}",
        "step": (number % per_run) * STEPS // per_run,
        "group_id": f"step-{number % per_run}/prompt-{number % 64}",
        "prompt_id": f"p{number % 64}",
        "judge": draw.choice(JUDGES),
        "code": code if failed else None,
        "kind": None,
        "win_rate": None,
        "verified": None,
        "cached": draw.random() < 0.1,
        "reliability": None if failed else draw.random(),
        "spread": None if failed else rewards[-1] - rewards[0],
        "ties": None if failed else 0.0,
        "agreement": None,
        "mean_score": None if failed else draw.random(),
        "mean_length": 900 * draw.random(),
        "truncated": draw.randrange(2),
        "longest_wins": None if failed else draw.random() < 0.3,
        "check_disagrees": None,
        "latency_s": draw.random(),
        "cost_usd": 0.001 * draw.random(),
        "tokens": draw.randrange(9000),
        "num_trajectories": SIZE,
        "model": "gpt-5-mini",
        "method": "listwise",
        "passes": 2,
        "api_key_id": None,
        "request_id": f"{draw.getrandbits(64):016x}",
        "prompt": " ".join(draw.choices(WORDS, k=36)),
        "flags": None,
        "ids": orjson.dumps([f"t{index}" for index in range(SIZE)]),
        "rewards": None if failed else orjson.dumps(rewards),
        "lengths": orjson.dumps([draw.randrange(2000) for _ in range(SIZE)]),
        "problem": orjson.dumps(problem(code)) if failed else None,
        "metadata": orjson.dumps({"run": "r", "step": 1}),
        "calls": None,
        "transcript": None,
        "answer": None,
    }


def ask_of(draw: random.Random, ids: AskIds, number: int) -> Ask:
    """Return a request for a ranking that cost two calls."""
    prompt = {"role": "user", "content": " ".join(draw.choices(WORDS, k=200))}
    trajectories = [
        {
            "id": f"t{index}",
            "messages": [
                prompt,
                {"role": "assistant", "content": " ".join(draw.choices(WORDS, k=300))},
            ],
        }
        for index in range(SIZE)
    ]
    request = RankRequest.model_validate(
        {"trajectories": trajectories, "metadata": {"run": "w", "step": number // 8}}
    )
    results = [
        TrajectoryResult(
            id=f"t{index}", rank=index + 1, reward=draw.random(), score=0.5, stderr=0.1
        )
        for index in range(SIZE)
    ]
    usage = Usage(calls=2, prompt_tokens=4000, completion_tokens=80, cost_usd=0.001)
    ranking = Ranking(
        id=f"rk_{draw.getrandbits(80):020x}", group_id=None, judge="main", model="m",
        method="listwise", passes=2, results=results, reliability=0.8, cached=False, usage=usage,
    )  # fmt: skip
    key = f"{draw.getrandbits(256):064x}"
    return Ask(
        ids.next(), request, ranking, "main", key, {key: list(range(SIZE))}, usage, latency_s=1.0
    )
