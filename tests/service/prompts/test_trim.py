"""Trimming a group to a context: tokens are not underestimated, and only the longest are cut."""

import re

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from podium_service.errors import ContextExceeded
from podium_service.prompts.message_parts.images import list_labels
from podium_service.prompts.transcript import Transcript
from podium_service.prompts.trim import (
    MIN_TOKENS,
    bound_shown,
    cut_middle,
    estimate_shown,
    estimate_tokens,
    fit,
)
from podium_service.schemas import Image

MARK = re.compile(r'\n<trimmed characters="(\d+)"/>\n')

RUNS = st.lists(
    st.builds(
        lambda char, count: char * count, st.sampled_from("ax1漢é🎈\n<"), st.integers(0, 900)
    ),
    max_size=4,
).map("".join)


def transcript(*bodies: str, context: str = "") -> Transcript:
    digests = [str(index) for index in range(len(bodies))]
    return Transcript(context, list(bodies), digests, [[index] for index in range(len(bodies))])


def tokens(fitted: Transcript) -> int:
    return sum(map(estimate_tokens, [fitted.context, *fitted.bodies]))


def test_tokens_are_a_third_of_the_bytes_and_one_per_digit() -> None:
    assert estimate_tokens("") == 1
    assert estimate_tokens("a" * 300) == 101  # 300 bytes / 3 + 1; English has some 4 to a token
    assert estimate_tokens("7" * 300) == 301  # a token each
    assert estimate_tokens("漢" * 300) == 301  # 3 bytes each
    assert estimate_tokens("é" * 300) == 201  # 2 bytes each
    assert estimate_tokens("a1" * 300) == 401  # (600 + 2 * 300) / 3 + 1


@given(RUNS, RUNS)
@example("7" * 300, "¬" * 300)
def test_no_estimate_exceeds_the_bound(one: str, two: str) -> None:
    assert estimate_shown(transcript(), [one, two]) <= bound_shown(transcript(), [one, two])


@given(st.text(st.sampled_from("0123456789漢字かな한글、。"), max_size=200))
def test_a_digit_or_cjk_character_counts_as_one_token_or_more(text: str) -> None:
    assert estimate_tokens(text) >= len(text)


@given(st.text(max_size=100), st.text(max_size=100))
def test_the_parts_of_a_text_count_no_less_than_the_whole(head: str, tail: str) -> None:
    assert estimate_tokens(head) + estimate_tokens(tail) >= estimate_tokens(head + tail)
    assert estimate_tokens(head + tail) >= len((head + tail).encode()) / 3


def test_nothing_is_trimmed_when_all_fits_exactly() -> None:
    whole = transcript("a" * 3000, "b" * 30, context="c" * 300)
    assert tokens(whole) == 1001 + 11 + 101
    assert fit(whole, 1113) is whole
    assert fit(whole, 1112) != whole


def test_the_longest_parts_are_cut_in_the_middle_to_one_cap() -> None:
    long = ["HEAD" + "a" * 2992 + "TAIL", "head" + "b" * 5992 + "tail"]
    fitted = fit(transcript(long[0], "s" * 30, long[1], context="c" * 30), 600)
    # The short ones take 11 tokens each; the long ones share the rest: (600 - 22) / 2 = 289.
    assert fitted.context == "c" * 30
    assert fitted.bodies[1] == "s" * 30
    for before, after, ends in (
        (long[0], fitted.bodies[0], ("HEAD", "TAIL")),
        (long[1], fitted.bodies[2], ("head", "tail")),
    ):
        assert after.startswith(ends[0])
        assert after.endswith(ends[1])
        assert 270 <= estimate_tokens(after) <= 289
        (cut,) = MARK.findall(after)
        head, tail = MARK.sub("|", after).split("|")
        assert abs(len(head) - len(tail)) <= 1
        assert len(head) + int(cut) + len(tail) == len(before)


def test_a_part_as_long_as_the_cap_is_left_alone() -> None:
    # 1 token for the empty context and 101 for the shorter one; a cap of 101 uses up the budget.
    fitted = fit(transcript("a" * 300, "b" * 3000), 1 + 101 + 101)
    assert fitted.bodies[0] == "a" * 300
    assert fitted.bodies[1] != "b" * 3000


def test_a_long_shared_context_is_cut_like_other_parts() -> None:
    fitted = fit(transcript("a" * 30, "b" * 30, context="c" * 9000), 500)
    assert fitted.bodies == ["a" * 30, "b" * 30]
    assert MARK.search(fitted.context)
    assert estimate_tokens(fitted.context) <= 500 - 22


def test_trimming_keeps_digests_and_members() -> None:
    fitted = fit(transcript("a" * 9000, "b"), 500)
    assert (fitted.digests, fitted.members) == (["0", "1"], [[0], [1]])


def test_digits_at_both_ends_of_a_text_stay_in_the_budget() -> None:
    body = "1" * 3000 + "a" * 30000 + "1" * 3000
    assert tokens(fit(transcript(body, "b"), 4000)) <= 4000


