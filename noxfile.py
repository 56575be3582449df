"""Run the tests of the service and of the light client on every Python that Podium supports.

`nox` runs them on the versions that are installed and skips the others. The trainer is left out,
because its tests need torch, and `make test` runs those on Python 3.11.
"""

import nox

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Install the package with the service's extra, and run its tests."""
    session.install("--constraint", "constraints.txt", "-e", ".[service,dev]")
    marks = "not vllm and not install and not benchmark and not fuzz and not restart and not chaos"
    folders = ["tests/client", "tests/contract", "tests/service"]
    session.run("python", "-m", "pytest", "-n", "3", "-m", marks, *folders, *session.posargs)
