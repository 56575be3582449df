"""`podium keys`: create, list, edit and revoke API keys."""

import asyncio
import json
import re
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from podium_service.cli.options import store_shown
from podium_service.http.access.api_key import iso_time
from podium_service.http.access.api_key_store import list_keys, revoke_key
from podium_service.store.quotas.spend import SpendLimit
from podium_service.store.store import open_store
from tests.service.helpers import add_new_key, group
from tests.service.process import podium, running

pytestmark = pytest.mark.anyio
REFERENCE = {"reference": "5"}
GROUP = group("5", "6", **REFERENCE)


def not_in_files(secret: str, folder: Path) -> bool:
    """Return whether no file of the store holds it."""
    return not any(secret.encode() in path.read_bytes() for path in folder.glob("podium.db*"))


async def test_create_prints_the_key_and_stores_only_its_hash(tmp_path: Path) -> None:
    finished = await podium(
        "keys", "create", "trainer", "--scope", "rank", "--requests-per-minute", "60",
        "--spend-usd", "2.5", "--per", "day", "--owner", "Ada", "--expires", "30d", "--json",
        cwd=tmp_path,
    )  # fmt: skip
    made = json.loads(finished.out)
    assert re.fullmatch(rf"pk_{made['id']}_[A-Za-z0-9_-]{{43}}", made["key"])
    secret = made["key"].split("_", 2)[2]
    assert finished.code == 0
    assert not_in_files(secret, tmp_path)
    listed = await podium("keys", "list", "--json", cwd=tmp_path)
    [key] = json.loads(listed.out)
    assert key == {name: value for name, value in made.items() if name != "key"} | {
        "spent_usd": 0.0, "reserved_usd": 0.0,
    }  # fmt: skip
    assert (key["scopes"], key["requests_per_minute"]) == (["rank"], 60)
    assert key["spend_limit"] == {"usd": 2.5, "per": "day"}
    assert (key["owner"], key["revoked_at"]) == ("Ada", None)
    left = datetime.fromisoformat(key["expires_at"]) - datetime.fromisoformat(key["created_at"])
    assert timedelta(days=30) - timedelta(seconds=10) < left < timedelta(days=30, seconds=10)
    shown = await podium("keys", "list", cwd=tmp_path)
    assert "0.00 of 2.5 USD/day" in shown.out
    assert secret not in shown.out + listed.out


async def test_list_fits_80_columns_and_explains_an_empty_store(tmp_path: Path) -> None:
    async with open_store(str(tmp_path / "podium.db")) as store:
        empty = await podium("keys", "list", cwd=tmp_path)
        key, _ = await add_new_key(
            store, "rank", "read", requests_per_minute=600, spend_limit=SpendLimit(usd=20)
        )
        await revoke_key(store, key.id)
    assert empty.out.startswith("no keys: whoever reaches the service on loopback may ask")
    [row] = [
        line
        for line in (await podium("keys", "list", cwd=tmp_path, COLUMNS="80")).out.splitlines()
        if key.id in line
    ]
    assert len(row) <= 80
    assert row.count(iso_time(key.created_at)[:10]) == 1
    assert "revoked" in row


async def test_create_names_the_store_without_its_password(tmp_path: Path) -> None:
    finished = await podium("keys", "create", "x", "--store", "own.db", cwd=tmp_path)
    assert finished.err.endswith("(x) of own.db: keep it, it is shown only now\n")
    assert store_shown("postgresql://u:secret@h/podium") == "postgresql://u:***@h/podium"
    assert store_shown("postgresql://h/x?user=u&password=secret") == "postgresql://h/x?user=u"


async def test_revoking_twice_keeps_the_first_time(
    tmp_path: Path,
) -> None:
    async with open_store(str(tmp_path / "podium.db")) as store:
        key, _ = await add_new_key(store, "rank")
        first = await revoke_key(store, key.id)
        again = await revoke_key(store, key.id)
        assert [each.revoked_at for each in await list_keys(store)] == [first.revoked_at]
    assert again.revoked_at == first.revoked_at is not None
    finished = await podium("keys", "revoke", "nope", cwd=tmp_path)
    assert (finished.code, finished.err) == (1, "podium: no key 'nope': see podium keys list\n")


async def test_edit_changes_limits_and_keeps_the_rest(tmp_path: Path) -> None:
    async with open_store(str(tmp_path / "podium.db")) as store:
        key, _ = await add_new_key(store, "rank", requests_per_minute=600)
        changed = await podium(
            "keys", "edit", key.id, "--name", "lab", "--spend-usd", "5", "--per", "month",
            "--no-request-limit", "--owner", "Ada", "--expires", "2999-01-31", "--json",
            cwd=tmp_path,
        )  # fmt: skip
        [edited] = await list_keys(store)
        freed = await podium(
            "keys", "edit", key.id, "--no-spend-limit", "--scope", "read", "--no-expiry",
            cwd=tmp_path,
        )  # fmt: skip
        [last] = await list_keys(store)
        revoked = await podium("keys", "revoke", key.id, "--json", cwd=tmp_path)
        late = await podium("keys", "edit", key.id, "--name", "x", cwd=tmp_path)
    assert json.loads(changed.out)["spend_limit"] == {"usd": 5.0, "per": "month"}
    assert json.loads(changed.out)["expires_at"] == "2999-01-31T00:00:00Z"
    limit = SpendLimit(usd=5, per="month")
    assert edited == replace(
        key, name="lab", requests_per_minute=None, spend_limit=limit, owner="Ada",
        expires_at=datetime(2999, 1, 31, tzinfo=UTC).timestamp(),
    )  # fmt: skip
    assert freed.err == f"key {key.id} (lab) is changed\n"
    assert last == replace(edited, spend_limit=None, scopes=frozenset({"read"}), expires_at=None)
    assert json.loads(revoked.out)["revoked_at"]
    assert (late.code, late.err) == (1, f"podium: key {key.id} is revoked: make a new one\n")


