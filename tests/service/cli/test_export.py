"""`podium export`: runs and rankings as files."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.service.cli.helpers import answers, assert_one_line
from tests.service.helpers import client, service
from tests.service.pages.test_bundle import check_links
from tests.service.process import podium

pytestmark = pytest.mark.anyio


def read_files(folder: Path) -> Mapping[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


async def rank_a_run(folder: Path) -> list[str]:
    """Rank two groups of the run `airline`, and return the rankings' ids."""
    ids = []
    async with service(folder) as opened, client(opened) as http:
        for step in range(2):
            metadata = {"run": "airline", "step": step}
            body = answers("5", "6", metadata=metadata, task=f"Task {step}.")
            ids.append((await http.post("/rank", json=body)).json()["id"])
    return ids


async def test_a_run_becomes_files_that_need_no_service(tmp_path: Path) -> None:
    await rank_a_run(tmp_path)
    done = await podium("export", "airline", "--html", "run", cwd=tmp_path)
    assert (done.code, done.out.strip()) == (0, str(Path("run") / "index.html"))
    files = read_files(tmp_path / "run")
    check_links(files)
    assert sum(path.startswith("groups/") for path in files) == 2
    assert b"Task 1." in files["groups.html"]


async def test_a_ranking_becomes_one_page(tmp_path: Path) -> None:
    first, _ = await rank_a_run(tmp_path)
    assert (await podium("export", first, "--html", "one", cwd=tmp_path)).code == 0
    files = read_files(tmp_path / "one")
    check_links(files)
    assert b"Task 0." in files["index.html"]


async def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    first, _ = await rank_a_run(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    refused = await podium("export", first, "--html", "mine", cwd=tmp_path)
    assert_one_line(refused, "mine", "holds other files")
    assert list(read_files(tmp_path / "mine")) == ["notes.txt"]
