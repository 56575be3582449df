"""Stored groups, read as requests that another judge can rank."""

from pathlib import Path

import pytest

from podium_service.errors import InvalidRequest
from podium_service.evaluation.stored.groups import read_stored_groups
from podium_service.schemas import RankRequest
from podium_service.store.store import open_store
from tests.service.helpers import group, service
from tests.service.store.helpers import KEY, ask

pytestmark = pytest.mark.anyio


async def test_groups_of_a_checks_judge_are_read_newest_first(tmp_path: Path) -> None:
    first = group("5", "6", reference="5", group_id="one", metadata={"step": 1})
    second = group("7", "8", reference="7", group_id="two", rubric="Be kind.")
    async with service(tmp_path) as opened:
        for each in (first, second, first, group("5", reference="5")):
            await opened.ranker.rank(RankRequest.model_validate(each))
        requests, left_out = await read_stored_groups(opened.store, 3)
    assert [(each.group_id, each.reference) for each in requests] == [("one", "5"), ("two", "7")]
    assert requests[1].rubric == "Be kind."
    assert [each.id for each in requests[0].trajectories] == ["t0", "t1"]
    assert left_out == {"whose attempts are equal": 1}


async def test_a_store_without_texts_says_why_nothing_is_found(tmp_path: Path) -> None:
    async with open_store(str(tmp_path / "podium.db"), keep_texts=False) as store:
        await store.add_ranking(ask(KEY))
        with pytest.raises(InvalidRequest, match=r"1 without texts \(from a service with --no-te"):
            await read_stored_groups(store, 3)
