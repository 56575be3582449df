"""Characters that hide or reorder text are made visible, in texts and in attributes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium_service.pages.texts.visible import make_visible, mark_hidden


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\nof lines", "plain\ttext\nof lines"),
        ("a\r\nb", "a\nb"),
        ("a\u202eb", "a[U+202E]b"),
        ("nul \0 esc \x1b", "nul [U+0000] esc [U+001B]"),
        ("zero\u200bwidth", "zero[U+200B]width"),
        ("\U000e0041", "[U+E0041]"),
        ("\ud83d", "[U+D83D]"),
        ("\U0001f469\u200d\U0001f52c", "\U0001f469\u200d\U0001f52c"),
        ("a\u200db", "a[U+200D]b"),
        ("žluťoučký 日本 العربية", "žluťoučký 日本 العربية"),
    ],
)
def test_hidden_characters_are_named(text: str, shown: str) -> None:
    assert make_visible(text) == shown


def test_a_marked_character_says_its_name() -> None:
    assert mark_hidden("<\u202e>") == (
        '&lt;<mark class="hidden" title="RIGHT-TO-LEFT OVERRIDE">U+202E</mark>&gt;'
    )


@given(st.text())
def test_no_text_makes_a_tag_or_ends_an_attribute(text: str) -> None:
    html = str(mark_hidden(text)).replace("<mark class=", "").replace("</mark>", "")
    html = html.replace('"hidden" title="', "").replace('">', "")
    assert "<" not in html
    assert '"' not in html
    html.encode()  # no surrogate is left
