"""Map what fails at an endpoint to an error that says what to do about it.

ParameterRejected     400, 404, 422, 5xx: something that was sent may be at fault, to be left out
ContextOverflow       the prompt is longer than the context, or than one call may be
JudgeRefused          400, 403, 422, 446, 498: a content filter stopped the prompt
VerdictInvalid        400: the endpoint could not read the model's reply, so another may do
VerdictTruncated      400: the reply did not fit the cap on its tokens
JudgeRateLimited      429, 400, 403; `retry_after_s` is the server's floor, of a header or its words
JudgeQuotaExhausted   402, 429, 400, 403, 412: "no credit"
JudgeRejected         any other 4xx, a redirect
JudgeUnavailable      5xx, 408, 409, 424, 425, 498, 499, 400 "busy", no connection, no answer

`refusals` reads the words and tells what they mean.
"""

import re
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

from podium_service.errors import (
    JudgeError,
    JudgeQuotaExhausted,
    JudgeRateLimited,
    JudgeRefused,
    JudgeRejected,
    JudgeUnavailable,
    VerdictInvalid,
    VerdictTruncated,
)
from podium_service.judges.endpoint.dialects.answer_body import read_body
from podium_service.judges.endpoint.dialects.base import FailedAnswer, NoAnswer
from podium_service.judges.endpoint.refusals import meaning
from podium_service.judges.endpoint.refusals.words import Words, read_words

# The endpoint is at fault or busy, so that the same call may succeed later or elsewhere.
ENDPOINT_FAILURES = (JudgeRateLimited, JudgeQuotaExhausted, JudgeUnavailable)
MAX_RETRY_AFTER_S = 3600.0
_DECIMAL = re.compile(r"\d{1,9}(?:\.\d{1,9})?")
# Behind a gateway that gave up waiting the model may have run, so the call may have been paid.
_UNANSWERED_STATUSES = (408, 504, 524)
_BUSY_STATUSES = (408, 409, 424, 425, 498, 499)
# With words about the call some servers mean a refusal of it; 424 is a model that failed.
_MINIMAX_FAULTS = (1000, 1001, 1013, 1024, 1033)
_SERVER_FAULTS = (424, 500, 501, 502)


class ParameterRejected(Exception):
    """A refusal of something that was sent, which the words may name.

    Attributes:
        words: the server's words.
        otherwise: the error that it is where nothing can be left out.
        parameters: the parameters that were sent.
    """

    code = "parameter_rejected"

    def __init__(self, detail: str, words: Words, otherwise: JudgeError) -> None:
        super().__init__(detail)
        self.words = words
        self.otherwise = otherwise
        self.parameters: dict[str, Any] = {}


class ContextOverflow(Exception):
    """The endpoint counts more tokens than fit the judge's context.

    Attributes:
        limit_tokens: the tokens of the context, as the endpoint says; None if it does not.
        counted_tokens: its count of what was sent; None likewise.
        was_paid: whether it answered all the same, and has to be paid.
        is_learnt: whether the judge's context is known to be `limit_tokens` from now on.
    """

    code = "context_overflow"

    def __init__(
        self,
        detail: str,
        limit_tokens: int | None = None,
        counted_tokens: int | None = None,
        *,
        was_paid: bool = False,
    ) -> None:
        super().__init__(detail)
        self.was_paid = was_paid
        self.is_learnt = False
        self.limit_tokens = limit_tokens
        self.counted_tokens = counted_tokens


def map_failure(
    failure: FailedAnswer | NoAnswer, base_url: str, redact: Callable[[str], str]
) -> Exception:
    """Return the error of ours that a failure of a dialect stands for.

    `redact` removes secrets from the server's words.
    """
    if isinstance(failure, FailedAnswer):
        return map_answer(failure.status, failure.headers, failure.content, base_url, redact)
    message = redact(str(failure))
    if not failure.was_sent:
        return JudgeUnavailable(
            f"{base_url} cannot be reached ({message}): see whether it runs, and whether "
            "base_urls names it"
        )
    return JudgeUnavailable(f"{base_url} gave no answer ({message})", unanswered=True)


