"""The commands in a current folder that holds packages with the names of Podium's."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from tests.service.helpers import group, judges_file
from tests.service.process import wait

SCRIPTS = Path(sys.executable).parent
NAMES = ("service", "trainer_client", "podium", "podium_service", "podium_trainer")
CHECKS = {"kind": "checks", "criteria": [{"check": "max_words", "words": 1}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder whose modules and packages all raise when they are imported."""
    for name in NAMES:
        raises = f"raise RuntimeError('{name} of the current folder was imported')\n"
        (tmp_path / f"{name}.py").write_text(raises)
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(raises)
    return tmp_path


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PODIUM_")}
    return {**kept, **changes}


def run(
    folder: Path, command: str, *arguments: str, **changes: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPTS / command, *arguments],
        cwd=folder, env=environment(**changes), capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run `podium serve --workers 2`, and yield its URL and its process."""
    log = folder / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [SCRIPTS / "podium", "serve", "--workers", "2", "--port", "0", "--drain-s", "0"],
            cwd=folder, env=environment(), stderr=stderr,
        )  # fmt: skip
    try:
        wait(lambda: '"listening"' in log.read_text() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        [line] = [line for line in log.read_text().splitlines() if '"listening"' in line]
        yield json.loads(line)["url"], process
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.restart
def test_serve_with_workers_imports_nothing_from_the_folder(folder: Path) -> None:
    with serving(folder) as (url, process):
        content = group("5", "6", reference="5")
        answer = httpx.post(f"{url}/rank", json=content, trust_env=False, timeout=20)
        assert answer.status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_rank_imports_nothing_from_the_folder(folder: Path) -> None:
    judges_file(folder / "judges.yaml", words=CHECKS)
    (folder / "group.json").write_text(json.dumps(group("one", "two words")))
    done = run(folder, "podium", "rank", "group.json", "--config", "judges.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "t0" in done.stdout


@pytest.mark.skipif(
    find_spec("torch") is None and "CI" not in os.environ,
    reason="the trainer's extra is not installed",
)
def test_train_help_imports_nothing_from_the_folder(folder: Path) -> None:
    done = run(folder, "podium-train", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "podium-train" in done.stdout


def test_a_folder_named_service_on_the_path_shadows_nothing(tmp_path: Path) -> None:
    for name in ("service", "trainer_client"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError\n")
    path = os.pathsep.join([".", *filter(None, [os.environ.get("PYTHONPATH")])])
    done = run(tmp_path, "podium", "--version", PYTHONPATH=path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("podium ")
