"""The `podium-train` command: read settings, train, say in one line what went wrong."""

import sys
from collections.abc import Sequence

from trainer_client.recipe import RecipeError, read_command_line


def run(arguments: Sequence[str]) -> int:
    """Train as the command line says; the exit status."""
    try:
        config, resume = read_command_line(arguments)
    except RecipeError as error:
        return fail(str(error), 2)
    from trainer_client.open_run import KNOWN_ERRORS, open_trainer  # torch takes two seconds
    from trainer_client.watch import open_watcher

    with open_watcher(config) as watcher:
        try:
            with open_trainer(config, watcher, resume=resume) as trainer:
                trainer.run()
        except KNOWN_ERRORS as error:
            return fail(str(error), 1)
        except KeyboardInterrupt:
            return fail("stopped; --resume goes on from the last checkpoint", 130)
    return 0


def fail(message: str, status: int) -> int:
    for line in message.splitlines():
        sys.stderr.write(f"podium-train: {line}\n")
    return status
