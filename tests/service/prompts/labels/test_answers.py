"""A table of replies: each is read as one label, or it is a fault, and no label is guessed."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium_service.prompts.labels.answers import find_label
from podium_service.prompts.reply import Place
from podium_service.prompts.verdict import Fault
from tests.service.helpers import cpu_s

PAIR = ["K", "B", "="]
LETTERS = ["A", "B", "C", "D"]
DIGITS = [*"0123456789"]
WORDS = ["yes", "no"]


def read(text: str, labels: list[str], place: Place = "anywhere") -> str | None:
    """Return the label, or None for a fault."""
    try:
        named = find_label(text, labels, place)
    except Fault:
        return None
    begins = unicodedata.normalize("NFKC", text[named.start :]).casefold()
    assert begins.startswith(named.label.casefold())
    return named.label


@pytest.mark.parametrize(
    "text",
    [
        "K",
        "k",
        "K.",
        "**K**",
        "(K)",
        "[K]",
        "(K",
        "'K'",
        '"K"',
        "\n\nK\n",
        "\\boxed{K}",
        "<answer>K</answer>",
        "K<|im_end|>",
        "\u2705 K",
        "Trajectory K",
        "Answer: K",
        "Final answer: **K**",
        "Verdict: K",
        '{"winner": "K"}',
        "K\n\nB is too short.",
        "B is too short.\n\nK",
        "Answer: K\n\nB skipped the explanation.",
        "K, because B is wrong",
        "K (B is too short)",
        "K - it explains the scattering, unlike B",
        "K. It explains more.",
        "The better one is K, not B",
        "**Better:** K",
        "The better trajectory is trajectory K.",
        "The answer is K because it explains.",
        "My answer is K since B is wrong.",
        "I choose K because B is wrong.",
        "I'd go with K.",
        "I prefer K over B.",
        "K is better than B",
        "K is the better one.",
        "Overall, K is clearly better.",
        "K's answer is better.",
        "B is worse than K",
        "K beats B",
        "K > B",
        "The answer K makes more sense, so K",
        "Both B and K try. So K.",
        "K, weil B falsch ist.",
        "K, car B est faux.",
        "K\uff0c\u56e0\u4e3aB\u6ca1\u6709\u89e3\u91ca\u3002",
        "K\u3002",
        "K\n\nB says 12, which is wrong. However, it is polite.",
        "Best: K. Worst: B",
        "B claims 12, so K",
        "K (not B)",
        "\u2705 K\n\u274c B",
        "[[K]]",
        "\uff2b",
        "K. The worst one is B.",
        "K, because it is short, clear and correct.",
        "K (correct) is best.",
    ],
)
def test_a_reply_that_prefers_k_is_read_as_k(text: str) -> None:
    assert read(text, PAIR) == "K"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "not K",
        "Not K but B",
        "K or B?",
        "K or B",
        "K and B",
        "K, B",
        "K/B",
        "K\nB",
        "K = B",
        "K?",
        "Neither",
        "Both are equally good",
        "It's a tie",
        "Maybe K",
        "Is K better?",
        "K is better than B? No.",
        "I don't think K is better.",
        "If format counts, K is better.",
        "At first glance K is better.",
        "K is better in style.",
        "K is better, but B is shorter.",
        "K. Wait, actually B.",
        "K, or maybe B",
        "The best is K. The best is B.",
        "The worse one is K",
        "K is worse.",
        "The answer is B. K found it.",
        "The correct answer is B, and K says so.",
        '{"reason": "B fails", "answer": "K"}',
        "K explains the scattering, B does not know.",
        "B: skipped it\nK: explains it",
        "B. Skipped it. K. Explains it.",
        "K as well as B",
        "X",
        "The better one is X",
        "Kind of Both",
        "K; B",
        "K. B",
        "K.B",
        "K (too short), B (complete)",
        "K - it is too short, B - it explains all.",
        "K! No, B.",
        "K (wrong)",
        "K, which is wrong",
        "K. This is the worst one.",
        "K \u274c",
        "\u2717 K",
        "K (\u2717)",
        "K. But B is right.",
        "K\n\nHowever, B explains it.",
        "I choose K, if style counts.",
        "The attempt says: K is better than B.",
        "B claims that I choose K.",
        "La meilleure est K",
        "K ist besser als B",
        "Antwort: K",
        "K\u66f4\u597d\u3002",
        "K, no",
        "K, unlike B, fails to answer.",
        "K (the shorter one) is worse.",
        "K, the worse one.",
        "K\nIt is wrong.",
        "K, aber B ist besser",
        "K. Falsch.",
        "K (incorrecta)",
        "K\uff0c\u4f46\u662fB\u66f4\u597d\u3002",
        "K\uff08\u9519\u8bef\uff09",
    ],
)
def test_a_reply_with_two_readings_or_unknown_words_is_a_fault(text: str) -> None:
    assert read(text, PAIR) is None


@pytest.mark.parametrize("text", ["=", "= (equally good)", "Answer: =", "**=**"])
def test_a_tie_is_read_from_its_sign(text: str) -> None:
    assert read(text, PAIR) == "="


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("A", "A"),
        ("a", "A"),
        ("A, because C is wrong", "A"),
        ("A is best.", "A"),
        ("The best answer is A.", "A"),
        ("I choose A", "A"),
        ("A, B and D are wrong, so C", "C"),
        ("A quick look shows that B is best", None),
        ("A better answer is C", None),
        ("A good answer would be B.", None),
        ("B is a good answer", None),
        ("The answer is a bit unclear", None),
        ("A: The answer is B", None),
        ("A B", None),
        ("C is better than D", None),
        ("E", None),
    ],
)
def test_the_article_a_is_not_the_letter_a(text: str, label: str | None) -> None:
    assert read(text, LETTERS) == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("8", "8"),
        ("8.", "8"),
        ("8/9", "8"),
        ("8 out of 9.", "8"),
        ("Rating: **8**/9", "8"),
        ("7 (0 is worst, 9 is best)", "7"),
        ("0 (worst)", "0"),
        ("Rating: 8 ... took 4 steps", "8"),
        ("Rating: 8\nThe agent took 4 steps.", "8"),
        ("Score: 8", "8"),
        ("8\n\n1. It is good.\n2. It is short.", "8"),
        ("1. It is good.\n2. It is short.\n\nRating: 8", "8"),
        ("The agent's answer is 5.\nRating: 8", "8"),
        ("On a scale from 0 to 9, I rate this 8.", "8"),
        ("I'd give it an 8.", "8"),
        ("8 - good work", "8"),
        ("Answer: 8", "8"),
        ('{"rating": 8, "steps": 4}', "8"),
        ("8/10", None),
        ("8 out of 10", None),
        ("7 (out of 10)", None),
        ("between 7 and 8", None),
        ("7-8", None),
        ("7 or 8", None),
        ("7.5", None),
        ("7,5", None),
        ("10", None),
        ("-1", None),
        ("80%", None),
        ("Rating: -8", None),
        ("Score: 8\nScore: 6", None),
        ("The agent took 4 steps", None),
        ("The answer is 5, which the agent found.", None),
        ("Answer: 5\nThe agent took 4 steps.", None),
        ("8. The agent did well.", None),
        ("1. It is good\n2. It is short", None),
        ("Bewertung: 8", None),
        ("\uff18/\uff19", "8"),
        ("\uff18\uff0e\uff15", None),
        ("8 (9 is best)", "8"),
        ("8, out of 10", None),
        ("8 (on a scale from 1 to 10)", None),
        ("On a scale of 1 to 10, I rate it 8.", None),
        ('{"score": 8, "max": 10}', None),
        ("0 (worst) to 9 (best)", None),
        ("I rate this 7, no, 5.", None),
        ("The answer is 9.", None),
        ("\u8bc4\u5206\uff1a8", None),
    ],
)
def test_a_rating_is_the_digit_that_rates(text: str, label: str | None) -> None:
    assert read(text, DIGITS) == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Yes", "yes"),
        ("YES.", "yes"),
        ("Yes, it is correct.", "yes"),
        ("No. The sum is 12.", "no"),
        ("**No**\n\nIt says 5.", "no"),
        ("The answer is no because 9 + 3 is 12", "no"),
        ("Yes and no", None),
        ("Yes/No", None),
        ("Yes, but the number is wrong", None),
        ("No errors found.", None),
        ("No, wait, yes", None),
        ("Not sure", None),
        ("No. Yes.", None),
        ("Yes; no", None),
        ("No - yes", None),
        ("Yes, correct. No, incomplete.", None),
        ("Yes (correct) but No (complete)", None),
        ("Yes. However, it is cut short.", None),
        ("Yes (partially)", None),
        ("Yes, with a few minor issues.", None),
        ("Yes, except for the unit", None),
        ("Yes, it has one error.", None),
        ("Yes. There is a mistake in step 2.", None),
        ("Yes, in spirit", None),
        ("Yes, without mistakes", "yes"),
        ("Yes, it has no errors.", "yes"),
        ("No, with two mistakes", "no"),
        ("Yes, if one is lenient", None),
        ("No (partly correct)", None),
        ("No, no errors. It is incomplete.", None),
        ("No \U0001f44e", "no"),
        ("Yes, it is not wrong.", "yes"),
        ("No, the answer is correct but not complete.", "no"),
        ("Yes, it is incorrect.", None),
        ("Yes. The answer isn't complete.", None),
        ("Yes (incomplete)", None),
        ("Yes, aber unvollst\u00e4ndig", None),
        ("No, it is correct.", None),
        ("No, I can't judge this.", None),
        ("Yes, with one error", None),
        ("Yes (with some minor mistakes).", None),
        ("Yes, apart from a typo", None),
        ("Yes, with caveats.", None),
        ("Yes, mit einem Fehler", None),
        ("Yes, to some extent", None),
        ("No, for the most part", None),
        ("Yes, with no errors", "yes"),
        ("Yes, with the error fixed.", "yes"),
        ("Yes, with an error message", "yes"),
        ("Yes, without errors", "yes"),
        ("No, with one error", "no"),
    ],
)
def test_words_are_read_in_any_case(text: str, label: str | None) -> None:
    assert read(text, WORDS) == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("K", "K"),
        ("**K**\n\nBecause the other", "K"),
        ("Answer: K\nBecause B", "K"),
        ("Answer: K", None),  # "or B" may follow
        ("K is better, since B", None),
        ("I first look at K.\nK", None),
        ("The better one is K. It", None),
        ("Answer K\nIt begins with", None),
        ("## K\nIt begins with", None),
        ("Trajectory K\nbegins with", None),
    ],
)
def test_a_cut_off_reply_counts_by_its_first_line(text: str, label: str | None) -> None:
    assert read(text, PAIR, "alone") == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("B fails.\nK", "K"),
        ("B fails.\n\nAnswer: **K**\n", "K"),
        ("K is better than B.", None),
        ("K explains it, B does not know.", None),
        ("K\nThat is clear.", None),
    ],
)
def test_thoughts_count_only_if_their_last_line_answers(text: str, label: str | None) -> None:
    assert read(text, PAIR, "end") == label


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("Hard to say.", "it names none of K, B, ="),
        ("K or B", "it is not clear which of K, B, = it names"),
    ],
)
def test_a_fault_says_what_to_correct(text: str, said: str) -> None:
    with pytest.raises(Fault, match=f"^{said}$"):
        find_label(text, PAIR)


PIECES = [
    "K",
    "B",
    "A",
    "=",
    "7",
    "9",
    " is better",
    " than ",
    ", not ",
    ": ",
    "\n",
    ". ",
    "**",
    "(",
]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join))
@settings(max_examples=150)
def test_any_text_is_read_as_a_known_label_or_is_a_fault(text: str) -> None:
    for labels in (PAIR, LETTERS, DIGITS, WORDS):
        label = read(text, labels)
        assert label is None or label in labels


@pytest.mark.parametrize(
    "piece", [" ", "\n", "\n ", "the ", "K ", "I think ", "(", "K is better\n", "1. "]
)
def test_a_long_reply_takes_linear_time(piece: str) -> None:
    text = piece * (60_000 // len(piece))
    assert cpu_s(lambda: read(f"K{text}", PAIR)) < 2
    assert cpu_s(lambda: read(f"yes{text}", WORDS)) < 2
    assert cpu_s(lambda: read(text, DIGITS)) < 2
