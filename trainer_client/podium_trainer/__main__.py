"""`podium-train`: says which extra to install where torch is missing."""

import sys
from importlib.util import find_spec


def main() -> None:
    if missing := [name for name in ("torch", "transformers", "yaml") if find_spec(name) is None]:
        sys.exit(
            f"podium-train: {missing[0]} is missing: in the clone run pip install '.[trainer]'"
        )
    from podium_trainer.run.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
