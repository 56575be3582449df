"""Groups that people ordered, as labelled groups and as the data of `podium calibrate --gold`."""

import json
from pathlib import Path

import pytest

from podium_service.cli.commands.calibrate import calibrate_command
from podium_service.errors import InvalidRequest
from podium_service.evaluation.stored.gold import read_gold_groups
from podium_service.schemas import RankRequest
from podium_service.store.history.reader import HistoryReader
from podium_service.store.people.gold import GoldOrders, mean_labels
from podium_service.store.people.person import Person
from podium_service.store.store import open_store
from tests.service.evaluation.helpers import run_command, write_lines
from tests.service.helpers import group, judges_file, service

pytestmark = pytest.mark.anyio
ANN, BOB = Person("a1", "Ann"), Person("b2", "Bob")


def test_labels_are_the_shares_of_others_that_are_worse() -> None:
    assert mean_labels([[1, 2.5, 2.5, 4]]) == pytest.approx([1, 0.5, 0.5, 0])
    assert mean_labels([[1, 2], [2, 1], [1.5, 1.5]]) == pytest.approx([0.5, 0.5])
    assert mean_labels([[1]]) == [0]


async def fill(folder: Path) -> None:
    """Keep two groups, of which one was ordered by two people."""
    async with service(folder) as opened:
        for answers in (("5", "6", "7"), ("8", "9")):
            sent = group(*answers, reference="5", group_id=answers[0], metadata={"step": 1})
            await opened.ranker.rank(RankRequest.model_validate(sent))
        *_, first = (await HistoryReader(opened.store).list_rankings()).rankings
        gold = GoldOrders(opened.store)
        await gold.put(first.ask, [["t0"], ["t1"], ["t2"]], ANN, is_blind=True)
        await gold.put(first.ask, [["t0"], ["t2", "t1"]], BOB, is_blind=False)


async def test_gold_is_read_as_labelled_groups(tmp_path: Path) -> None:
    await fill(tmp_path)
    async with open_store(str(tmp_path / "podium.db")) as store:
        [found] = await read_gold_groups(store)
    assert found.request.group_id == "5"
    assert [each.id for each in found.request.trajectories] == ["t0", "t1", "t2"]
    assert found.request.reference == "5"
    assert found.labels == pytest.approx([1, (0.5 + 0.25) / 2, (0 + 0.25) / 2])


async def test_a_store_without_orders_says_where_to_give_some(url: str) -> None:
    async with open_store(url) as store:
        with pytest.raises(InvalidRequest, match="nobody has ordered a group of this store"):
            await read_gold_groups(store)


async def test_a_judge_is_calibrated_by_what_people_ordered(tmp_path: Path) -> None:
    await fill(tmp_path)
    checks = {"kind": "checks", "criteria": [{"check": "matches_reference"}]}
    config = judges_file(tmp_path / "judges.yaml", main=checks)
    shared: list[str | Path] = [
        "--judge", "main", "--config", config, "--store", tmp_path / "podium.db",
        "--out", tmp_path, "--json",
    ]  # fmt: skip
    result = await run_command(calibrate_command, "--gold", *shared)
    assert result.exit_code == 0, result.output
    card = json.loads(result.stdout)
    assert (card["data"], card["groups"]) == ("gold", 1)
    data = write_lines(tmp_path / "groups.jsonl", group("5"))
    wrongs: list[list[str | Path]] = [[], ["--gold", "--data", data]]
    for wrong in wrongs:
        result = await run_command(calibrate_command, *wrong, *shared)
        assert "either --data FILE, or --gold" in str(result.exception)
