"""`podium-train`: says which extra to install where torch is missing."""

import sys
from importlib.util import find_spec


def main() -> None:
    if find_spec("torch") is None:
        sys.exit("podium-train: torch is not installed: run pip install 'podium[trainer]'")
    sys.exit(
        "podium-train: this version of podium has no trainer yet: "
        "call trainer_client.reward_client from yours"
    )


if __name__ == "__main__":
    main()
