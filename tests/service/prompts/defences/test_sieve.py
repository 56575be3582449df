"""A sieve rules out no text that an exact pattern matches: it changes no flag."""

import random
import re
from collections.abc import Callable, Iterator

import pytest
import re2

from benchmarks.injections import INJECTIONS
from podium_service.prompts.defences import steering
from podium_service.prompts.defences.sieve import Sieve, _skip_lookarounds, extract_opening, loosen
from podium_service.prompts.defences.steering import flag_trajectories, fold_disguises
from podium_service.prompts.defences.steering_patterns import ANCHOR, PATTERNS
from podium_service.schemas import Message, Trajectory
from tests.service.prompts.defences.test_steering import HARMLESS, PAYLOADS, flag_text

TEXTS = [*HARMLESS, *(text for _, text in PAYLOADS), *(each.text for each in INJECTIONS)]
SPACES = " \n\t\v\x1c\x1f\x85\xa0\u2003\u200b.,-*\"'<>|éа的\0"
ASCII_ANCHOR = re.compile(rf"\b(?:{ANCHOR})|<<sys|<\|")


def flag_text_without_sieve(text: str) -> list[str]:
    """Search the text with the exact patterns alone."""
    seen = "\n".join(
        cut_around_anchors(fold_disguises(each)) for each in (text, *steering._decode_base64(text))
    )
    seen = steering._OF_ITSELF.sub("\n", seen)
    return [name for name, pattern in steering._EXACT.items() if pattern.search(seen)]


def cut_around_anchors(text: str) -> str:
    stretches: list[list[int]] = []
    for anchor in (ASCII_ANCHOR if text.isascii() else steering._ANCHOR).finditer(text):
        start, stop = max(0, anchor.start() - 160), anchor.end() + 160
        if stretches and start <= stretches[-1][1]:
            stretches[-1][1] = stop
        else:
            stretches.append([start, stop])
    return "\n".join(text[start:stop] for start, stop in stretches)


def mixtures(rng: random.Random, count: int) -> Iterator[str]:
    """Yield texts that mix words of patterns, payloads and neither, in odd cases and spaces."""
    patterns = "|".join([ANCHOR, *(each for some in PATTERNS.values() for each in some)])
    words = [*re.findall(r"[^\W\d_]{2,}", re.sub(r"\\[wbd]", "|", patterns)), *"abcxyz019.:[{<|"]
    changes: list[Callable[[str], str]] = [
        str,
        str,
        str,
        str.upper,
        str.title,
        " ".join,
        lambda s: s.replace("o", "о"),
    ]
    for _ in range(count):
        some = rng.choices(words, k=rng.randint(1, 12)) + rng.choices(TEXTS, k=rng.randint(0, 2))
        rng.shuffle(some)
        space = rng.choice(SPACES) if rng.random() < 0.5 else " "
        yield space.join(rng.choice(changes)(each) for each in some)


def test_flags_of_any_text_are_those_of_the_exact_patterns() -> None:
    texts = [*TEXTS, *mixtures(random.Random(7), 1500)]
    found = [flag_text(text) for text in texts]
    assert found == [flag_text_without_sieve(text) for text in texts]
    assert {name for names in found for name in names} == set(PATTERNS)
    assert not all(found)


def test_a_trajectory_has_the_flags_of_its_texts() -> None:
    rng = random.Random(8)
    texts = [*TEXTS, *mixtures(rng, 400), *["a plain text"] * 400, *[""] * 100]
    rng.shuffle(texts)
    said = [texts[start : start + 8] for start in range(0, len(texts), 8)]
    trajectories = [
        Trajectory(id="a", messages=[Message(role="assistant", content=text) for text in some])
        for some in said
    ]
    expected = [sorted({name for text in some for name in flag_text(text)}) for some in said]
    assert flag_trajectories(trajectories) == expected
    assert [flag_trajectories([each])[0] for each in trajectories] == expected


@pytest.mark.parametrize(
    ("pattern", "loose"),
    [
        (r"a(?=[)(]| (?:b|\)))c", "ac"),
        (r"(?<!\w)(?:a|(?<!x)b)(?!(?:c)d)", "(?:a|b)"),
        (r"\ba{0,30}?[^.]{1,4}\b", "a*?[^.]+"),
        (r"[\w-]\d", r"[\w\x{80}-\x{10FFFF}-][\d\x{80}-\x{10FFFF}]"),
        (r"\(?!\)[(?!]", r"\(?!\)[(?!]"),
    ],
)
def test_a_loosened_pattern_has_no_lookaround_and_no_bounds(pattern: str, loose: str) -> None:
    assert loosen(pattern) == loose


def test_an_opening_matches_a_patterns_beginning_in_raw_text() -> None:
    pattern = re2.compile(extract_opening(r"\b(?:the ?|a{0,3})best(?! b)[ ,:] x(?:y)[^.]{0,9}z"))
    for text in ("the best, xy", "the\n\tBEST \x1f: XY.z", "thebest:\v xy", "best\n xy"):
        assert pattern.search(text)
    for text in ("the-best, x", "the best xy", "tbest, xy"):
        assert not pattern.search(text)


def test_a_sieve_returns_the_patterns_that_match_a_text() -> None:
    sieve = Sieve(["a+", "b", "界"])
    assert sieve.find("xbya") == [0, 1]
    assert sieve.find("世界") == [2]
    assert sieve.find("xyz") == []
    with pytest.raises(re2.error):
        Sieve(["(?=a)"])


@pytest.mark.parametrize("pattern", steering._IN_ASCII)
def test_no_gap_is_in_a_group_and_no_alternative_outside_of_one(
    pattern: str,
) -> None:
    depth, outside = 0, [""]
    for token in _skip_lookarounds(pattern):
        depth += bool(token["open"]) - bool(token["close"])
        if depth == 0:
            outside.append(token[0])
    has_gap = any(each.startswith("[^") for each in outside)
    assert not has_gap or "|" not in outside
    # A group that is cut in two would be an error.
    re.compile(extract_opening(pattern).replace(r"\x{", r"\x"))
