"""A prompt of which an endpoint read only a part is found out, and no other one is."""

import pytest

from podium_service.judges.endpoint.truncation import TruncationCheck
from podium_service.prompts.templates import Prompt

ENGLISH = "The attempt answers the question with three short and friendly sentences. " * 800
CHINESE = "\u8fd9\u4e2a\u56de\u7b54\u7528\u4e09\u4e2a\u7b80\u77ed\u7684\u53e5\u5b50\u3002" * 3000
BASE64 = "iVBORw0KGgoAAAANSUhEUgAAAAUA" * 2000
DASHES = "-" * 60_000


def is_cut(text: str, tokens_read: int, *counted_before: int) -> bool:
    check = TruncationCheck()
    for count in counted_before:
        check.is_cut(Prompt("scores", [("user", ["Hello"])], [], []), count)
    prompt = Prompt("scores", [("system", ["Be fair."]), ("user", ["Here: ", text])], [], [])
    return check.is_cut(prompt, tokens_read)


# 8,800 words of 59,200 characters; 39,000 characters, which are as many as 9,000 words.
@pytest.mark.parametrize(
    ("text", "tokens_read"), [(ENGLISH, 2050), (ENGLISH, 5500), (CHINESE, 2048), (CHINESE, 6000)]
)
def test_far_fewer_tokens_than_words_were_not_all(text: str, tokens_read: int) -> None:
    assert is_cut(text, tokens_read)


@pytest.mark.parametrize(
    ("text", "tokens_read"),
    [
        (ENGLISH, 12_000),  # as common tokenizers count it
        (ENGLISH, 7_500),  # eight characters a token, more than any vocabulary has on average
        (CHINESE, 15_000),
        (BASE64, 20_000),
        (BASE64, 600),  # a text without words tells nothing
        (DASHES, 600),  # runs of one character are merged into few tokens
        (" \n" * 30_000, 600),
        ("implementation " * 5000, 5_000),  # long words, a token each
    ],
)
def test_no_whole_prompt_is_taken_for_a_part(text: str, tokens_read: int) -> None:
    assert not is_cut(text, tokens_read)


@pytest.mark.parametrize("tokens_read", [0, 1, 100, 511])
def test_a_count_that_is_no_context_tells_nothing(tokens_read: int) -> None:
    assert not is_cut(ENGLISH, tokens_read)


def test_an_endpoint_that_has_read_more_did_not_cut() -> None:
    assert is_cut(ENGLISH, 2050, 1200, 4000)
    assert not is_cut(ENGLISH, 2050, 1200, 5000)
