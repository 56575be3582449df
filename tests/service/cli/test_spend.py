"""`podium spend`: what judges cost, from the store."""

import csv
import json
import os
from pathlib import Path

import pytest

from podium_service.schemas import Usage
from podium_service.store.quotas.payer import Payer
from podium_service.store.store import open_store
from tests.service.helpers import add_new_key, call
from tests.service.process import podium
from tests.service.store.helpers import KEY

pytestmark = pytest.mark.anyio
PAID = Usage(calls=1, prompt_tokens=1000, completion_tokens=10, cost_usd=0.25)


async def test_spend_is_shown_as_a_table_as_json_and_as_csv(tmp_path: Path) -> None:
    async with open_store(str(tmp_path / "podium.db")) as store:
        empty = await podium("spend", cwd=tmp_path)
        key, _ = await add_new_key(store, "rank")
        for payer in (Payer(key.id, "[red]run"), Payer(key.id), Payer()):
            store.add_call(KEY, 0, "main", call("x"), PAID, payer)
        await store.flush()
        table = await podium("spend", "--by", "key", "--by", "run", cwd=tmp_path)
        as_json = await podium("spend", "--json", cwd=tmp_path)
        as_csv = await podium("spend", "--by", "judge", "--csv", cwd=tmp_path)
        later = await podium("spend", "--since", "2999-01-01", cwd=tmp_path)
    assert empty.out == "nothing was spent\n"
    assert later.out == "nothing was spent in these days\n"
    assert "[red]run" in table.out
    assert "no stored key" in table.out
    [total] = [line for line in table.out.splitlines() if "total" in line]
    assert "3,030" in total
    assert "0.7500" in total
    report = json.loads(as_json.out)
    assert [(row["key"], row["calls"]) for row in report["rows"]] == [("trainer", 2), (None, 1)]
    assert report["total"] == {"calls": 3, "tokens": 3030, "cost_usd": 0.75}
    [row] = csv.DictReader(as_csv.out.splitlines())
    assert row == {"judge": "main", "calls": "3", "tokens": "3030", "cost_usd": "0.75"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--by", "week"), "--by 'week': must be one of key, judge, run, day"),
        (("--since", "30d"), "--since '30d': must be a day such as 2027-01-31"),
        (("--csv", "--json"), "--csv and --json exclude each other"),
    ],
)
def test_spend_refuses_bad_options_in_one_line(options: tuple[str, ...], said: str) -> None:
    from podium_service.cli.main import app
    from podium_service.errors import ConfigError

    with pytest.raises(ConfigError, match=said):
        app(["spend", *options, "--store", "none.db"], standalone_mode=False)


async def test_spend_of_a_missing_store_makes_none(tmp_path: Path) -> None:
    finished = await podium("spend", cwd=tmp_path)
    assert finished.code == 1
    assert "does not exist" in finished.err
    assert "podium.db" not in os.listdir(tmp_path)
