"""Tell what the words of a refusal mean, in the words of the servers that are in use.

A meaning is a pattern over `Words.text`, and codes where servers give some; both are in `phrases`.
Codes decide first, because a refusal may quote what was sent, in which any words can stand.
"""

import re
from collections.abc import Iterator

from podium_service.judges.endpoint.refusals import phrases
from podium_service.judges.endpoint.refusals.words import Words


def means_overflow(words: Words) -> bool:
    """Return whether a prompt is longer than the model's context, or than one call may be."""
    if words.codes & phrases.CONTEXT_CODES:
        return True
    if phrases.NO_OVERFLOW.search(words.text) or means_high_cap(words):
        return False
    return _means(words, phrases.CONTEXT_CODES, phrases.OVERFLOW)


def read_context(words: Words) -> tuple[int | None, int | None]:
    """Return the tokens that a refusal says the context holds, and that it counts in the call."""
    limit, numbers = words.context_tokens, sorted(_list_numbers(words.text))
    for pattern in phrases.LIMITS if limit is None else ():
        found = [_to_int(match["number"]) for match in pattern.finditer(words.text)]
        if found := [each for each in found if each >= phrases.LEAST_CONTEXT_TOKENS]:
            limit = found[-1]
            break
    more = [each for each in numbers if limit and each > limit]
    return limit, words.prompt_tokens or (more[-1] if more else None)


def means_high_cap(words: Words, sent: int | None = None) -> bool:
    """Return whether a refusal says that the cap on the reply's tokens is too large.

    Words that do not name the cap may still name its value, which is `sent`.
    """
    text = words.text
    named = bool(phrases.CAP.search(text) or (sent and sent in _list_numbers(text)))
    named = named and bool(phrases.CAP_VALUE.search(text))
    return (
        named
        and not phrases.CAP_OR_CONTEXT.search(text)
        and "context_length_exceeded" not in words.codes
    )


def read_cap(words: Words, sent: int) -> int:
    """Return the largest cap that a refusal allows; half of what was sent if it names none.

    It is what was sent if half of that would be too little for any reply.
    """
    strict = {_to_int(match[1] or match[2]) for match in phrases.STRICT.finditer(words.text)}
    allowed = [each - 1 if each in strict else each for each in _list_numbers(words.text)]
    half = sent // 2 if sent >= 2 * phrases.LEAST_HALF else sent
    return max((each for each in allowed if phrases.LEAST_CAP <= each < sent), default=half)


def means_no_credit(words: Words) -> bool:
    """Return whether the account has nothing left; a limit per minute is something else."""
    return _means(words, phrases.NO_CREDIT_CODES, phrases.NO_CREDIT)


def means_throttled(words: Words) -> bool:
    """Return whether too much was asked at once, by a server whose status does not say so."""
    return _means(words, phrases.THROTTLED_CODES, phrases.THROTTLED)


def means_busy(words: Words) -> bool:
    """Return whether the server has no room for the call now."""
    return _means(words, frozenset(), phrases.BUSY)


def means_filtered(words: Words) -> bool:
    """Return whether a content filter stopped the prompt."""
    return _means(words, phrases.FILTER_CODES, phrases.FILTERED)


def means_bad_reply(words: Words) -> bool:
    """Return whether the model's own reply was at fault, which the endpoint had to read."""
    return _means(words, phrases.REPLY_CODES, phrases.REPLY)


def means_cut_off(words: Words) -> bool:
    """Return whether the reply was cut off at the cap, which an endpoint may tell as an error."""
    return bool(re.search(r"try again with (?:a )?higher max_", words.text, re.I))


def is_about_system(words: Words) -> bool:
    """Return whether a refusal is about a message of the role `system`."""
    return bool(phrases.SYSTEM.search(words.text))


def is_about_cache(words: Words) -> bool:
    """Return whether a refusal is about the prompt cache, for which Anthropic's form has a mark."""
    return bool(re.search(r"cache_control|prompt caching", words.text, re.I))


def is_about_format(words: Words) -> bool:
    """Return whether a refusal is about the format that the reply shall have."""
    return bool(phrases.FORMAT.search(words.text))


def is_about_logprobs(words: Words) -> bool:
    """Return whether a refusal is about the probabilities of tokens."""
    return bool(re.search(r"logprobs?\b|top_n_tokens", words.text, re.I))


def forbids_thinking(words: Words) -> bool:
    """Return whether a refusal says that the model may think in a stream only."""
    return bool(re.search(r"enable_thinking must be (?:set to )?false", words.text, re.I))


def demands_stream(words: Words) -> bool:
    """Return whether a refusal says that the server answers in a stream only."""
    return bool(phrases.STREAM.search(words.text))


def wants_old_cap(words: Words) -> bool:
    """Return whether a refusal says that the cap is missing under its older name."""
    return bool(phrases.CAP_REQUIRED.search(words.text))


def is_vague(words: Words) -> bool:
    """Return whether a refusal says nothing but that it is one."""
    return bool(phrases.VAGUE.fullmatch(words.text[:200]))


def is_about_some_parameter(words: Words) -> bool:
    """Return whether a refusal is about a parameter, which it may not name."""
    return bool(phrases.SOME_PARAMETER.search(words.text))


def read_wait_s(words: Words) -> float | None:
    """Return for how many seconds a refusal asks to wait; None if it does not say."""
    if words.wait_s is not None:
        return words.wait_s
    for cue in phrases.WAIT_CUE.finditer(words.text):
        seconds, at = 0.0, cue.end()
        while duration := phrases.DURATION.match(words.text, at):
            seconds, at = seconds + float(duration[1]) * _seconds_of(duration[2]), duration.end()
        if seconds:
            return seconds
    return None


def _means(words: Words, codes: frozenset[str], pattern: re.Pattern[str]) -> bool:
    """Return whether a code says so, or words beside which no code finds fault with the call."""
    if words.codes & codes:
        return True
    return not words.codes & phrases.CALL_CODES and bool(pattern.search(words.text))


def _seconds_of(unit: str) -> float:
    if unit.lower().startswith(("ms", "milli")):
        return 0.001
    return {"s": 1.0, "m": 60.0, "h": 3600.0}[unit[0].lower()]


def _list_numbers(text: str) -> Iterator[int]:
    return (_to_int(match[0]) for match in phrases.NUMBER.finditer(text))


def _to_int(digits: str) -> int:
    return int(digits.replace(",", "").replace("_", "")[:12] or 0)
