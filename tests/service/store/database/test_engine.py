"""A store's URL: its forms, and those that are refused with one line."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from podium_service.errors import ConfigError
from podium_service.store.database.database import require_store
from podium_service.store.database.engine import open_engine
from podium_service.store.migrations.schema import open_database
from podium_service.store.store import open_store
from tests.service.postgres import empty_database, engine_at
from tests.service.store.helpers import KEY, OTHER_KEY, ask, ranking

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "url",
    [
        "podium.db",
        "sqlite:///podium.db",
        "sqlite:///file:podium.db?uri=true",
        "sqlite:///{folder}/podium.db",
    ],
)
def test_a_relative_path_is_a_file_in_the_current_folder(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = url.format(folder=tmp_path)
    with pytest.raises(ConfigError, match=r"the store .*podium\.db does not exist: see --store"):
        require_store(url)
    assert not list(tmp_path.iterdir())
    open_database(url).close()
    assert (tmp_path / "podium.db").exists()
    require_store(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        ":memory:",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "file::memory:",
        "file::memory:?cache=shared",
        "sqlite:///file::memory:?cache=shared&uri=true",
        "sqlite:///file:podium?mode=memory&cache=shared&uri=true",
    ],
)
def test_a_store_in_memory_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"in memory, .*: name a file, such as podium\.db$"):
        open_engine(url)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:podium.db",
        "sqlite://podium.db",
        "postgres:u:secret@h/x",
        "mysql://u:secret@h/x",
        "x://",
    ],
)
def test_any_other_url_is_refused_with_the_forms_it_may_have(url: str) -> None:
    with pytest.raises(ConfigError, match="must be a file's path, sqlite:///FILE or") as caught:
        open_engine(url)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.postgres
def test_an_empty_postgresql_database_is_no_store(postgres: str) -> None:
    empty_database(postgres)
    with pytest.raises(ConfigError, match="does not exist"):
        require_store(postgres)
    open_database(postgres).close()
    require_store(postgres)


def test_a_sqlite_database_of_another_program_is_no_store(tmp_path: Path) -> None:
    path = str(tmp_path / "other.db")
    engine = open_engine(path)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE other (id INTEGER)")
    engine.dispose()
    with pytest.raises(ConfigError, match="does not exist"):
        require_store(path)


@pytest.mark.postgres
async def test_an_idle_transaction_loses_its_locks_after_10_s(postgres: str) -> None:
    async with open_store(postgres) as store:
        setting = sa.text("SHOW idle_in_transaction_session_timeout")
        assert await store.run_in_transaction(lambda it: it.scalar(setting)) == "10s"


@pytest.mark.postgres
async def test_a_server_that_ended_all_connections_is_used_again(postgres: str) -> None:
    async with open_store(postgres) as store:
        await store.add_ranking(ask(KEY, ranking("rk_before")))
        with engine_at(postgres) as engine, engine.connect() as connection:
            others = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE pid <> "
            connection.exec_driver_sql(
                others + "pg_backend_pid() AND backend_type = 'client backend'"
            )
        assert await store.read_ranking("rk_before")
        await store.add_ranking(ask(KEY, ranking("rk_after")))
        async with store.claim(OTHER_KEY):
            assert await store.quotas.count("again", 1) == 0.0
