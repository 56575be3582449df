"""The `podium-train` command: read settings, train, say in one line what went wrong."""

import os
import signal
import sys
from collections.abc import Sequence

from podium_trainer.run.recipe import RecipeError, read_command_line


def run(arguments: Sequence[str]) -> int:
    """Train as the command line says; the exit status."""
    try:
        config, resume = read_command_line(arguments)
    except RecipeError as error:
        return fail(str(error), 2)
    from podium_trainer.display.watch import open_watcher
    from podium_trainer.records.checkpoint import checkpoints
    from podium_trainer.run.build import KNOWN_ERRORS, open_trainer  # torch takes two seconds

    silence_libraries()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop is a ctrl-C
    try:
        with (
            open_watcher(config) as watcher,
            open_trainer(config, watcher, resume=resume) as trainer,
        ):
            watcher.begin()
            trainer.run()
    except KNOWN_ERRORS as error:
        return fail(str(error), 1)
    except KeyboardInterrupt:
        found = checkpoints(config.out / "checkpoints")
        after = f"--resume goes on from {found[-1].name}" if found else "there is no checkpoint yet"
        return fail(f"stopped; {after}", 130)
    return 0


def silence_libraries() -> None:
    """No progress bars of theirs within ours, save for downloads, which come before it."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else a warning per forked process
    from huggingface_hub.utils.tqdm import enable_progress_bars
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    enable_progress_bars()


def fail(message: str, status: int) -> int:
    from podium_trainer.display.text import visible

    for line in message.splitlines():
        sys.stderr.write(f"podium-train: {visible(line)}\n")
    return status
