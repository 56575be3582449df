"""Groups with a known truth, kept apart from them: made up, recorded, or damaged on purpose.

Each trajectory carries a line `case 0123456789ab`; `Labelled.by_case` is what a simulated judge
looks it up in. The key is a digest of content and truth, so identical trajectories stay identical.

To add a kind of damage: write a function from messages to messages that makes any trajectory
strictly worse; put it at its place in `damage_ladder`; say in its docstring why it is worse.
"""

import copy
import hashlib
import itertools
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks.groups import CONVERTERS, Group, Message
from podium_service.http.requests.body import validate
from podium_service.schemas import RankRequest

WRITES = ("book", "update", "cancel", "send", "return", "exchange", "modify")
# Without grades of their own, steps of a ladder are evenly spaced; mean 0, standard deviation 1.
LADDER_TRUTH = tuple(step / 2**0.5 for step in (2.0, 1.0, 0.0, -1.0, -2.0))
CLAIM = "I have done everything you asked for and checked the result: it is all in place now."

SENTENCES = (
    "I looked at what was asked and split it into the steps that matter.",
    "The first lookup returned two candidates, and only one of them fits the dates.",
    "I compared the totals before and after the change, fees included.",
    "One of the sources disagreed, so I read the entry again and noted the difference.",
    "The limit leaves room for one more item, which I did not need.",
    "Nothing else had to be changed for this.",
    "I kept the order of the steps as it was requested.",
    "The remaining amount goes back to the same card.",
)


@dataclass(frozen=True)
class Labelled:
    """A group in the wire form and the truth about it.

    Attributes:
        group: as `POST /rank` takes it; it holds keys, no truth.
        cases: the key of each trajectory, in the group's order.
        truth: its quality, higher is better, in standard deviations over all groups of its kind.
    """

    group: Group
    cases: list[str]
    truth: list[float]

    @property
    def by_case(self) -> dict[str, float]:
        return dict(zip(self.cases, self.truth, strict=True))

    @property
    def by_id(self) -> dict[str, float]:
        ids = (trajectory["id"] for trajectory in self.group["trajectories"])
        return dict(zip(ids, self.truth, strict=True))


def truth_by_case(groups: Sequence[Labelled]) -> dict[str, float]:
    """Return the truth of all trajectories of some groups."""
    return {case: value for each in groups for case, value in each.by_case.items()}


def labelled(group: Group, truth: Sequence[float]) -> Labelled:
    """Write a key into every trajectory: at the head of the first assistant message that they do
    not all share, and the tail of the last, so that a cut in the middle leaves one.

    Raises:
        ValueError: If a trajectory has no assistant message.
        InvalidRequest: If the service would refuse the group.
    """
    keyed = copy.deepcopy(group)
    shared = _num_shared([trajectory["messages"] for trajectory in keyed["trajectories"]])
    cases = []
    for trajectory, value in zip(keyed["trajectories"], truth, strict=True):
        content = orjson.dumps([group["group_id"], trajectory["messages"], value])
        case = hashlib.sha256(content).hexdigest()[:12]
        _write_key(trajectory["messages"], shared, f"case {case}")
        cases.append(case)
    validate(RankRequest, keyed)
    return Labelled(keyed, cases, list(map(float, truth)))


def _num_shared(members: Sequence[Sequence[Message]]) -> int:
    """Return how many messages all trajectories begin with."""
    together = itertools.takewhile(
        lambda turns: all(turn == turns[0] for turn in turns), zip(*members, strict=False)
    )
    return sum(1 for _ in together)


def _write_key(messages: list[Message], shared: int, key: str) -> None:
    spoken = [message for message in messages if message["role"] == "assistant"]
    if not spoken:
        raise ValueError("a trajectory without an assistant message cannot carry a key")
    own = (message for message in messages[shared:] if message["role"] == "assistant")
    first, last = next(own, spoken[-1]), spoken[-1]
    first["content"] = f"{key}\n{first.get('content') or ''}".rstrip()
    if last is not first:
        last["content"] = f"{last.get('content') or ''}\n{key}".lstrip()


# Made up


def synthetic_groups(
    num: int, size: int, truth_sd: float, rng: np.random.Generator
) -> Iterator[Labelled]:
    """Make up groups of short tool-using trajectories, 0.5 to 2 kB each.

    Args:
        num: How many groups.
        size: Trajectories a group, at least 2.
        truth_sd: Standard deviation of their truth, which is normal with mean 0; 0 makes groups
            without signal. Lengths vary and tell nothing about it.
        rng: Decides everything.
    """
    for _ in range(num):
        name = f"synthetic/{rng.integers(2**48):012x}"
        task = f"Settle request {name[-6:]}: change what it names, within its limit, and report."
        members = [
            {"id": f"rollout-{n}", "messages": _made_up(task, rng), "finish_reason": "stop"}
            for n in range(size)
        ]
        group = {"group_id": name, "task": None, "trajectories": members}
        yield labelled(group, (truth_sd * rng.standard_normal(size)).tolist())