def map_answer(
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    base_url: str,
    redact: Callable[[str], str],
) -> Exception:
    """Return the error of ours that an answer of the server stands for."""
    words = read_words(content)
    is_throttled = status == 429 or (status in (400, 403) and meaning.means_throttled(words))
    said = redact(words.text) or "(no words)"
    if 300 <= status < 400 and (location := headers.get("location")):
        said = f"it sends on to {redact(location.partition('?')[0])}: name that in base_urls"
    detail = f"{base_url} answered {status}: {said}"
    retry_after_s = read_retry_after(headers)
    if retry_after_s is None and (is_throttled or status >= 500):
        wait_s = meaning.read_wait_s(words)
        retry_after_s = None if wait_s is None else min(MAX_RETRY_AFTER_S, wait_s)
    if status == 402 or (status in (400, 403, 412, 429) and meaning.means_no_credit(words)):
        return JudgeQuotaExhausted(detail, retry_after_s=retry_after_s)
    if is_throttled and not _is_larger_than_minute(words):
        return JudgeRateLimited(detail, retry_after_s=retry_after_s)
    if status == 413 or (status != 503 and status >= 400 and _means_overflow(status, words)):
        return ContextOverflow(detail, *meaning.read_context(words))
    if status in (400, 403, 422, 446, 498) and meaning.means_filtered(words):
        return JudgeRefused(detail)
    if status == 400 and meaning.means_cut_off(words):
        truncated = VerdictTruncated(detail)
        truncated.unanswered = True  # the model has run, so it may have been paid
        return truncated
    if status in (400, 422, *_SERVER_FAULTS) and meaning.means_bad_reply(words):
        return VerdictInvalid(detail)
    failure: JudgeError = JudgeRejected(detail)
    is_busy = status == 400 and meaning.means_busy(words)
    if status >= 500 or status in _BUSY_STATUSES or is_busy:
        unanswered = status in _UNANSWERED_STATUSES
        failure = JudgeUnavailable(detail, unanswered=unanswered, retry_after_s=retry_after_s)
    may_be_call = status in (403, 404, *_SERVER_FAULTS) and _is_about_call(words)
    if (status in (400, 422) and not is_busy) or may_be_call:
        return ParameterRejected(detail, words, failure)
    return failure


def _is_larger_than_minute(words: Words) -> bool:
    """Return whether a call is more than fits a minute's limit, so that no wait would help."""
    return "request too large" in words.text.lower()


def _means_overflow(status: int, words: Words) -> bool:
    """Return whether a status and its words mean an overflow."""
    return status == 429 or (status not in (401, 403, 404) and meaning.means_overflow(words))


def _is_about_call(words: Words) -> bool:
    """Return whether words are about what was sent, whatever the status says."""
    return (
        meaning.is_about_system(words)
        or meaning.is_about_format(words)
        or meaning.is_about_some_parameter(words)
        or meaning.is_about_logprobs(words)
        or meaning.means_high_cap(words)
    )


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a header asks to wait, an hour at most; None if none is readable."""
    milliseconds, value = headers.get("retry-after-ms", ""), headers.get("retry-after", "")
    if _DECIMAL.fullmatch(milliseconds):
        return min(MAX_RETRY_AFTER_S, float(milliseconds) / 1000)
    if _DECIMAL.fullmatch(value):
        return min(MAX_RETRY_AFTER_S, float(value))
    try:
        seconds = parsedate_to_datetime(value).timestamp() - time()
    except (ValueError, OverflowError):
        return None
    return min(MAX_RETRY_AFTER_S, max(0.0, seconds))


def find_failed_status(content: bytes) -> int | None:
    """Return the status of an error inside the body of a success; None if there is none.

    Routers answer 200 before the provider fails. A code that is no status is a bad gateway's, but
    for MiniMax's, whose words tell what it is.
    """
    try:
        body = read_body(content)
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    error = body.get("error") or (choice.get("error") if isinstance(choice, dict) else None)
    if not error and choice is None:
        if isinstance(base := body.get("base_resp"), dict) and (code := base.get("status_code")):
            return 502 if code in _MINIMAX_FAULTS else 400
        is_failed = "error" in (body.get("object"), body.get("type"), body.get("status"))
        is_failed |= body.get("success") is False or bool(body.get("errors"))
        error = body if is_failed else None
    if not error:
        return None
    code = error.get("code") if isinstance(error, dict) else None
    status = int(code) if isinstance(code, int | str) and str(code).isdigit() else 0
    return status if 400 <= status <= 599 else 502
