"""Train on prompts from a file, a folder or a dataset of the Hugging Face hub.

sources   which files, or which dataset, a path and a split mean
rows      the rows of a JSONL, JSON, CSV or Parquet file
hub       the rows of a dataset, by the library `datasets`
columns   a row becomes a prompt
split     a share of the prompts is held out
"""

from collections.abc import Mapping
from dataclasses import replace
from os.path import expanduser

from podium_trainer.tasks.data.columns import Columns, to_prompts
from podium_trainer.tasks.data.sources import find_held_out, find_rows
from podium_trainer.tasks.data.split import hold_out, without_shared
from podium_trainer.tasks.scorers import find_scorer
from podium_trainer.tasks.task import Prompt, Task, TaskError

HELD_OUT = "held_out/"  # begins the ids of held-out prompts where a training prompt has the same


def data(
    path: str,
    *,
    columns: Mapping[str, str] | None = None,
    split: str = "train",
    subset: str | None = None,
    held_out: float | str | None = None,
    scorer: str = "exact",
    seed: int = 0,
) -> Task:
    """Build a task from rows such as `{"prompt": "Name a prime.", "reference": "7"}`.

    Args:
        path: a file (.jsonl, .json, .csv, .parquet), a folder of such files, or the name of a
            dataset on the Hugging Face hub.
        columns: the names of the columns that are the `prompt` (a text or chat messages), the
            `reference`, the `id` and the `task` of a prompt, where they have other names.
        split: the part of a folder or a dataset to train on.
        subset: the configuration of a dataset, or the subfolder of a folder.
        held_out: the share of prompts that are never trained on, another file or folder, or another
            split of the same folder or dataset; None for no held-out prompt.
        scorer: how right a held-out attempt is: a name in `scorers.SCORERS` or module:function.
        seed: decides which prompts are the held-out share.

    Raises:
        TaskError: If something cannot be read, a row has another form, or there is no row.
    """
    names = Columns.read(columns or {})
    path = expanduser(path)
    held_out = expanduser(held_out) if isinstance(held_out, str) else held_out
    score = find_scorer(scorer)
    train = to_prompts(find_rows(path, split=split, subset=subset), names, prefix="")
    if held_out is None:
        return Task(train, score=score)
    if not isinstance(held_out, str):
        train, test = hold_out(train, held_out, seed)
        return Task(train, test, score=score)
    test = to_prompts(find_held_out(path, held_out, subset), names, prefix=HELD_OUT)
    taken = {prompt.id for prompt in train}
    test = [replace(each, id=HELD_OUT + each.id) if each.id in taken else each for each in test]
    return without_leaks(path, train, test, Task(train, test, score=score))


def without_leaks(path: str, train: list[Prompt], test: list[Prompt], task: Task) -> Task:
    """Return the task without the training prompts that are held out, too, and say how many.

    Raises:
        TaskError: If no prompt is left to train on.
    """
    kept = without_shared(train, test)
    shared = len(train) - len(kept)
    if not shared:
        return task
    if not kept:
        raise TaskError(f"every prompt of {path!r} is also held out: name another held_out")
    note = f"{shared} of {len(train)} prompts to train on are also held out, and were left out"
    return Task(kept, test, score=task.score, notes=[note])