@given(st.lists(RUNS, min_size=2, max_size=5), RUNS, st.integers(100, 2000))
@example(["a" * 100_000, "b" * 100_000], "", 3 * MIN_TOKENS)
@settings(max_examples=60)
def test_a_trimmed_transcript_fits_the_budget(bodies: list[str], context: str, budget: int) -> None:
    whole = transcript(*bodies, context=context)
    try:
        fitted = fit(whole, budget)
    except ContextExceeded:
        assume(False)  # the next test says when
    assert tokens(fitted) <= budget


@given(st.lists(RUNS, min_size=2, max_size=5), RUNS, st.integers(0, 2000))
@settings(max_examples=60)
def test_a_part_is_cut_only_if_it_is_over_the_common_cap(
    bodies: list[str], context: str, budget: int
) -> None:
    parts = [context, *bodies]
    counts = [estimate_tokens(part) for part in parts]
    if sum(counts) <= budget:
        cap = max(counts)
    else:
        cap = max((c for c in range(budget) if sum(min(t, c) for t in counts) <= budget), default=0)
    if cap < MIN_TOKENS and sum(counts) > budget:
        with pytest.raises(ContextExceeded):
            fit(transcript(*bodies, context=context), budget)
        return
    fitted = fit(transcript(*bodies, context=context), budget)
    for part, count, after in zip(parts, counts, [fitted.context, *fitted.bodies], strict=True):
        assert (after == part) == (count <= cap)


def test_too_many_trajectories_are_refused_with_the_numbers() -> None:
    bodies = ["a" * 3000] * 8  # 1001 tokens each, and 1 for the empty context
    with pytest.raises(ContextExceeded) as caught:
        fit(transcript(*bodies), 8 * MIN_TOKENS)
    assert str(caught.value) == (
        "8 trajectories of 8009 tokens (estimated) do not fit 512 tokens even when trimmed: "
        "send fewer, or name a judge with more context"
    )
    assert tokens(fit(transcript(*bodies), 8 * MIN_TOKENS + 1)) <= 8 * MIN_TOKENS + 1


@given(RUNS, st.integers(MIN_TOKENS + 12, 1000))
def test_a_cut_keeps_both_ends_and_counts_the_characters_between(text: str, budget: int) -> None:
    after = fit(transcript(text, "b" * 30), budget).bodies[0]
    assume(after != text)
    (mark,) = MARK.finditer(after)
    head, tail = after[: mark.start()], after[mark.end() :]
    assert text.startswith(head)
    assert text.endswith(tail)
    assert len(head) + int(mark[1]) + len(tail) == len(text)


def test_a_cut_keeps_each_text_under_its_speaker() -> None:
    claim = "All done, booking confirmed. " * 40
    body = (
        "<actions>\n<tool_call>book()</tool_call>\n"
        f'<tool_result name="book">\n{"error: no seats " * 60}\n</tool_result>\n</actions>\n'
        f'<claims>\n<message role="assistant">\n{claim}\n</message>\n</claims>'
    )
    for budget in range(80, 400, 20):
        cut = cut_middle(body, budget)
        before, after = re.split(r'<trimmed characters="\d+"/>', cut)
        assert "error" not in after or "tool_result name" in after
        assert "booking" not in before or '<message role="assistant">' in before
        if "booking" in after and '<message role="assistant">' not in before:
            assert '<message role="assistant">' in after
        opened = re.findall(r"<(\w+)(?: [^<>]*)?>", cut.replace("/>", " />").replace(" />", "/>"))
        closed = re.findall(r"</(\w+)>", cut)
        assert sorted(name for name in opened if name != "trimmed") == sorted(closed)


def test_images_are_cut_with_their_labels_and_counted_once() -> None:
    image = Image("https://a.test/b.png", "0" * 64)
    texts = ["\n".join(f"{'word ' * 30}\n[image {n}]" for n in (1, first, first + 1, 2))
             for first in (3, 5)]  # fmt: skip
    whole = Transcript("", texts, ["0", "1"], [[0], [1]], images=[image] * 6, image_tokens=1000)
    # Images 1 and 2 are in both texts and count once, so 6 images and some 450 tokens of words.
    assert estimate_shown(whole, texts) == 6000 + sum(map(estimate_tokens, texts))
    assert fit(whole, 6600) is whole
    cut = fit(whole, 4500)
    for body, own in zip(cut.bodies, ([3, 4], [5, 6]), strict=True):
        labels = list_labels(body, 6)
        assert (labels[0], labels[-1]) == (1, 2)
        assert len({*labels} & {*own}) == 1
        assert not re.search(r"\[image \d+(?!\d*\])|(?<!\[image )\b\d\]", body)
    with pytest.raises(ContextExceeded, match="2 trajectories and 6 images"):
        fit(whole, 4000)
