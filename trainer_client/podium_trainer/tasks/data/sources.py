"""Find the rows that a path and a split mean: of a file, of a folder's files, or of the hub."""

import re
from dataclasses import replace
from pathlib import Path

from podium_trainer.tasks.data.hub import hub_rows
from podium_trainer.tasks.data.rows import READERS, Row, read_rows
from podium_trainer.tasks.task import TaskError

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
SPLITS = ("train", "test", "validation", "valid", "val", "dev", "eval")


def find_rows(path: str, *, split: str, subset: str | None) -> list[Row]:
    """Return all rows of a split.

    Args:
        path: a file, a folder, or a dataset of the hub.
        split: the split of a folder or a dataset.
        subset: the configuration of a dataset, or the subfolder of a folder.

    Raises:
        TaskError: If there are none, or they cannot be read.
    """
    if Path(path).is_dir():
        rows = folder_rows(Path(path), split, subset)
    else:
        rows = read_rows(Path(path)) if is_file(path) else hub_rows(path, subset, split)
    if not rows:
        raise TaskError(f"{path} holds no prompt: write one row for each")
    return rows


def find_held_out(path: str, held_out: str, subset: str | None) -> list[Row]:
    """Return the held-out rows: of a file or folder of their own, or of another split of `path`.

    Raises:
        TaskError: If there are none, or they cannot be read.
    """
    if Path(held_out).exists() or Path(held_out).suffix.lower() in READERS:
        return find_rows(held_out, split="test", subset=None)
    if is_file(path):
        raise TaskError(
            f"task.options.held_out {held_out!r} is no file here, and {path} has no splits: name a"
            " file, or a share of the prompts such as 0.05"
        )
    return find_rows(path, split=held_out, subset=subset)


def is_file(path: str) -> bool:
    """Return whether a path can only be a file's, and not a folder's or a dataset's."""
    if Path(path).is_dir():
        return False
    named = Path(path).suffix.lower() in READERS or not HUB_NAME.fullmatch(path)
    return named or Path(path).exists()


def folder_rows(folder: Path, split: str, subset: str | None) -> list[Row]:
    """Return the rows of a folder as repositories of datasets have them.

    The files of a split have its name: `train.jsonl`, `data/train-00000-of-00002.parquet`,
    `train/a.parquet`. Without any split's name, all files are the split `train`.

    Raises:
        TaskError: If the folder has no file of the split.
    """
    root = folder / subset if subset else folder
    files = sorted(file for file in root.rglob("*") if is_data(file, root))
    chosen = [file for file in files if split in words(file, root)]
    if not chosen and split == "train":
        chosen = [file for file in files if not words(file, root) & set(SPLITS)]
    if not chosen:
        names = ", ".join(str(file.relative_to(root)) for file in files[:8]) or "none"
        raise TaskError(
            f"{root} has no file of the split {split!r}; its files: {names}. Name a file as its"
            f" split, such as {split}.jsonl, or set split or subset"
        )
    if len(chosen) == 1:
        return read_rows(chosen[0])
    return [replace(row, file=own_name(file, root)) for file in chosen for row in read_rows(file)]


def is_data(file: Path, root: Path) -> bool:
    """Return whether a file may hold rows: by its ending, and not hidden."""
    hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
    return file.is_file() and file.suffix.lower() in READERS and not hidden


def words(file: Path, root: Path) -> set[str]:
    """Return the words of a file's path below a root, among which may be the name of a split."""
    return set(re.split(r"[^a-zA-Z0-9]+", own_name(file, root))) | {file.stem}


def own_name(file: Path, root: Path) -> str:
    """Return the path of a file below a root, without its ending."""
    return str(file.relative_to(root).with_suffix(""))
