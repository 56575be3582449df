"""`podium`: says which extra to install where the service's libraries are missing."""

import sys


def main() -> None:
    try:
        from service.cli import run
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("service", "trainer_client"):
            raise
        sys.exit(f"podium: {error.name} is not installed: run pip install 'podium[service]'")
    run()


if __name__ == "__main__":
    main()
