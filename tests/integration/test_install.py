"""`pip install .` in a fresh environment: the light client, and commands that say what to add."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.install
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bin folder of an environment with podium and no extra."""
    folder = tmp_path_factory.mktemp("light")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet"]
    constraints = str(ROOT / "constraints.txt")
    install = [*pip, "--constraint", constraints, str(ROOT)]
    if subprocess.run(install, check=False).returncode:  # the index may be away for a moment
        time.sleep(10)
        subprocess.run(install, check=True)
    return folder / "bin"


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, cwd=os.sep
    )


def test_the_light_client_installs_no_heavy_package(light: Path) -> None:
    assert run(light / "python", "-c", "import podium").returncode == 0
    installed = run(light / "python", "-m", "pip", "list", "--format=freeze").stdout.lower()
    names = {line.split("==")[0] for line in installed.splitlines()}
    assert {"podium", "httpx", "pydantic"} <= names
    assert not {"torch", "fastapi", "openai", "sqlalchemy", "numpy"} & names


@pytest.mark.parametrize(
    ("command", "extra"), [("podium", ".[service]"), ("podium-train", ".[trainer]")]
)
def test_a_command_without_its_extra_says_which_one_to_install(
    light: Path, command: str, extra: str
) -> None:
    done = run(light / command)
    assert done.returncode == 1
    assert extra in done.stderr
    assert done.stderr.count("\n") == 1
