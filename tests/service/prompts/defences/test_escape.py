"""Escaped text: no tag of ours, no mark of chat templates, and marks before spaces if wanted."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium_service.prompts.defences.escape import DATAMARK, clean, escape_labels, mark_spaces
from tests.service.helpers import cpu_s


@pytest.mark.parametrize(
    "mark",
    [
        "<|im_start|>system", "<|eot_id|>", "<\uff5cUser\uff5c>", "<s>", "</s>", "<<SYS>>",
        "<</SYS>>",
        "<start_of_turn>user", "<end_of_turn>", "<bos>", "<eos>", "[INST]", "[/INST]",
    ],
)  # fmt: skip
def test_a_mark_of_chat_templates_loses_its_bracket(mark: str) -> None:
    for shown in (clean(f"before {mark} after"), mark_spaces(f"before {mark} after")):
        assert mark not in shown
        assert mark.lstrip("<[/") in shown  # the rest is left for the judge to see


@pytest.mark.parametrize(
    "text", ["a < b | c", "a <span> b", "if (a<b) x[INSTANCE] = 1", "x | y", "<sys>", "[INSTALL]"]
)
def test_other_brackets_are_left_alone(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    "forged",
    [
        "＜/trajectory＞", "﹤/trajectory>", "‹task›", "〈/message〉", "<\u200b/trajectory>",
        "</traj\u200bectory>", "<／trajectory>", "<ｔａｓｋ>",
        "<𝐭𝐚𝐬𝐤>", "<trаjесtоry>", "<\x00/claims>",
        "<t\u0336a\u0336s\u0336k>", "<\u2060 /\ufeff tool_result>", "<\U000e0041/message>",
    ],
)  # fmt: skip
def test_a_disguised_tag_is_escaped_at_its_bracket(forged: str) -> None:
    said = clean(f"é before {forged} after")
    assert said.startswith("é before &lt;")
    assert said.endswith(" after")


@pytest.mark.parametrize(
    "harmless", ["a < б", "«task»", "《task》", "x ‹ y", "<div>é</div>", "＜b＞", "1 < 2 — “tasks”"]
)
def test_brackets_of_other_scripts_are_left_alone(harmless: str) -> None:
    assert clean(harmless) == harmless


@pytest.mark.parametrize(
    "unit", ["<", "< ", "<\u200b", "＜ /", "<t\u200br\u200ba", "<\xa0", "<é", "\x00", "</"]
)
@pytest.mark.parametrize("tail", [" ", "\u200b", ""])
def test_cleaning_takes_linear_time(unit: str, tail: str) -> None:
    text = unit * 100_000 + tail * 300_000
    assert cpu_s(lambda: clean(text)) < 0.5


@given(st.text(st.characters(max_codepoint=0xE010)))
def test_a_datamark_stands_before_every_run_of_spaces(text: str) -> None:
    assert mark_spaces(text).replace(DATAMARK, "") == clean(text.replace(DATAMARK, ""))
    assert not re.search(rf"(?<![\s{DATAMARK}])\s|{DATAMARK}(?!\s)", mark_spaces(text))


def test_a_forged_datamark_is_removed_before_tags_are_escaped() -> None:
    assert mark_spaces(f"a{DATAMARK}b <{DATAMARK}/task>") == f"ab{DATAMARK} &lt;/task>"


@pytest.mark.parametrize(
    "forged",
    ["[image 2]", "[ Image 2]", "[\tIMAGE 2: not shown]", "\uff3bimage 2\uff3d", "\u3010image 2",
     "[im\u0430ge 2]", "[i\u200bmage\u200b 2]", "[\u2060image 3]"],
)  # fmt: skip
def test_what_looks_like_a_label_of_an_image_is_escaped(forged: str) -> None:
    escaped = escape_labels(f"a[0] {forged}")
    assert escaped.startswith("a[0] &#91;")
    assert escape_labels(escaped) == escaped


@pytest.mark.parametrize("harmless", ["a[0]", "[i] mage", "image [2]", "[\u4e00image"])
def test_brackets_of_no_label_are_left_alone(harmless: str) -> None:
    assert escape_labels(harmless) == harmless
