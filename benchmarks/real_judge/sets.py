"""The sets of groups on which a judge is measured, each with the truth about its attempts.

`easy` and `arithmetic` are made up; the others are read from a folder, where it has their files.

To add a set: write a function from a folder to groups with their truth; enter it in `SETS`.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import orjson

from benchmarks.alignment.sets import FILES, gsm8k_with_reference, recorded
from benchmarks.content import Labelled, labelled
from benchmarks.groups import Group
from benchmarks.real_judge.made_up import Known, answers_to, easy_pairs, sums
from podium_service.prompts.transcript import transcribe
from podium_service.schemas import RankRequest

LLMBAR = "llmbar_pairs.jsonl"
SQL_SIZE = 6  # of a group; the file has larger ones
MADE_UP = ("easy", "arithmetic")


@dataclass(frozen=True)
class GroupSet:
    """Groups of one kind, of which no two attempts are the same.

    Attributes:
        num_attempts: in each group.
    """

    name: str
    groups: list[Labelled]
    num_attempts: int


def llmbar(is_adversarial: bool, folder: Path) -> Iterator[Known]:
    """Yield pairs on which people agree; the worse one of an adversarial pair looks better."""
    rows = [orjson.loads(line) for line in (folder / LLMBAR).read_bytes().splitlines()]
    prefix = "Adv-" if is_adversarial else "Natural"
    chosen = [row for row in rows if row["subset"].startswith(prefix)]
    random.Random(0).shuffle(chosen)
    for row in chosen:
        name = f"llmbar/{row['subset']}/{row['idx']}"
        truth = [float(row["label"] == 1), float(row["label"] == 2)]
        yield answers_to(name, row["input"], [row["output_1"], row["output_2"]]), truth


def sql(folder: Path) -> Iterator[Known]:
    """Yield queries with their results."""
    for group, truth in recorded("intercode-sql", FILES["intercode-sql"], folder):
        if len(truth) == SQL_SIZE:
            yield group, truth


SETS: dict[str, Callable[[Path], Iterator[Known]]] = {
    "arithmetic": lambda _: sums(),
    "easy": lambda _: easy_pairs(),
    "gsm8k": partial(recorded, "gsm8k", FILES["gsm8k"]),
    "gsm8k-reference": gsm8k_with_reference,
    "llmbar-natural": partial(llmbar, False),
    "llmbar-adversarial": partial(llmbar, True),
    "intercode-sql": sql,
}
USUAL = {"arithmetic": 60, "gsm8k": 60, "gsm8k-reference": 60, "intercode-sql": 60}
USUAL_PAIRS = 100


def read_set(name: str, folder: Path, most: int, *, is_keyed: bool) -> GroupSet | None:
    """Read at most so many groups whose attempts differ; None if the folder has no such file.

    Args:
        is_keyed: whether attempts carry keys, which simulated judges need and real ones must not
            see.
    """
    try:
        groups = list(islice(_differing(SETS[name](folder)), most))
    except FileNotFoundError:
        return None
    known = [
        labelled(group, truth) if is_keyed else Labelled(group, [], truth)
        for group, truth in groups
    ]
    return GroupSet(name, known, len(known[0].truth))


def _differing(known: Iterator[Known]) -> Iterator[Known]:
    """Yield groups of distinct, not equally good attempts, without a task that is the message."""
    for group, truth in known:
        bare = _without_repeated_task(group)
        request = RankRequest.model_validate(bare)
        distinct = transcribe(request, range(len(truth))).bodies
        if len(distinct) == len(truth) and len(set(truth)) > 1:
            yield bare, truth


def _without_repeated_task(group: Group) -> Group:
    asked: Sequence[dict[str, str]] = group["trajectories"][0]["messages"]
    return {**group, "task": None} if asked[0]["content"] == group["task"] else group
