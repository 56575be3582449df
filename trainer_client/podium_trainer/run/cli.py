"""The `podium-train` command: train or show a run, and print a known error as one line."""

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from podium_trainer.config import TrainConfig
from podium_trainer.config.sampling import DEFAULT_URLS
from podium_trainer.run.interrupt import interruptible
from podium_trainer.run.recipe import RecipeError, Resume, read_command_line

if TYPE_CHECKING:
    from podium_trainer.policy.ranks.processes import Ranks


def run(arguments: Sequence[str]) -> int:
    """Train, or show a run, as the command line says, and return the exit status."""
    if arguments[:1] == ["--version"]:
        say(f"podium-train {version('podium')}\n")
        return 0
    if arguments[:1] == ["show"]:
        return run_show(arguments[1:])
    try:
        config, resume = read_command_line(arguments)
    except RecipeError as error:  # of torchrun's processes one is enough to say it
        return fail(str(error), 2) if os.environ.get("RANK", "0") == "0" else 2
    if config.ray and "RANK" not in os.environ:
        return run_on_ray(config, arguments)
    # Torch takes two seconds to import, which --help and a wrong setting need not wait for.
    from podium_trainer.policy.ranks.processes import open_ranks
    from podium_trainer.records.checkpoint import checkpoints
    from podium_trainer.run.build import KNOWN_ERRORS
    from podium_trainer.run.folder import after_restart
    from podium_trainer.run.learner import follow
    from podium_trainer.tasks.user_code import UserCodeError

    silence_libraries()
    try:
        with interruptible(), open_ranks(os.environ) as ranks:
            if ranks.rank == 0:
                train(config, after_restart(config.out, resume, os.environ), ranks)
            else:  # a signal to stop comes to all, and rank 0 needs the others to save
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                follow(ranks)
    except KNOWN_ERRORS as error:
        if isinstance(error, UserCodeError):
            show(error.traceback())
        return fail(str(error), 1)
    except KeyboardInterrupt:
        saved = checkpoints(config.out / "checkpoints")
        hint = f"--resume goes on from {saved[-1].name}" if saved else "there is no checkpoint yet"
        return fail(f"stopped; {hint}", 130)
    return 0


def run_on_ray(config: TrainConfig, arguments: Sequence[str]) -> int:
    """Have Ray start the trainer, show what it writes, and return its exit status."""
    from podium_trainer.samplers import SamplerError
    from podium_trainer.samplers.launch.cluster import require_ray

    try:
        require_ray()
        from podium_trainer.samplers.launch.cluster.ranks import keep_up

        with interruptible():
            return keep_up(config, arguments, say, lambda line: show(line, "podium-train: "))
    except SamplerError as error:
        return fail(str(error), 1)
    except KeyboardInterrupt:  # rank 0 has said from where to go on
        return 130


def say(text: str) -> None:
    """Print what another process has printed."""
    from podium_trainer.display.watch import write_or_drop

    write_or_drop(sys.stdout, text)


def train(config: TrainConfig, resume: Resume, ranks: "Ranks") -> None:
    """Train to the end of the run."""
    from podium_trainer.display.watch import open_watcher
    from podium_trainer.run.build import open_trainer

    with open_watcher(config) as watcher:
        if config.ray is None and config.ranks not in (1, ranks.size):
            watcher.note(f"ranks {config.ranks} counts with --ray only; this run has {ranks.size}")
        if config.sampler.kind == "local" and config.sampler.urls != DEFAULT_URLS:
            watcher.note("sampler.urls count with --sampler vllm only; this run samples here")
        with open_trainer(config, watcher, resume, ranks) as trainer:
            watcher.begin()
            try:
                trainer.run()
            except Exception:
                if trainer.saved_step:
                    watcher.note(f"saved: --resume goes on from step {trainer.saved_step}")
                raise


def run_show(arguments: Sequence[str]) -> int:
    """Show what was sampled in a run, and return the exit status."""
    from podium_trainer.run.show import ShowError, show

    try:
        return show(arguments)
    except ShowError as error:
        return fail(str(error), 1)


def silence_libraries() -> None:
    """Hide the libraries' progress bars, except for downloads, and what they tell each other.

    Both would break the display, and warnings of what will be renamed are not for users.
    """
    # Without it tokenizers prints a warning for each forked process.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from huggingface_hub.utils.tqdm import enable_progress_bars
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # not typed there
    enable_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning, module="(peft|transformers)\\.")


def fail(message: str, status: int) -> int:
    """Print the message to stderr, and return the exit status."""
    show(message, "podium-train: ")
    return status


def show(text: str, prefix: str = "") -> None:
    """Print a text to stderr, line by line, with nothing that could steer a terminal."""
    from podium_trainer.display.text import visible

    for line in text.splitlines():
        sys.stderr.write(f"{prefix}{visible(line)}\n")
