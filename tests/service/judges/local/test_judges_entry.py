"""The entry of a judges file for a judge on this machine."""

from pathlib import Path

import pytest

from podium_service.errors import ConfigError
from podium_service.judges.judges_file import load
from podium_service.judges.local.judges_entry import JudgeEntry, write_entry
from podium_service.judges.settings import LLMJudge

SMALL = JudgeEntry("small", "qwen", "http://127.0.0.1:8090/v1")
MAIN = """\
# My judges.
judges:
    main:   # the best
        model: gpt
        base_urls: [http://127.0.0.1:9/v1]
        rubric: |
            # Be fair
            # Be kind
"""


def test_a_file_is_made_where_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "new" / "judges.yaml"
    write_entry(path, SMALL)
    judge = load(path).judges["small"]
    assert isinstance(judge, LLMJudge)
    assert (judge.model, [str(url) for url in judge.base_urls]) == ("qwen", [SMALL.base_url])
    assert path.read_text().endswith(SMALL.text())


def test_writing_an_entry_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "judges.yaml"
    write_entry(path, SMALL)
    before = path.read_text()
    write_entry(path, SMALL)
    assert path.read_text() == before


def test_an_entry_is_added_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "judges.yaml"
    path.write_text(MAIN)
    write_entry(path, SMALL)
    assert path.read_text() == "default_judge: main\n" + MAIN + SMALL.text(" " * 4)
    config = load(path)
    assert (config.default_judge, list(config.judges)) == ("main", ["main", "small"])
    main = config.judges["main"]
    assert isinstance(main, LLMJudge)
    assert main.rubric == "# Be fair\n# Be kind\n"


def test_what_follows_the_judges_stays_behind_them(tmp_path: Path) -> None:
    path = tmp_path / "judges.yaml"
    rest = "\n# The one to ask.\ndefault_judge: main\n"
    path.write_text(MAIN + rest)
    write_entry(path, SMALL)
    assert path.read_text() == MAIN + SMALL.text(" " * 4) + rest
    path.write_text(MAIN.rstrip("\n"))
    write_entry(path, SMALL)
    assert path.read_text() == "default_judge: main\n" + MAIN + SMALL.text(" " * 4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("judges:\n  small: {model: x, base_urls: [http://a/v1]}\n", "has another judge small"),
        ("judges: {main: {model: x, base_urls: [http://a/v1]}}\n", "add small by hand"),
        ("judges:\n  main: {model: x}\n", "judges.main.*base_urls"),
        ("[", "not YAML"),
    ],
)
def test_a_file_that_cannot_take_the_entry_is_left(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "judges.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        write_entry(path, SMALL)
    assert path.read_text() == text


def test_names_that_yaml_would_misread_are_quoted(tmp_path: Path) -> None:
    path = tmp_path / "judges.yaml"
    odd = JudgeEntry("local", "no", "http://[::1]:8090/v1")
    write_entry(path, odd)
    judge = load(path).judges["local"]
    assert isinstance(judge, LLMJudge)
    assert (judge.model, str(judge.base_urls[0])) == ("no", odd.base_url)


def test_a_key_is_named_in_the_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_JUDGE", "secret")
    path = tmp_path / "judges.yaml"
    write_entry(path, JudgeEntry("small", "qwen", SMALL.base_url, api_key_env="KEY_OF_JUDGE"))
    judge = load(path).judges["small"]
    assert isinstance(judge, LLMJudge)
    assert judge.api_key == "secret"
    assert "secret" not in path.read_text()
