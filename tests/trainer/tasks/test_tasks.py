"""Tasks: what is held out, what is right, which lines and names are refused."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium_trainer.tasks import TASKS, open_task
from podium_trainer.tasks.addition import addition
from podium_trainer.tasks.task import Message, Prompt, PromptCursor, Task, TaskError, Tool


def numbers(prompt: Prompt) -> frozenset[str]:
    a, _, b, _ = prompt.id.split()
    return frozenset((a, b))


def says(text: str) -> Sequence[Message]:
    return [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]


# Addition


@given(held_out=st.integers(0, 90), seed=st.integers(0, 50))
@settings(deadline=None)
def test_no_addition_problem_is_held_out_whose_mirror_image_is_trained_on(
    held_out: int, seed: int
) -> None:
    task = addition(held_out, seed)
    trained, tested = ({*map(numbers, side)} for side in (task.train, task.held_out))
    assert not trained & tested
    assert held_out <= len(task.held_out) <= held_out + 1
    every = [*task.train, *task.held_out]
    assert len(every) == len({prompt.id for prompt in every}) == 99
    assert "2 + 2 =" not in {prompt.id for prompt in every}  # every prompt shows it


def test_addition_draws_the_same_problems_for_the_same_seed() -> None:
    assert addition(seed=1).held_out == addition(seed=1).held_out
    assert addition(seed=1).held_out != addition(seed=2).held_out


@pytest.mark.parametrize(
    ("said", "score"),
    [("12", 1), (" 12\n", 1), ("12.", 1), ("12 .", 1), ("12..", 0), ("1 2", 0), ("12.0", 0),
     ("= 12", 0), ("twelve", 0), ("112", 0), ("", 0), ("1\n2", 0)],
)  # fmt: skip
def test_addition_takes_the_sum_and_nothing_else(said: str, score: float) -> None:
    task = addition()
    prompt = next(p for p in [*task.train, *task.held_out] if p.id == "5 + 7 =")
    assert prompt.reference == "12"
    assert task.score(prompt, says(said)) == score


# JSON lines


def write(path: Path, *lines: object) -> str:
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
    held = write(tmp_path / "test.jsonl", {"prompt": "Name one.", "reference": "1"})
    task = open_task("jsonl", {"path": path, "held_out": held})
    assert task.train == [
        Prompt("1", [{"role": "user", "content": "Name a prime."}], reference="7"),
        Prompt("sum", messages, task="Add."),
    ]
    assert [prompt.id for prompt in task.held_out] == ["held_out/1"]
    assert (task.tools, task.max_turns) == ((), 1)


def test_held_out_lines_are_scored_by_their_reference(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"prompt": "?", "reference": "seven"}, {"prompt": "?!"})
    task = open_task("jsonl", {"path": path})
    scored, unscored = task.train
    assert task.score(scored, says(" seven\n")) == 1
    assert task.score(scored, says("Seven")) == 0
    assert task.score(unscored, says("seven")) is None


def test_a_line_ends_where_json_lines_end_and_not_at_unicodes_line_separators(
    tmp_path: Path,
) -> None:
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
def test_a_bad_line_is_refused_with_its_place(tmp_path: Path, line: str, words: str) -> None:
    path = write(tmp_path / "a.jsonl", {"prompt": "good"}, line)
    with pytest.raises(TaskError) as caught:
        open_task("jsonl", {"path": path})
    message = str(caught.value)
    assert message.startswith(f"{path}:2")
    assert words in message
    assert "\n" not in message


def test_files_that_cannot_be_used_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"nowhere\.jsonl' cannot be read: "):
        open_task("jsonl", {"path": str(tmp_path / "nowhere.jsonl")})
    with pytest.raises(TaskError, match=r"empty\.jsonl holds no prompt: write one JSON object"):
        open_task("jsonl", {"path": write(tmp_path / "empty.jsonl", "", " ")})
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(TaskError, match=r"bytes\.jsonl' cannot be read: "):
        open_task("jsonl", {"path": str(tmp_path / "bytes.jsonl")})


def test_a_repeated_id_is_refused(tmp_path: Path) -> None:
    same = {"prompt": "a", "id": "x"}
    with pytest.raises(TaskError, match="prompt id 'x' comes twice: ids must be unique"):
        open_task("jsonl", {"path": write(tmp_path / "a.jsonl", same, same)})


# Names and options


def my_task(size: int = 2) -> Task:
    return Task([Prompt(str(i), []) for i in range(size)])


def not_a_task() -> str:
    return "a task"


HERE = my_task.__module__


def test_a_task_is_opened_by_its_name_or_its_function() -> None:
    assert len(open_task("addition", {"held_out": 9}).held_out) in (9, 10)
    assert len(open_task(f"{HERE}:my_task", {"size": 5}).train) == 5
    assert {"addition", "jsonl", "prices"} <= set(TASKS)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("adition", {}, r"task\.name 'adition': take one of \['addition', .* or package\.module"),
        ("no.such:thing", {}, r"task\.name 'no\.such:thing' cannot be imported: "),
        (f"{HERE}:nothing", {}, r"cannot be imported: .* no attribute 'nothing'"),
        (":my_task", {}, r"task\.name ':my_task'"),
        (f"{HERE}:not_a_task", {}, r"made a str, not a podium_trainer\.tasks\.Task"),
        (f"{HERE}:my_task", {"sise": 5}, r"task\.options {'sise': 5} do not fit task .*'sise'"),
        ("addition", {"held_out": "x"}, r"task\.options .* do not fit task 'addition': "),
        ("jsonl", {}, r"do not fit task 'jsonl': .*'path'"),
        ("addition", {"held_out": 99}, "the task yields no prompt to train on"),
        (f"{HERE}:my_task", {"size": 0}, "the task yields no prompt to train on"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_line(
    name: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(TaskError, match=words) as caught:
        open_task(name, options)
    assert "\n" not in str(caught.value)


def test_a_tool_whose_function_no_process_could_import_is_refused() -> None:
    with pytest.raises(TaskError, match="tool 'local': its function must be importable by name"):
        Tool("local", "", {}, lambda: 1)


def test_prices_are_asked_for_with_a_tool_and_told_as_a_bare_number() -> None:
    task = open_task("prices", {"held_out": 5})
    assert len(task.held_out) == 5
    assert not {p.id for p in task.train} & {p.id for p in task.held_out}
    [tool] = task.tools
    assert task.max_turns > 1
    for prompt in (*task.train, *task.held_out):
        price = str(tool.function(item=prompt.id))
        assert prompt.reference == price
        assert task.score(prompt, says(price)) == 1
        assert task.score(prompt, says(price + "0")) == 0
        assert task.score(prompt, [{"role": "tool", "content": price}]) == 0


# The cursor


PROMPTS = [Prompt(str(i), []) for i in range(7)]


@given(st.lists(st.integers(0, 10), max_size=8), st.integers(0, 5))
@settings(deadline=None)
def test_every_epoch_is_a_permutation_of_its_own(counts: list[int], seed: int) -> None:
    cursor = PromptCursor(PROMPTS, seed)
    taken = [prompt.id for count in counts for prompt in cursor.take(count)]
    assert cursor.taken == len(taken) == sum(counts)
    for start in range(0, len(taken), 7):
        epoch = taken[start : start + 7]
        assert len(set(epoch)) == len(epoch)


def test_epochs_differ_and_seeds_differ() -> None:
    cursor = PromptCursor(PROMPTS, 0)
    orders = [tuple(p.id for p in cursor.take(7)) for _ in range(4)]
    assert len(set(orders)) == 4
    assert tuple(p.id for p in PromptCursor(PROMPTS, 1).take(7)) != orders[0]


@given(st.integers(0, 30), st.integers(0, 30))
@settings(deadline=None)
def test_a_cursor_goes_on_from_the_number_taken_alone(before: int, after: int) -> None:
    whole = PromptCursor(PROMPTS, 3)
    whole.take(before)
    resumed = PromptCursor(PROMPTS, 3, taken=whole.taken)
    assert resumed.take(after) == whole.take(after)
