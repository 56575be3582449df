"""Read the rows of a dataset on the Hugging Face hub, by the library `datasets`."""

from collections.abc import Callable
from typing import Any

from podium_trainer.tasks.data.rows import Row
from podium_trainer.tasks.task import TaskError


def hub_rows(
    name: str, subset: str | None, split: str, load: Callable[..., Any] | None = None
) -> list[Row]:
    """Load a split of a dataset; what was loaded once is read from the library's cache.

    Args:
        name: such as `openai/gsm8k`.
        subset: the configuration, where there are several.
        split: such as `train`, or `train[:1000]`.
        load: stands for `datasets.load_dataset`, in tests.

    Raises:
        TaskError: If `datasets` is not installed, or the dataset cannot be had.
    """
    load = load or import_load(name)
    try:
        table = load(name, subset, split=split)
        return [
            Row(f"{name} ({split}), row {number}", str(number), dict(values))
            for number, values in enumerate(table, 1)
        ]
    except Exception as error:  # the hub, the network or the data raise what they like
        words = " ".join(str(error).split())
        raise TaskError(
            f"task.options.path {name!r} is no file or folder here, and the hub's dataset of that"
            f" name (subset {subset}, split {split}) could not be loaded:"
            f" {type(error).__name__}: {words}"
        ) from error


def import_load(name: str) -> Callable[..., Any]:
    """Import `datasets.load_dataset`.

    Raises:
        TaskError: If it is not installed.
    """
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise TaskError(
            f"task.options.path {name!r} is no file or folder here; to load it from the Hugging"
            " Face hub: in the clone: pip install '.[data]'"
        ) from error
    load: Callable[..., Any] = load_dataset
    return load
