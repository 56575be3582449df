"""The shape of the packages: import contracts without upward arrows or circles, small folders."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = {"examples", "recipes", "static", "templates"}  # folders that hold no code


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of the packages in `folder`."""
    sources = os.pathsep.join(str(folder / root) for root in ("service", "trainer_client"))
    return subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()",
         "--no-cache", "--config", str(ROOT / "pyproject.toml")],
        capture_output=True, text=True, cwd=folder, check=False,
        env={**os.environ, "PYTHONPATH": sources},
    )  # fmt: skip


def test_no_import_runs_upward_and_none_in_a_circle() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("service/podium_service/scoring/noise.py", "import podium_service.store", "layers"),
        ("service/podium_service/schemas/request.py", "import torch", "neither torch"),
        (
            "service/podium_service/prompts/reply.py",
            "import podium_service.prompts.call",
            "circles",
        ),
        ("trainer_client/podium_trainer/config/__init__.py", "import podium_service", "over HTTP"),
        ("trainer_client/podium/groups.py", "import podium.batch", "layers"),
    ],
)
def test_an_import_that_breaks_a_contract_is_found(
    tmp_path: Path, file: str, line: str, contract: str
) -> None:
    for root in ("service", "trainer_client"):
        shutil.copytree(ROOT / root, tmp_path / root)
    with (tmp_path / file).open("a") as stream:
        stream.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1
    broken = [text for text in done.stdout.splitlines() if text.endswith("BROKEN")]
    assert any(contract in text for text in broken), done.stdout


@pytest.mark.parametrize("root", ["service", "trainer_client"])
def test_no_folder_has_more_than_12_modules_and_folders(root: str) -> None:
    for folder in (ROOT / root).rglob("podium*/**/"):
        if folder.name == "__pycache__":
            continue
        names = {path.name for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
        assert len(names - {"__init__.py", "__main__.py", "__pycache__"} - DATA) <= 12, folder
