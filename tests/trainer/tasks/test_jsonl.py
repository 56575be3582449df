"""The jsonl task: how lines become prompts, and which lines and files it refuses."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from podium_trainer.tasks import open_task
from podium_trainer.tasks.task import Message, Prompt, TaskError


def answer(text: str) -> Sequence[Message]:
    """Return a conversation that ends with this text."""
    return [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]


def write(path: Path, *lines: object) -> str:
    """Write a file of texts as they are and of other values as JSON; return its path."""
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_lines_become_prompts(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2"}]
    path = write(
        tmp_path / "train.jsonl",
        {"prompt": "Name a prime.", "reference": 7},
        "",
        {"messages": messages, "id": "sum", "task": "Add."},
        "  ",
    )
    held_out = write(tmp_path / "test.jsonl", {"prompt": "Name one.", "reference": "1"})
    task = open_task("jsonl", {"path": path, "held_out": held_out})
    assert task.train == [
        Prompt("1", [{"role": "user", "content": "Name a prime."}], reference="7"),
        Prompt("sum", messages, task="Add."),
    ]
    assert [prompt.id for prompt in task.held_out] == ["held_out/1"]
    assert (task.tools, task.max_turns) == ((), 1)


def test_a_line_is_scored_by_its_reference_if_it_has_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"prompt": "?", "reference": "seven"}, {"prompt": "?!"})
    with_reference, without_reference = open_task("jsonl", {"path": path}).train
    score = open_task("jsonl", {"path": path}).score
    assert score(with_reference, answer(" seven\n")) == 1
    assert score(with_reference, answer("Seven")) == 0
    assert score(without_reference, answer("seven")) is None


def test_unicode_line_separators_do_not_end_a_line(tmp_path: Path) -> None:
    odd = "a\u2028b\x85c\x0cd"
    line = json.dumps({"prompt": odd}, ensure_ascii=False)
    [prompt] = open_task("jsonl", {"path": write(tmp_path / "a.jsonl", line)}).train
    assert prompt.messages[0]["content"] == odd


def test_windows_line_ends_are_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"prompt": "a"}\r\n{"prompt": "b"}\r\n')
    assert len(open_task("jsonl", {"path": str(path)}).train) == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "is not JSON: "),
        ("[" * 100_000, "is not JSON: "),
        ("7", "a line is an object with some of"),
        ('["a"]', "a line is an object with some of"),
        ('{"prompt": "a", "answer": "b"}', "a line is an object with some of"),
        ("{}", "needs a text `prompt` or `messages`"),
        ('{"prompt": null}', "needs a text `prompt` or `messages`"),
        ('{"prompt": 7}', "needs a text `prompt` or `messages`"),
        ('{"messages": []}', "needs a text `prompt` or `messages`"),
        ('{"messages": "hi"}', "needs a text `prompt` or `messages`"),
        ('{"messages": 7}', "needs a text `prompt` or `messages`"),
        ('{"messages": {"role": "user"}}', "needs a text `prompt` or `messages`"),
        ('{"messages": [{"role": "user"}]}', "needs a text `prompt` or `messages`"),
        ('{"messages": [{"role": "user", "content": ["a"]}]}', "needs a text `prompt`"),
        ('{"prompt": "\\ud800"}', "is not JSON: "),
    ],
    ids=lambda text: text[:25],
)
def test_a_bad_line_is_refused_with_its_location(tmp_path: Path, line: str, words: str) -> None:
    path = write(tmp_path / "a.jsonl", {"prompt": "good"}, line)
    with pytest.raises(TaskError) as caught:
        open_task("jsonl", {"path": path})
    message = str(caught.value)
    assert message.startswith(f"{path}:2")
    assert words in message
    assert "\n" not in message


def test_an_unusable_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"nowhere\.jsonl' cannot be read: "):
        open_task("jsonl", {"path": str(tmp_path / "nowhere.jsonl")})
    with pytest.raises(TaskError, match=r"empty\.jsonl holds no prompt: write one JSON object"):
        open_task("jsonl", {"path": write(tmp_path / "empty.jsonl", "", " ")})
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(TaskError, match=r"bytes\.jsonl' cannot be read: "):
        open_task("jsonl", {"path": str(tmp_path / "bytes.jsonl")})


def test_a_repeated_id_is_refused(tmp_path: Path) -> None:
    line = {"prompt": "a", "id": "x"}
    with pytest.raises(TaskError, match="prompt id 'x' comes twice: ids must be unique"):
        open_task("jsonl", {"path": write(tmp_path / "a.jsonl", line, line)})
