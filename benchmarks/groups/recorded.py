"""Groups out of recorded trajectories.

A source row is `{source, task, query | instruction, candidates: [{id, label, ...}]}`. Groups come
out in the order of the rows and keep the candidates' ids, which is how to join them to the labels
again; no label, reward or gold action is ever in a group.

To add a source: write a generator from path to groups that ends in `make_group(...)`; add it to
`CONVERTERS`; run `python -m benchmarks.groups` on its file.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from benchmarks.groups.wire import Group, Message, make_call, make_group, make_turn


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines):
            yield number, orjson.loads(line)


def taubench_groups(path: Path) -> Iterator[Group]:
    """Yield airline agents with tools; the task shown is the hidden instruction of their user."""
    for _, row in _rows(path):
        yield make_group(
            f"taubench-airline/{row['task']}",
            row["instruction"],
            [{"id": c["id"], "messages": c["messages"]} for c in row["candidates"]],
        )


def intercode_sql_groups(path: Path) -> Iterator[Group]:
    """Yield groups of one SQL query each, as a call of a `sql` tool that the database answers."""
    for _, row in _rows(path):
        yield make_group(
            f"intercode-sql/{row['task']}",
            row["query"],
            [
                {
                    "id": c["id"],
                    "messages": _shell(row["query"], "sql", [(c["text"], c["observation"])]),
                }
                for c in row["candidates"]
            ],
        )


def intercode_bash_groups(path: Path) -> Iterator[Group]:
    """Yield shell agents of several turns, as calls of a `bash` tool.

    A row's task names only the file system the agents worked on, so its number names the group.
    """
    for number, row in _rows(path):
        yield make_group(
            f"intercode-bash/{number}",
            row["query"],
            [
                {
                    "id": c["id"],
                    "messages": _shell(
                        row["query"],
                        "bash",
                        [(step["action"], step["observation"]) for step in c["steps"]],
                    ),
                }
                for c in row["candidates"]
            ],
        )


def _shell(query: str, tool: str, steps: Sequence[tuple[str, str]]) -> list[Message]:
    argument = {"sql": "query", "bash": "command"}[tool]
    turns = (
        make_turn(None, make_call(f"call_{number}", tool, **{argument: action}), observation)
        for number, (action, observation) in enumerate(steps)
    )
    return [{"role": "user", "content": query}, *itertools.chain.from_iterable(turns)]


def gsm8k_groups(path: Path, *, reference: bool = False) -> Iterator[Group]:
    """Yield written solutions of word problems.

    With `reference`, the gold solution goes into the group's `reference`, which judges are shown
    and checks compare with; without it a judge has to know better by itself.
    """
    for _, row in _rows(path):
        group = make_group(
            f"gsm8k/{row['task']}",
            row["query"],
            [
                {
                    "id": c["id"],
                    "messages": [
                        {"role": "user", "content": row["query"]},
                        {"role": "assistant", "content": c["text"]},
                    ],
                }
                for c in row["candidates"]
            ],
        )
        yield group | {"reference": row["reference"]} if reference else group


CONVERTERS: dict[str, Callable[[Path], Iterator[Group]]] = {
    "taubench": taubench_groups,
    "intercode-sql": intercode_sql_groups,
    "intercode-bash": intercode_bash_groups,
    "gsm8k": gsm8k_groups,
}
