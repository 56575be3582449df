"""A store's URL: its forms, and those that are refused with one line."""

from pathlib import Path

import pytest

from podium_service.errors import ConfigError
from podium_service.store.database.database import Database, require_store
from podium_service.store.database.engine import open_engine
from tests.service.postgres import emptied


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
    Database(url).close()
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


def test_an_empty_postgresql_database_is_no_store(postgres: str) -> None:
    emptied(postgres)
    with pytest.raises(ConfigError, match="does not exist"):
        require_store(postgres)
    Database(postgres).close()
    require_store(postgres)


def test_a_sqlite_database_of_another_program_is_no_store(tmp_path: Path) -> None:
    path = str(tmp_path / "other.db")
    engine = open_engine(path)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE other (id INTEGER)")
    engine.dispose()
    with pytest.raises(ConfigError, match="does not exist"):
        require_store(path)
