"""`podium`: says which extra to install where the service's libraries are missing."""

import sys


def main() -> None:
    try:
        from podium_service.cli.main import run
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("podium", "podium_service"):
            raise
        sys.exit(
            f"podium: {error.name} is not installed: in the clone run pip install '.[service]'"
        )
    run()


if __name__ == "__main__":
    main()