def _made_up(task: str, rng: np.random.Generator) -> list[Message]:
    said = rng.choice(SENTENCES, int(2 ** rng.uniform(1, 4.5))).tolist()
    call_id = f"call_{rng.integers(2**48):012x}"
    arguments = json.dumps({"request": task[15:21], "amount": int(rng.integers(10, 900))})
    function = {"name": "change_request", "arguments": arguments}
    half = len(said) // 2
    return [
        {"role": "user", "content": task},
        {
            "role": "assistant",
            "content": " ".join(said[:half]),
            "tool_calls": [{"id": call_id, "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": call_id, "content": f"recorded {rng.integers(10**6)}"},
        {"role": "assistant", "content": " ".join(said[half:])},
    ]


# Recorded


def real_groups(kind: str, path: Path) -> Iterator[Labelled]:
    """Yield recorded groups of a kind (`benchmarks.groups.CONVERTERS`), their labels as truth.

    Labels are scaled to mean 0 and standard deviation 1 over the file.
    """
    rows = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    labels = [[float(each["label"]) for each in row["candidates"]] for row in rows]
    every = [label for row_labels in labels for label in row_labels]
    mean, deviation = statistics.fmean(every), statistics.pstdev(every)
    for group, row_labels in zip(CONVERTERS[kind](path), labels, strict=True):
        yield labelled(group, [(label - mean) / deviation for label in row_labels])


# Damaged


def damage_ladders(path: Path) -> Iterator[Labelled]:
    """Yield a ladder from each recorded tau-bench win that has an act to leave out."""
    rows = (orjson.loads(line) for line in path.read_bytes().splitlines())
    for row, group in zip(rows, CONVERTERS["taubench"](path), strict=True):
        for candidate, trajectory in zip(row["candidates"], group["trajectories"], strict=True):
            if candidate["label"] == 1 and _last_write(trajectory["messages"]) is not None:
                name = f"{group['group_id']}/{trajectory['id']}"
                yield damage_ladder(group | {"group_id": name, "trajectories": [trajectory]})


def damage_ladder(group: Group) -> Labelled:
    """Damage a group's first trajectory, a winning one, in four steps.

    Best to worst: whole; the last act with a wrong argument; stopped before it; stopped halfway
    there; the same, then claiming success. Each step but the second takes away more of the one
    before; an honest failure is better than a false claim.

    Raises:
        ValueError: If it calls no tool that changes anything with an argument to spoil.
    """
    whole = group["trajectories"][0]["messages"]
    last = _last_write(whole)
    if last is None:
        raise ValueError(f"{group['group_id']} does nothing that can be left out")
    stopped, halfway = _before(whole, last), _before(whole, max(2, last // 2))
    claiming = [*halfway, {"role": "assistant", "content": CLAIM}]
    steps: dict[str, tuple[list[Message], str]] = {
        "whole": (whole, "stop"),
        "wrong-argument": (_wrong_argument(whole, last), "stop"),
        "act-dropped": (stopped, "stop"),
        "truncated": (halfway, "length"),
        "claim-without-act": (claiming, "stop"),
    }
    members = [
        {"id": name, "messages": messages, "finish_reason": reason}
        for name, (messages, reason) in steps.items()
    ]
    ladder = {**group, "group_id": f"ladder/{group['group_id']}", "trajectories": members}
    return labelled(ladder, LADDER_TRUTH)


def _last_write(messages: Sequence[Message]) -> int | None:
    """Return the index of the last message that calls a tool which changes something."""
    for index in range(len(messages) - 1, 1, -1):
        for call in messages[index].get("tool_calls") or ():
            function = call["function"]
            if function["name"].startswith(WRITES) and _spoiled(function["arguments"]):
                return index
    return None


def _before(messages: Sequence[Message], index: int) -> list[Message]:
    """Return the messages before an index, up to the last one that asks for no answer of a tool."""
    kept = list(messages[:index])
    while kept and kept[-1].get("tool_calls"):
        kept.pop()
    return copy.deepcopy(kept)


def _wrong_argument(messages: Sequence[Message], index: int) -> list[Message]:
    """Change one argument of the call at `index`, and its value in what follows, too.

    The record stays consistent, the wrong thing is done.
    """
    changed = copy.deepcopy(list(messages))
    for call in changed[index]["tool_calls"]:
        found = _spoiled(call["function"]["arguments"])
        if found:
            call["function"]["arguments"], old, new = found
            for message in changed[index + 1 :]:
                if message["role"] == "tool" and isinstance(message.get("content"), str):
                    message["content"] = message["content"].replace(old, new)
            break
    return changed


def _spoiled(arguments: str) -> tuple[str, str, str] | None:
    """Change one digit of the arguments, in the last value that has any.

    Returns:
        The arguments, and that value before and after; None if there is no digit.
    """
    parsed: Mapping[str, Any] = json.loads(arguments)
    for name, value in reversed(list(parsed.items())):
        old = json.dumps(value)
        place = max((i for i, char in enumerate(old) if char.isdigit()), default=-1)
        if place >= 0:
            new = f"{old[:place]}{(int(old[place]) + 1) % 10}{old[place + 1 :]}"
            return json.dumps({**parsed, name: json.loads(new)}), old.strip('"'), new.strip('"')
    return None
