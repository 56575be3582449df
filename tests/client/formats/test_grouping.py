"""Rows come together into groups by what they share, and get ids and references."""

from typing import Any

import pytest

from podium.formats import FormatError, read_rows


def chat(question: str, answer: str, **fields: Any) -> dict[str, Any]:
    asked, said = {"role": "user", "content": question}, {"role": "assistant", "content": answer}
    return {"messages": [asked, said], **fields}


def members(rows: list[Any], **options: Any) -> list[list[str]]:
    """Return the answers in each group."""
    return [
        [trajectory["messages"][-1]["content"] for trajectory in group["trajectories"]]
        for group in read_rows(rows, **options).groups
    ]


def test_rows_of_one_prompt_are_a_group_wherever_they_stand() -> None:
    rows = [chat("1?", "a"), chat("2?", "b"), chat("1?", "c"), chat("2?", "d")]
    assert members(rows) == [["a", "c"], ["b", "d"]]


def test_one_prompt_in_two_steps_is_two_groups() -> None:
    assert members([chat("1?", text, step=text < "c") for text in "abcd"]) == [
        ["a", "b"],
        ["c", "d"],
    ]


@pytest.mark.parametrize("name", ["group_id", "uid", "task_id", "prompt_id"])
def test_a_name_that_repeats_beats_the_prompt(name: str) -> None:
    rows = [chat(f"{index}?", text, **{name: index // 2}) for index, text in enumerate("abcd")]
    assert members(rows) == [["a", "b"], ["c", "d"]]
    assert [group["group_id"] for group in read_rows(rows).groups] == ["0", "1"]


def test_a_name_in_the_metadata_counts() -> None:
    rows = [chat(text, text, metadata={"group_id": "g"}) for text in "ab"]
    assert members(rows) == [["a", "b"]]


def test_a_name_that_is_unique_or_a_category_does_not_count() -> None:
    assert members([chat("1?", text, uid=text) for text in "ab"]) == [["a", "b"]]
    rows = [chat(f"{index // 2}?", str(index), task_id="math") for index in range(80)]
    assert len(members(rows)) == 40


def test_group_by_names_the_field_also_inside_others() -> None:
    rows = [chat(text, text, info={"puzzle": text < "c"}) for text in "abcd"]
    assert members(rows, group_by="info.puzzle") == [["a", "b"], ["c", "d"]]
    with pytest.raises(FormatError, match="--group-by colour: no row has this field"):
        read_rows(rows, group_by="colour")


def test_rows_that_share_nothing_are_said_to_compare_nothing() -> None:
    reading = read_rows([chat("1?", "a"), chat("2?", "b")])
    assert [len(group["trajectories"]) for group in reading.groups] == [1, 1]
    assert "nothing is compared (see --group-by)" in reading.summary


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        ([{"id": "x"}, {"id": "y"}], ["x", "y"]),
        ([{"id": "x"}, {}], ["x", "1"]),
        ([{"id": "x"}, {"id": "x"}], ["0", "1"]),
        ([{"id": "x", "generator": "m"}, {"id": "x", "generator": "n"}], ["m", "n"]),
        ([{"id": 7}, {"id": 8}], ["7", "8"]),
        ([{}, {}], ["0", "1"]),
    ],
)
def test_a_missing_or_repeated_id_becomes_the_index(
    names: list[dict[str, Any]], ids: list[str]
) -> None:
    [group] = read_rows([chat("1?", str(n), **each) for n, each in enumerate(names)]).groups
    assert [trajectory["id"] for trajectory in group["trajectories"]] == ids


def test_a_reference_is_kept_only_if_all_rows_agree() -> None:
    def reference(*answers: str) -> Any:
        rows = [{"prompt": "1?", "completion": x, "answer": x, "tools": []} for x in answers]
        return read_rows(rows).groups[0].get("reference")

    assert reference("42", "42") == "42"
    assert reference("42", "41") is None


def test_the_last_call_of_a_trace_counts() -> None:
    def call(trace: str, at: int, *turns: str) -> dict[str, Any]:
        roles = ("user", "assistant", "user", "assistant")
        messages = [{"role": r, "content": t} for r, t in zip(roles, turns, strict=False)]
        return {"id": f"{trace}{at}", "traceId": trace, "type": "GENERATION", "endTime": str(at),
                "input": messages[:-1], "output": messages[-1]}  # fmt: skip

    rows = [call("s", 2, "1?", "a", "2?", "b"), call("s", 1, "1?", "a"), call("t", 1, "1?", "c")]
    assert members(rows) == [["b", "c"]]
    parallel = [call("s", at, "1?", text) for at, text in enumerate("ab")]
    assert members(parallel) == [["a", "b"]]


def test_images_and_unknown_parts_are_passed_on_as_they_are() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    source = {"type": "image", "source": {"type": "url", "url": "https://x.y/z.png"}}
    content = [{"type": "text", "text": "What is it?"}, image, source]
    use = {"type": "tool_use", "id": "c", "name": "look", "input": {}}
    rows = [
        {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": turn}]}
        for turn in ("a cat", [use])
    ]
    for group in read_rows(rows).groups:
        for trajectory in group["trajectories"]:
            assert trajectory["messages"][0]["content"] == content


def test_a_completion_that_is_null_is_an_empty_attempt() -> None:
    rows = [{"prompt": "1?", "completion": text} for text in (None, "a")]
    [group] = read_rows(rows).groups
    assert [len(trajectory["messages"]) for trajectory in group["trajectories"]] == [1, 2]