def test_edit_refuses_bad_options_in_one_line(tmp_path: Path) -> None:
    from podium_service.cli.main import app
    from podium_service.errors import ConfigError

    store = str(tmp_path / "s.db")

    async def make() -> str:
        async with open_store(store) as opened:
            key, _ = await add_new_key(opened, "rank")
            return key.id

    key_id = asyncio.run(make())
    for options, said in {
        "": "nothing to change",
        "--name=": "1 to 64 printable characters",
        "--scope all": "scope 'all': must be one of",
        "--spend-usd 5": "--spend-usd and --per go together",
        "--requests-per-minute 0": "must be 1 to 1000000",
        "--expires soon": "--expires 'soon': must be an age such as 30d, or a date",
        "--expires 2020-01-31": "--expires 2020-01-31: must be in the future",
        "--expires 30d --no-expiry": "--no-expiry exclude each other",
        "--requests-per-minute 5 --no-request-limit": "--no-request-limit exclude each other",
        "--spend-usd 5 --per day --no-spend-limit": "--no-spend-limit exclude each other",
    }.items():
        with pytest.raises(ConfigError, match=said):
            app(["keys", "edit", key_id, *options.split(), "--store", store], standalone_mode=False)


async def test_list_shows_names_without_interpreting_markup(tmp_path: Path) -> None:
    name = "team[/a] [red]:fire:"
    assert (await podium("keys", "create", name, cwd=tmp_path)).code == 0
    listed = await podium("keys", "list", cwd=tmp_path)
    assert (listed.code, listed.err) == (0, "")
    assert f" {name} " in listed.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("",), "1 to 64 printable characters"),
        (("a\0b",), "1 to 64 printable characters"),
        (("x" * 65,), "1 to 64 printable characters"),
        (("x", "--scope", "all"), "scope 'all': must be one of rank, read, admin"),
        (("x", "--spend-usd", "5"), "--spend-usd and --per go together"),
        (("x", "--per", "day"), "--spend-usd and --per go together"),
        (("x", "--spend-usd", "0", "--per", "day"), "--spend-usd 0: must be 0.000001"),
        (("x", "--spend-usd", "-1", "--per", "day"), "--spend-usd -1: must be 0.000001"),
        (("x", "--spend-usd", "1e-9", "--per", "day"), "--spend-usd 1e-09: must be 0.000001 to"),
        (("x", "--spend-usd", "1e300", "--per", "day"), "must be 0.000001 to 1000000000"),
        (("x", "--requests-per-minute", "0"), "--requests-per-minute 0: must be 1 to 1000000"),
        (("x", "--requests-per-minute", "3000000000"), "3000000000: must be 1 to 1000000"),
        (("x", "--requests-per-minute", "9" * 20), "9{20}: must be 1 to 1000000; leave it out"),
        (("x", "--spend-usd", "nan", "--per", "day"), "--spend-usd nan: must be 0.000001"),
    ],
    ids=lambda value: " ".join(value)[:20] if isinstance(value, tuple) else "",
)
def test_create_refuses_bad_options_in_one_line(
    options: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from podium_service.cli.main import app
    from podium_service.errors import ConfigError

    with pytest.raises(ConfigError, match=said):
        app(["keys", "create", *options, "--store", str(tmp_path / "s.db")], standalone_mode=False)


async def test_a_secret_is_in_no_log_store_or_response(tmp_path: Path) -> None:
    made = await podium("keys", "create", "trainer", "--scope", "admin", "--json", cwd=tmp_path)
    key = json.loads(made.out)["key"]
    secret = key.split("_", 2)[2]
    with running("--log-level", "debug", cwd=tmp_path, PODIUM_API_KEY="env-secret") as process:
        told = ""
        for shown in (key, "env-secret", f"{key}x", f"x{key}"):
            async with process.client(authorization=f"Bearer {shown}") as http:
                for path in ("/keys", "/judges", "/metrics", "/openapi.json", "/readyz", "/no"):
                    told += (await http.get(path)).text
                told += (await http.post("/rank", json=GROUP)).text
                told += (await http.post("/rank/batch", json={"groups": [GROUP]})).text
        told += process.err
    kept = sqlite3.connect(tmp_path / "podium.db")
    told += "\n".join(kept.iterdump())
    kept.close()
    assert "trainer" in told
    assert secret not in told
    assert "env-secret" not in told
    assert not_in_files(secret, tmp_path)
