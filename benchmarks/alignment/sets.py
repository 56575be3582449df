"""Recorded rollouts -> sets of groups with their truth, each in two halves.

`addition` comes with the benchmark (`benchmarks.record_rollouts`), at four stages of training; the
other sets are read from a folder, where it has their files. Truth is +1 for right and -1 for wrong,
or labels scaled to standard deviation 1 over the file.

To add a set: write a function from a folder to groups with their truth; enter it in `SETS`, and
what is special about it, if anything, in its docstring.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from benchmarks.content import Labelled, labelled, real_groups
from benchmarks.groups import CONVERTERS, Group, gsm8k_groups
from benchmarks.record_rollouts import ROLLOUTS, STAGES
from podium_trainer.tasks.addition import EXAMPLE

Known = tuple[Group, list[float]]  # a group without keys, and its truth


@dataclass(frozen=True)
class GroupSet:
    """Groups of one kind.

    Attributes:
        name: for people, with the share of right answers of a stage.
        halves: each is ranked once by a judge that is new, and once after the other half.
    """

    name: str
    halves: tuple[list[Labelled], list[Labelled]]
    facts: dict[str, Any] = field(default_factory=dict)


def addition_stage(stage: int, folder: Path) -> Iterator[Known]:
    """Yield the groups of one stage of training; two of a problem are in different halves."""
    lines = [orjson.loads(line) for line in ROLLOUTS.read_bytes().splitlines()]
    chosen = [line for line in lines if line["stage"] == stage]
    random.Random(stage).shuffle(chosen)
    chosen.sort(key=lambda line: int(line["sample"]))
    for line in chosen:
        yield _addition_group(line), [2.0 * right - 1.0 for right in line["right"]]


def _addition_group(line: dict[str, Any]) -> Group:
    asked = [*EXAMPLE, {"role": "user", "content": line["prompt"]}]
    members = zip(line["answers"], line["finish_reasons"], strict=True)
    trajectories = [
        {
            "id": str(number),
            "messages": [*asked, {"role": "assistant", "content": answer}],
            "finish_reason": reason,
        }
        for number, (answer, reason) in enumerate(members)
    ]
    name = f"addition-{line['stage']}/{line['sample']}/{line['prompt']}"
    return {"group_id": name, "task": None, "trajectories": trajectories}


def recorded(kind: str, file: str, folder: Path) -> Iterator[Known]:
    """Yield groups of a kind that `benchmarks.groups` converts, in a fixed random order."""
    path = folder / file
    truths = [each.truth for each in real_groups(kind, path)]
    pairs = list(zip(CONVERTERS[kind](path), truths, strict=True))
    random.Random(kind).shuffle(pairs)
    yield from pairs


def gsm8k_with_reference(folder: Path) -> Iterator[Known]:
    """Yield GSM8K's groups in the same order with the gold solution, which the judge is shown."""
    path = folder / FILES["gsm8k"]
    referenced = {group["group_id"]: group for group in gsm8k_groups(path, reference=True)}
    for group, truth in recorded("gsm8k", FILES["gsm8k"], folder):
        yield referenced[group["group_id"]], truth


FILES = {
    "gsm8k": "gsm8k_groups4.jsonl",
    "intercode-sql": "intercode_sql_step_groups.jsonl",
    "taubench": "taubench_gpt4o_airline_groups.jsonl",
}
SETS: dict[str, Callable[[Path], Iterator[Known]]] = {
    **{f"addition-{stage}": partial(addition_stage, stage) for stage in range(len(STAGES))},
    "gsm8k": partial(recorded, "gsm8k", FILES["gsm8k"]),
    "gsm8k-reference": gsm8k_with_reference,
    "intercode-sql": partial(recorded, "intercode-sql", FILES["intercode-sql"]),
    "taubench": partial(recorded, "taubench", FILES["taubench"]),
}
# A simulated judge knows the truth with and without a reference.
SIMULATED_SETS = tuple(name for name in SETS if name != "gsm8k-reference")


def read_set(name: str, folder: Path, per_half: int, *, keyed: bool) -> GroupSet | None:
    """Read at most so many groups a half; None if the folder has no such file.

    Args:
        keyed: whether trajectories carry keys, which simulated judges need and real ones must not
            see.
    """
    try:
        known = list(SETS[name](folder))
    except FileNotFoundError:
        return None
    middle = len(known) // 2
    parts = known[:middle][:per_half], known[middle:][:per_half]
    first, second = ([_labelled(*each, keyed) for each in part] for part in parts)
    values = [value for part in parts for _, truth in part for value in truth]
    mixed = sum(len(set(truth)) > 1 for part in parts for _, truth in part)
    facts = {
        "groups": len(first) + len(second),
        "mixed": mixed,
        "good": round(sum(value > 0 for value in values) / len(values), 3),
    }
    return GroupSet(name, (first, second), facts)


def _labelled(group: Group, truth: Sequence[float], keyed: bool) -> Labelled:
    return labelled(group, truth) if keyed else Labelled(group, [], list(truth))
