"""Files of rows: their encodings, their forms, and the errors that name the place at fault."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.formats import FormatError, read_file
from podium.formats.files import load_rows

ROWS: list[dict[str, Any]] = [{"prompt": "6 x 7?", "completion": said} for said in ("42", "é1")]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("lines", LINES.encode()),
        ("blank lines", LINES.replace("\n", "\r\n\r\n").encode()),
        ("a list", json.dumps(ROWS).encode()),
        ("pretty", json.dumps(ROWS, indent=2).encode()),
        ("values without a list", "\n".join(json.dumps(row, indent=2) for row in ROWS).encode()),
        ("a byte order mark", b"\xef\xbb\xbf" + LINES.encode()),
        ("UTF-16", LINES.encode("utf-16")),
        ("gzip", gzip.compress(LINES.encode(), mtime=0)),
        ("rows.csv", "prompt,completion,x\n6 x 7?,42,\n6 x 7?,é1,\n".encode()),
        ("semicolons.csv", "prompt;completion\n6 x 7?;42\n6 x 7?;é1\n".encode()),
        (
            "rows.tsv.gz",
            gzip.compress("prompt\tcompletion\n6 x 7?\t42\n6 x 7?\té1\n".encode(), mtime=0),
        ),
    ],
)
def test_rows_are_read_from_every_form_of_files(name: str, data: bytes) -> None:
    assert [place.value for place in load_rows(data, name)] == ROWS


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"\ud83d 42", "\ufffd 42"),
        (r"42 \uDE00", "42 \ufffd"),
        (r"\ud83d\ude00 \u00e9", "\U0001f600 \u00e9"),
        (r"\\ud83d", r"\ud83d"),
        (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
    ],
)
def test_half_a_character_is_replaced(written: str, read: str) -> None:
    [place] = load_rows(b'{"completion": "%s"}' % written.encode(), "f")
    assert place.value == {"completion": read}


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "f holds no groups: write one group a line, or a JSON list"),
        (b"[]", "f holds no groups"),
        (LINES.encode() + b"{", "f:3: not JSON"),
        (b'{\n "a": 1\n "b": 2\n}', "f:3: not JSON"),
        (b'{\n "a": 1\n}\n{\n "b"\n}\n', "f:4: not JSON"),
        (b"\xff{}", "f:1: not JSON"),
        (b"[" * 1000, "f:1: not JSON"),
        (b"\n" + b"[" * 100_000 + b"\n[", "f:2: not JSON"),
        (b"{}\0", "f is binary"),
        (b"\xff\xfe\x00", "f: broken UTF-16"),
        (b"SQLite format 3\0abc", "f is a SQLite database"),
        (gzip.compress(b"{}", mtime=0)[:-4], "f: broken gzip"),
    ],
)
def test_an_error_names_the_file_and_the_line(data: bytes, fault: str) -> None:
    with pytest.raises(FormatError) as caught:
        load_rows(data, "f")
    assert str(caught.value).startswith(fault)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\n 1ae\\u', max_size=30).map(str.encode))
def test_any_bytes_make_rows_or_one_typed_error(data: bytes) -> None:
    try:
        rows = load_rows(data, "f")
    except FormatError as error:
        _require_one_line(error)
    else:
        assert rows


def test_a_cell_of_a_table_may_be_long() -> None:
    [row] = load_rows(b"prompt,completion\nq," + b"a" * 200_000, "f.csv")
    assert len(row.value["completion"]) == 200_000


def _require_one_line(error: FormatError) -> None:
    assert "\n" not in str(error)


def test_a_folder_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="is a folder: name one of its files"):
        read_file(tmp_path)
    with pytest.raises(FormatError, match="cannot be read: No such file"):
        read_file(tmp_path / "none")


def test_parquet_is_read_where_pyarrow_is_installed(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "rows.parquet"
    chats = [[{"role": "user", "content": "6 x 7?", "name": None}]] * 2
    columns = {"prompt": chats, "completion": ["42", "41"], "step": [1, 1], "group_id": [b"g"] * 2}
    parquet.write_table(pyarrow.table(columns), path)
    [group] = read_file(path).groups
    assert group["group_id"] == "Zw=="  # bytes are base64, as in JSON
    assert [each["messages"][-1]["content"] for each in group["trajectories"]] == ["42", "41"]


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1abcPAR1")
    with pytest.raises(FormatError, match=r"pip install pyarrow|broken Parquet"):
        read_file(path)
