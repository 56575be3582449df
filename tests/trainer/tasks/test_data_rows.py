"""The data task's files and rows: what becomes a prompt, and what an error says of the rest."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from podium_trainer.tasks import open_task
from podium_trainer.tasks.data.hub import hub_rows
from podium_trainer.tasks.task import Prompt, Task, TaskError


def write(path: Path, *lines: object) -> str:
    """Write a file of texts as they are and of other values as JSON; return its path."""
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def data(path: str, **options: Any) -> Task:
    return open_task("data", {"path": path, **options})


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_lines_become_prompts(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2"}]
    first = {"prompt": "Name a prime.", "reference": 7}
    second = {"messages": messages, "id": "sum", "task": "Add."}
    path = write(tmp_path / "train.jsonl", first, "", second, "  ")
    held_out = write(tmp_path / "test.jsonl", {"prompt": "Name one.", "reference": "1"})
    task = data(path, held_out=held_out)
    assert task.train == [
        Prompt("1", user("Name a prime."), reference="7", row=first),
        Prompt("sum", messages, task="Add.", row=second),
    ]
    assert [prompt.id for prompt in task.held_out] == ["held_out/1"]
    assert (task.tools, task.max_turns, task.notes) == ((), 1, ())


def test_columns_have_any_names_and_the_others_are_kept(tmp_path: Path) -> None:
    row = {"question": "2 + 2 =", "answer": 4, "uid": "q1", "level": "easy"}
    columns = {"prompt": "question", "reference": "answer", "id": "uid"}
    [prompt] = data(write(tmp_path / "a.jsonl", row), columns=columns).train
    assert prompt == Prompt("q1", user("2 + 2 ="), reference="4", row=row)
    assert prompt.row["level"] == "easy"


@pytest.mark.parametrize(
    "prompt",
    [
        [{"role": "user", "content": "hi"}],
        [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        [{"from": "human", "value": "hi"}],
    ],
    ids=["openai", "parts", "sharegpt"],
)
def test_a_prompt_may_be_messages_of_any_form(tmp_path: Path, prompt: object) -> None:
    [read] = data(write(tmp_path / "a.jsonl", {"prompt": prompt})).train
    assert read.messages == user("hi")


def test_a_conversation_with_its_answer_is_prompt_and_reference(tmp_path: Path) -> None:
    chat = [*user("2 + 2 ="), {"role": "assistant", "content": "4"}]
    path = write(tmp_path / "a.jsonl", {"messages": chat}, {"messages": chat, "reference": "four"})
    first, second = data(path).train
    assert first.messages == second.messages == user("2 + 2 =")
    assert (first.reference, second.reference) == ("4", "four")


def test_every_form_of_file_holds_the_same_prompts(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "a, b", "reference": "1"},
        {"prompt": "c", "reference": "2"},
    ]
    paths = [
        write(tmp_path / "a.jsonl", *rows),
        write(tmp_path / "a.json", rows),
        write(tmp_path / "a.csv", "prompt,reference", '"a, b",1', "c,2"),
        write_parquet(tmp_path / "a.parquet", rows),
    ]
    for path in paths:
        task = data(path)
        assert [(p.id, p.messages, p.reference) for p in task.train] == [
            ("1", user("a, b"), "1"),
            ("2", user("c"), "2"),
        ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.json"])
def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path, name: str) -> None:
    text = {"a.jsonl": '{"prompt": "é"}', "a.csv": "prompt\r\né\r\n", "a.json": '[{"prompt": "é"}]'}
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text[name].encode())
    [prompt] = data(str(tmp_path / name)).train
    assert prompt.messages == user("é")


def test_unicode_line_separators_do_not_end_a_line(tmp_path: Path) -> None:
    odd = "a\u2028b\x85c\x0cd"
    line = json.dumps({"prompt": odd}, ensure_ascii=False)
    [prompt] = data(write(tmp_path / "a.jsonl", line)).train
    assert prompt.messages[0]["content"] == odd


def test_windows_line_ends_are_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"prompt": "a"}\r\n{"prompt": "b"}\r\n')
    assert len(data(str(path)).train) == 2


def test_a_folder_of_parquet_has_splits_and_subsets(tmp_path: Path) -> None:
    for number, words in enumerate(["ab", "c"]):
        rows = [{"prompt": word} for word in words]
        write_parquet(tmp_path / f"main/train-0000{number}-of-00002.parquet", rows)
    write_parquet(tmp_path / "main/test-00000-of-00001.parquet", [{"prompt": "d"}])
    write_parquet(tmp_path / "other/train-00000-of-00001.parquet", [{"prompt": "e"}])
    write(tmp_path / "README.md", "# Not data")
    write(tmp_path / ".cache/train.jsonl", "not data")
    task = data(str(tmp_path), subset="main", held_out="test")
    assert [p.messages for p in task.train] == [user("a"), user("b"), user("c")]
    assert [p.id for p in task.train] == [
        "train-00000-of-00002:1", "train-00000-of-00002:2", "train-00001-of-00002:1",
    ]  # fmt: skip
    assert [(p.id, p.messages) for p in task.held_out] == [("held_out/1", user("d"))]
    with pytest.raises(TaskError, match=r"no file of the split 'dev'; its files: test-00000-of"):
        data(str(tmp_path), subset="main", held_out="dev")


def test_a_folder_without_names_of_splits_is_one(tmp_path: Path) -> None:
    write(tmp_path / "part1.jsonl", {"prompt": "a"})
    write(tmp_path / "part2.jsonl", {"prompt": "b"})
    assert [p.id for p in data(str(tmp_path)).train] == ["part1:1", "part2:1"]


def test_a_dataset_of_the_hub_is_loaded_by_its_library() -> None:
    asked = []

    def load(name: str, subset: str | None, *, split: str) -> list[dict[str, str]]:
        asked.append((name, subset, split))
        return [{"prompt": "a"}]

    [row] = hub_rows("openai/gsm8k", "main", "train", load)
    assert asked == [("openai/gsm8k", "main", "train")]
    assert (row.location, row.values) == ("openai/gsm8k (train), row 1", {"prompt": "a"})


def test_a_dataset_that_cannot_be_had_is_one_line() -> None:
    def load(*arguments: object, **more: object) -> object:
        raise ConnectionError("no route\nto the hub")

    with pytest.raises(TaskError, match="could not be loaded: ConnectionError: no route to the"):
        hub_rows("openai/gsm8k", None, "train", load)


def test_datasets_loads_a_folder_as_it_does_the_hub(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data/train-00000-of-00001.parquet", [{"prompt": "a"}])
    [row] = hub_rows(str(tmp_path), None, "train")
    assert row.values == {"prompt": "a"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "is not JSON: "),
        ("[" * 100_000, "is not JSON: "),
        ("7", "a row is an object of columns and values"),
        ('["a"]', "a row is an object of columns and values"),
        ("{}", "has no column 'prompt' with the prompt; its columns: none. Add it, or name an"),
        ('{"text": "a"}', "its columns: text. Add it, or name another in task.options.columns"),
        ('{"prompt": null}', "has no column 'prompt'"),
        ('{"prompt": 7}', "column 'prompt' must be a text that is not empty, or chat messages"),
        ('{"prompt": " "}', "column 'prompt' must be a text that is not empty"),
        ('{"messages": []}', "column 'messages' must be a text"),
        ('{"messages": 7}', "column 'messages' must be a text"),
        ('{"messages": {"role": "user"}}', "column 'messages' must be a text"),
        ('{"messages": [{"role": "user"}]}', "column 'messages' must be a text"),
        ('{"messages": [{"role": "user", "content": ["a"]}]}', "must be a text"),
        ('{"messages": [{"role": "assistant", "content": "a"}]}', "holds an answer and no prompt"),
        ('{"prompt": "\\ud800"}', "is not JSON: "),
    ],
    ids=lambda text: text[:25],
)
def test_a_bad_line_is_refused_with_its_location(tmp_path: Path, line: str, words: str) -> None:
    path = write(tmp_path / "a.jsonl", {"prompt": "good"}, line)
    with pytest.raises(TaskError) as caught:
        data(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:2")
    assert words in message
    assert "\n" not in message


def test_a_row_of_a_table_is_named_by_its_number(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [{"prompt": "a"}, {"prompt": None}])
    with pytest.raises(TaskError, match=r"a\.parquet, row 2: has no column 'prompt'"):
        data(path)
    path = write(tmp_path / "a.csv", "prompt,reference", "a,1", "b")
    with pytest.raises(TaskError, match=r"a\.csv:3: has not one value for each column"):
        data(path)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"prompt": "question"}, r"a\.jsonl:1: task\.options\.columns takes prompt from column"
                                 r" 'question', which no row has; there are: prompt"),
        ({"reference": "anwser"}, r"takes reference from column 'anwser', which no row has"),
        ({"question": "prompt"}, r"task\.options\.columns .*: it maps some of \['prompt', "),
        ({"prompt": 7}, r"a column's name is a text"),
        ("question", r"task\.options\.columns 'question': it maps some of"),
    ],
)  # fmt: skip
def test_wrong_columns_are_refused_by_name(tmp_path: Path, columns: object, words: str) -> None:
    with pytest.raises(TaskError, match=words):
        data(write(tmp_path / "a.jsonl", {"prompt": "a"}), columns=columns)


def test_an_unusable_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"nowhere\.jsonl' cannot be read: "):
        data(str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(TaskError, match=r"empty\.jsonl holds no prompt: write one row for each"):
        data(write(tmp_path / "empty.jsonl", "", " "))
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(TaskError, match=r"bytes\.jsonl' is not UTF-8 .*: save it in"):
        data(str(tmp_path / "bytes.jsonl"))
    with pytest.raises(TaskError, match=r"a\.xml is of no known form: .* one of \.jsonl, "):
        data(write(tmp_path / "a.xml", "<a/>"))
    with pytest.raises(TaskError, match=r"a\.parquet is not a Parquet file that can be read: "):
        data(write(tmp_path / "a.parquet", "not one"))


def test_a_repeated_id_is_refused(tmp_path: Path) -> None:
    line = {"prompt": "a", "id": "x"}
    with pytest.raises(TaskError, match="prompt id 'x' comes twice: ids must be unique"):
        data(write(tmp_path / "a.jsonl", line, line))


@pytest.mark.parametrize("blank", ["", "  ", float("nan"), None])
def test_an_empty_cell_is_no_value(tmp_path: Path, blank: object) -> None:
    row = {"prompt": "a", "reference": blank, "id": blank, "task": blank}
    first, second = data(write(tmp_path / "a.jsonl", row, row)).train
    assert (first.reference, first.task, first.id, second.id) == (None, None, "1", "2")


def test_a_cell_holds_messages_in_json(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "[1]"}]
    cell = json.dumps(messages).replace('"', '""')
    [prompt] = data(write(tmp_path / "a.csv", "messages", f'"{cell}"')).train
    assert prompt.messages == messages
    [prompt] = data(write(tmp_path / "b.csv", "prompt", '"[1, 2]"')).train
    assert prompt.messages == user("[1, 2]")


def test_a_long_cell_is_read(tmp_path: Path) -> None:
    [prompt] = data(write(tmp_path / "a.csv", "prompt", "x" * 200_000)).train
    assert len(prompt.messages[0]["content"]) == 200_000


def test_lines_may_stand_in_a_json_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", {"prompt": "a"}, {"prompt": "b"})
    assert [prompt.id for prompt in data(path).train] == ["1", "2"]


def test_files_that_count_alike_have_ids_of_their_own(tmp_path: Path) -> None:
    train, test = ({"prompt": text, "id": 0} for text in "ab")
    paths = [write(tmp_path / f"{name}.jsonl", row) for name, row in (("x", train), ("y", test))]
    task = data(paths[0], held_out=paths[1])
    assert [prompt.id for prompt in (*task.train, *task.held_out)] == ["0", "held_out/0"]
    assert [prompt.id for prompt in data(str(tmp_path)).train] == ["x:0", "y:0"]


def test_a_folder_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(TaskError, match="there is no such file or folder here"):
        data("nowhere")
    write(tmp_path / "a.jsonl", {"prompt": "a"})
    assert len(data("~/a.jsonl").train) == 1
