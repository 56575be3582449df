"""Tests of hooks into the libraries of others, each in an environment that has its library.

A folder is named like the module that its tests import, and is collected where that module is
installed. `make test-integrations` makes one environment for each folder, from its
`requirements.txt`, and runs the folder there. To add one, add the folder and the file. What must be
installed without its dependencies is listed in a file `no-deps.txt` beside it.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import pytest

from podium.integrations.outcome import tell_page, warn_of_spread
from tests.integrations.servers import PodiumServer, StartJudge, StartPodium, judge_server

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the folder of a library that this environment does not have."""
    is_folder_here = collection_path.parent == HERE and collection_path.is_dir()
    return True if is_folder_here and find_spec(collection_path.name) is None else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.integrations)
            item.add_marker(pytest.mark.filterwarnings("default"))  # libraries warn as they like


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PODIUM_")]:
        if name != "PODIUM_PYTHON":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _nothing_was_told_before() -> None:
    """Let each test see what a process is told once."""
    tell_page.cache_clear()
    warn_of_spread.cache_clear()


@pytest.fixture(scope="session")
def checks_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a service with the `checks` judge, which all tests share."""
    server = PodiumServer(tmp_path_factory.mktemp("checks") / "podium", {})
    try:
        server.start()
        yield server.url
    finally:
        server.kill()


@pytest.fixture
def start_podium(tmp_path: Path) -> Iterator[StartPodium]:
    """Start `podium serve` with a judges file; without judges it is the `checks` judge."""
    with ExitStack() as stack:
        numbers = count()

        def start(**judges: object) -> PodiumServer:
            server = PodiumServer(tmp_path / f"podium-{next(numbers)}", judges)
            stack.callback(server.kill)
            server.start()
            return server

        yield start


@pytest.fixture
def start_judge() -> Iterator[StartJudge]:
    """Start a scripted judge that answers each call with this step."""
    with ExitStack() as stack:
        yield lambda always: stack.enter_context(judge_server(always))
