"""`podium-train`: says which extra to install where torch is missing."""

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command, and end with its status."""
    try:
        sys.exit(run())
    except KeyboardInterrupt:  # outside of a run, which says itself where it was stopped
        sys.stderr.write("podium-train: stopped before a run began\n")
        sys.exit(130)


def run() -> int:
    """Import what the command needs, which takes seconds, and return its status."""
    if missing := [name for name in ("torch", "transformers", "yaml") if find_spec(name) is None]:
        sys.exit(
            f"podium-train: {missing[0]} is missing: in the clone run pip install '.[trainer]'"
        )
    from podium_trainer.run import cli

    return cli.run(sys.argv[1:])


if __name__ == "__main__":
    main()
