"""Send the numbers of a run to dashboards: TensorBoard, Weights & Biases and trackio.

Each tracker is a `Listener`. Timings have the prefix `time/` there, so that both kinds of rows can
go to one run.
"""

import uuid
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from podium_trainer.config import TrainConfig
from podium_trainer.records.metrics import Listener, Row
from podium_trainer.records.rollouts.table import Cell

TIME = "time/"


class TrackerError(Exception):
    """A tracker cannot be used; the message is one line that says why and what to do."""


class TensorBoard:
    """TensorBoard's event files in a folder.

    Args:
        folder: the folder of the event files; a resumed run adds a file.
        start: the step that the run resumes from. Later steps in earlier files are hidden, because
            they are done again.
    """

    def __init__(self, folder: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=start + 1 if start else None)

    def log(self, step: int, row: Row) -> None:
        for name, value in numbers_of(row).items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class Wandb:
    """A run at Weights & Biases, which is the same one after a resume.

    Steps that a resumed run does again are logged again with the same values. `step` is a metric of
    its own, because wandb's own step never goes back.

    Args:
        project: the name of the project.
        out: the run's folder, which holds `wandb_id`.
        settings: the run's config.

    Raises:
        TrackerError: If wandb cannot start a run, as without a key.
    """

    def __init__(self, project: str, out: Path, settings: dict[str, Any]) -> None:
        import wandb

        out.mkdir(parents=True, exist_ok=True)
        try:
            self._run = wandb.init(
                project=project,
                dir=out,
                config=settings,
                name=out.resolve().name,
                id=read_or_make_id(out / "wandb_id"),
                resume="allow",
                settings=wandb.Settings(console="off", silent=True),
            )
        except wandb.Error as error:
            raise TrackerError(f"log.wandb: {error}") from error
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, row: Row) -> None:
        self._run.log({"step": step, **numbers_of(row)})

    def log_table(self, step: int, columns: Sequence[str], rows: Sequence[list[Cell]]) -> None:
        """Show a table under `completions`."""
        import wandb

        table = wandb.Table(columns=list(columns), data=list(rows))
        self._run.log({"step": step, "completions": table})

    def close(self) -> None:
        self._run.finish()


class Trackio:
    """A run of trackio, on this machine or where its own variables say; it resumes as `Wandb` does.

    Args:
        project: the name of the project.
        out: the run's folder, which holds `trackio_id`, the end of the run's name.
        settings: the run's config.

    Raises:
        TrackerError: If trackio cannot start a run.
    """

    def __init__(self, project: str, out: Path, settings: dict[str, Any]) -> None:
        import trackio

        out.mkdir(parents=True, exist_ok=True)
        try:
            self._run = trackio.init(
                project=project,
                name=f"{out.resolve().name}-{read_or_make_id(out / 'trackio_id')}",
                config=settings,
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        except (ValueError, OSError, RuntimeError) as error:
            raise TrackerError(f"log.trackio: {error}") from error

    def log(self, step: int, row: Row) -> None:
        self._run.log(numbers_of(row), step=step)

    def log_table(self, step: int, columns: Sequence[str], rows: Sequence[list[Cell]]) -> None:
        """Show a table under `completions`."""
        import trackio

        table = trackio.Table(columns=list(columns), data=list(rows))
        self._run.log({"completions": table}, step=step)

    def close(self) -> None:
        self._run.finish()


class Prefixed:
    """A listener that passes rows on with a prefix before each name, and does not close."""

    def __init__(self, listener: Listener, prefix: str) -> None:
        self._listener = listener
        self._prefix = prefix

    def log(self, step: int, row: Row) -> None:
        self._listener.log(step, {f"{self._prefix}{name}": v for name, v in row.items()})

    def close(self) -> None: ...


class Together:
    """A listener that passes rows on to several listeners."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners

    def log(self, step: int, row: Row) -> None:
        for listener in self._listeners:
            listener.log(step, row)

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()


def check_trackers(config: TrainConfig) -> None:
    """Check that the packages of the configured trackers are installed.

    Raises:
        TrackerError: If a package is missing.
    """
    if config.log.tensorboard:
        require_package("log.tensorboard", "tensorboard")
    if config.log.wandb:
        require_package("log.wandb", "wandb")
    if config.log.trackio:
        require_package("log.trackio", "trackio")


def require_package(setting: str, package: str) -> None:
    if find_spec(package) is None:
        raise TrackerError(f"{setting}: {package} is not installed: run pip install {package}")


def open_trackers(config: TrainConfig, start: int) -> list[Listener]:
    """Open the trackers that the config names.

    Args:
        config: all settings of the run.
        start: the step that the run resumes from; 0 for a new run.

    Raises:
        TrackerError: If Weights & Biases cannot start a run; no other tracker is open then.
    """
    trackers: list[Listener] = []
    if config.log.wandb:
        trackers.append(Wandb(config.log.wandb, config.out, config.model_dump(mode="json")))
    if config.log.trackio:
        trackers.append(Trackio(config.log.trackio, config.out, config.model_dump(mode="json")))
    if config.log.tensorboard:
        trackers.append(TensorBoard(config.out / "tensorboard", start))
    return trackers


def read_or_make_id(path: Path) -> str:
    """Return the id in a file; write a new one if there is none."""
    if not path.is_file():
        path.write_text(uuid.uuid4().hex[:12])
    return path.read_text().strip()


def numbers_of(row: Row) -> dict[str, float]:
    return {name: value for name, value in row.items() if isinstance(value, int | float)}
