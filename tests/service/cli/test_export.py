"""`podium export`: runs and rankings as files."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.schemas import RankRequest
from podium_service.store.asks.ids import parse_ask
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


async def test_what_became_of_a_group_is_on_its_page(tmp_path: Path) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        body = answers("5", "6", metadata={"run": "airline", "step": 0}, task="Sum.")
        ranking = (await http.post("/rank", json=body)).json()
        said = f"/rankings/{ranking['id']}"
        note = {"text": "The second one guessed."}
        assert (await http.post(f"{said}/notes", json=note)).is_success
        ids = [each["id"] for each in body["trajectories"]]
        order = {"tiers": [[ids[1]], [ids[0]]]}
        assert (await http.post(f"{said}/orders", json=order)).is_success
        first = parse_ask((await http.get(said)).json()["summary"]["ask"])
        again = RankRequest.model_validate({**body, "metadata": None, "rubric": "Be strict."})
        await opened.ranker.rank(again, request_context=RequestContext(again_of=first))
    for name in ("airline", ranking["id"]):
        assert (await podium("export", name, "--html", name, cwd=tmp_path)).code == 0
        files = read_files(tmp_path / name)
        check_links(files)
        [page] = [each for each in files.values() if b"Later judgments" in each]
        assert b"The second one guessed." in page
        assert b"Kendall's tau" in page
        assert b"tau with the judge" in page
        assert b">open</a>" in page
        assert b"<button name" not in page
        assert sum(b"A second judgment of a group" in each for each in files.values()) == 1


async def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    first, _ = await rank_a_run(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    refused = await podium("export", first, "--html", "mine", cwd=tmp_path)
    assert_one_line(refused, "mine", "holds other files")
    assert list(read_files(tmp_path / "mine")) == ["notes.txt"]
