"""Recorded verdicts of real judges -> a judge that repeats them, about the pairs they were given.

    groups = list(pair_groups(Path("llmbar_pairs.jsonl")))
    rows = read_rows(Path("llmbar_recorded_pairwise.tsv"))
    judge = RecordedJudge(groups, rows, "GPT-4", "Vanilla")

It knows a pair by the keys of its two trajectories and answers what was recorded for the order in
which they stand: a letter to a choice, scores of 1 and 0 to a list of two. Where no winner was
recorded its reply is malformed. No noise is added: the record is the noise.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from benchmarks.content import Labelled, labelled
from benchmarks.judges.fit import Row
from benchmarks.judges.reading import NothingShown, read_question
from benchmarks.judges.replies import chat_completion
from benchmarks.judges.simulated import CASE

UNDECIDED = "I cannot decide between them."
EXPLANATION = "Recorded: the verdict given to this pair in this order."
OUTPUTS = ("1", "2")


def pair_groups(path: Path) -> Iterator[Labelled]:
    """Yield each pair as a group of two trajectories, "1" and "2", named `llmbar/SUBSET/IDX`.

    The truth is +1 for the human's choice and -1 for the other.
    """
    for line in path.read_bytes().splitlines():
        row = orjson.loads(line)
        members = [
            {
                "id": number,
                "messages": [
                    {"role": "user", "content": row["input"]},
                    {"role": "assistant", "content": row[f"output_{number}"]},
                ],
            }
            for number in OUTPUTS
        ]
        name = f"llmbar/{row['subset']}/{row['idx']}"
        group = {"group_id": name, "task": row["input"], "trajectories": members}
        truth = [1.0 if str(row["label"]) == number else -1.0 for number in OUTPUTS]
        yield labelled(group, truth)


class RecordedJudge:
    """One real judge with one prompt, replayed.

    Attributes:
        covered: the names of the groups it has verdicts for; ask it about no other.
    """

    def __init__(
        self, groups: Iterable[Labelled], rows: Iterable[Row], judge: str, method: str
    ) -> None:
        self._winners = {
            (_name(row), order): row[f"winner_order{order}"]
            for row in rows
            if (row["judge"], row["method"]) == (judge, method)
            for order in ("12", "21")
        }
        self._outputs = {
            case: (each.group["group_id"], number)
            for each in groups
            for case, number in zip(each.cases, OUTPUTS, strict=True)
        }
        self.covered = {name for name, _ in self._winners}

    def reply(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one chat request.

        Raises:
            NothingShown: If it does not show the two outputs of one recorded pair.
        """
        question = read_question(request)
        shown = [self._output(each.text) for each in question.shown]
        names, numbers = {name for name, _ in shown}, [number for _, number in shown]
        key = (shown[0][0], "".join(numbers))
        if len(names) != 1 or key not in self._winners:
            raise NothingShown(f"no verdict recorded for {key[1]} of {sorted(names)}")
        winner = self._winners[key]
        if winner not in numbers:
            return chat_completion(request, UNDECIDED)
        ids = {number: each.id for number, each in zip(numbers, question.shown, strict=True)}
        if question.form in ("choice", "best"):
            return chat_completion(request, ids[winner])
        verdict = {
            shown_id: {"explanation": EXPLANATION, "score": 1.0 if number == winner else 0.0}
            for number, shown_id in ids.items()
        }
        return chat_completion(request, json.dumps(verdict))

    def _output(self, text: str) -> tuple[str, str]:
        for found in CASE.finditer(text):
            if found[1] in self._outputs:
                return self._outputs[found[1]]
        raise NothingShown("a trajectory that is no output of a known pair")


def _name(row: Row) -> str:
    return f"llmbar/{row['subset']}/{row['idx']}"
