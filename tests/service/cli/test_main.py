"""The command line as a whole: its version, its help, and its errors in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from podium_service import __version__
from tests.service.cli.helpers import answers, assert_one_line, write_groups
from tests.service.process import podium

pytestmark = pytest.mark.anyio


def test_version_prints_one_line() -> None:
    finished = subprocess.run(
        [sys.executable, "-P", "-m", "podium_service", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout == f"podium {__version__}\n"
    assert finished.stderr == ""


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["rank", "--help"]])
def test_version_and_help_load_no_slow_library(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['podium', *{arguments}]\n"
        "from podium_service.__main__ import main\n"
        "try: main()\n"
        "finally: print('loaded', *sorted(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.partition("loaded")[2].split())
    assert "podium_service.cli.main" in loaded
    slow = {
        "aiohttp",
        "alembic",
        "fastapi",
        "httpx",
        "jinja2",
        "numpy",
        "openai",
        "scipy",
        "sqlalchemy",
    }
    assert not slow & loaded


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rank", "nowhere.json"], ["nowhere.json: cannot be read", "No such file"]),
        (["rank", "."], ["cannot be read"]),
        (["rank", "group.json", "--config", "nowhere.yaml"], ["nowhere.yaml: cannot be read"]),
        (["rank", "group.json", "--config", "bad.yaml"], ["bad.yaml:2: judges"]),
        (["serve", "--config", "bad.yaml"], ["bad.yaml:2: judges"]),
        (["judges", "--config", "bad.yaml"], ["bad.yaml:2: judges"]),
        (["rank", "group.json", "--store", "/nowhere/podium.db"], ["cannot be opened"]),
        (["rank", "group.json", "--store", "."], ["cannot be opened"]),
        (["rank", "group.json", "--store", "group.json"], ["not a database"]),
        (["rank", "group.json", "--store", "mysql://u:secret@h/x"], ["sqlite:///FILE"]),
        (["rank", "group.json", "--store", "x://"], ["sqlite:///FILE"]),
        (
            ["rank", "group.json", "--store", "postgresql://u:secret@127.0.0.1:1/x"],
            ["cannot be opened", "u:***@127.0.0.1"],
        ),
        (
            ["rank", "group.json", "--store", "postgresql://u:in@secret@127.0.0.1:1/x"],
            ["an @ in its password: write it as %40"],
        ),
        (["rank", "group.json", "--service", "nowhere"], ["nowhere"]),
        (["rank", "group.json", "--service", "http://u:secret@h"], ["user or password"]),
        (["rank", "group.json", "--service", "http://h", "--deadline-s", "-1"], ["deadline"]),
        (["rank", "group.json", "--deadline-s", "-1"], ["deadline"]),
        (["rank", "group.json", "--deadline-s", "nan"], ["deadline"]),
        (["judges", "--service", "nowhere"], ["nowhere"]),
        (["judges", "--service", "http://127.0.0.1:1"], ["127.0.0.1:1"]),
        (["replay", "rk_0"], ["the store podium.db does not exist", "--store"]),
        (["keys", "list", "--store", "sqlite:///no.db"], ["the store no.db does not exist"]),
        (["keys", "revoke", "x", "--store", "no.db"], ["the store no.db does not exist"]),
        (["store", "prune", "--older-than", "1d"], ["the store podium.db does not exist"]),
        (["compare", "--judges", "a,b"], ["the store podium.db does not exist"]),
        (["rank", "group.json", "--store", ":memory:"], [":memory:", "in memory", "podium.db"]),
        (["serve", "--store", "sqlite://"], [":memory:", "in memory", "podium.db"]),
        (["keys", "create", "x", "--store", "sqlite:///:memory:"], [":memory:", "in memory"]),
        (["store", "prune", "--older-than", "1d", "--store", ""], ["in memory", "podium.db"]),
        (["rank", "group.json", "--store", "sqlite://x.db"], ["sqlite:///FILE", "two slashes"]),
        (["rank", "group.json", "--store", "sqlite:x.db"], ["write sqlite:///x.db"]),
        (["rank", "group.json", "--store", "sqlite:///no/x.db"], ["the folder no does not exist"]),
        (["serve", "--port", "65536"], ["port must be 0-65535: choose another --port"]),
        (["store", "prune", "--older-than", "1d", "--store", "group.json"], ["not a database"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
async def test_a_known_error_is_one_line_and_exit_status_1(
    arguments: list[str], words: list[str], tmp_path: Path
) -> None:
    write_groups(tmp_path / "group.json", answers("5", "6"))
    (tmp_path / "bad.yaml").write_text("default_judge: x\njudges: []\n")
    finished = await podium(*arguments, cwd=tmp_path)
    assert_one_line(finished, *words)
    assert "secret" not in finished.err
    if "does not exist" in words[0]:
        assert not [name for name in os.listdir(tmp_path) if ".db" in name]


async def test_an_error_message_keeps_its_colons_and_numbers(tmp_path: Path) -> None:
    assert_one_line(await podium("serve", "--port", "-1", cwd=tmp_path), "127.0.0.1:-1: ")
