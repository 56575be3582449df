"""Map what fails at an endpoint to an error that says what to do about it.

ParameterRejected     400, 422: a parameter may be at fault, to be dropped
ContextOverflow       400, 413, 422 about the context's length
JudgeRateLimited      429; `retry_after_s` is the server's floor, if it gives one
JudgeQuotaExhausted   429 that means "no credit"
JudgeRejected         any other 4xx, a redirect
JudgeUnavailable      5xx, 408, 409, 425, no connection, no answer
"""

import re
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

import openai
from aiohttp import ClientConnectorError, ConnectionTimeoutError

from podium_service.errors import (
    JudgeQuotaExhausted,
    JudgeRateLimited,
    JudgeRejected,
    JudgeUnavailable,
)

# The endpoint is at fault or busy, so that the same call may succeed later or elsewhere.
ENDPOINT_FAILURES = (JudgeRateLimited, JudgeQuotaExhausted, JudgeUnavailable)
MAX_RETRY_AFTER_S = 3600.0
_DECIMAL = re.compile(r"\d{1,9}(?:\.\d{1,9})?")
_OVERFLOW = ("context length", "context_length", "context window", "max_model_len")
_NO_CREDIT_CODES = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_NO_CREDIT_WORDS = ("quota", "billing")
_RATE_WORDS = ("per minute", "per second", "rate limit", "ratelimit")
# Behind a gateway that gave up waiting the model may have run, so the call may have been paid.
_UNANSWERED_STATUSES = (408, 504, 524)


class ParameterRejected(Exception):
    """A 400 or 422 that may name a parameter of the call.

    Attributes:
        server_message: the server's words, in which it may name the parameter.
        parameters: the parameters that were sent.
    """

    code = "parameter_rejected"

    def __init__(self, detail: str, server_message: str) -> None:
        super().__init__(detail)
        self.server_message = server_message
        self.parameters: dict[str, Any] = {}


class ContextOverflow(Exception):
    """The endpoint counts more tokens than fit the judge's context."""

    code = "context_overflow"


def map_error(error: openai.APIError, base_url: str, redact: Callable[[str], str]) -> Exception:
    """Return the error of ours that an error of the client stands for.

    `redact` removes secrets from the server's words.
    """
    if not isinstance(error, openai.APIStatusError):
        # The client wraps a refused connection twice; the last cause says what happened.
        causes: list[BaseException] = [error]
        while cause := causes[-1].__cause__:
            causes.append(cause)
        message = redact(f"{type(causes[-1]).__name__}: {causes[-1]}")
        # Without a connection nothing was sent, so nothing can have been paid.
        unconnected = (ClientConnectorError, ConnectionTimeoutError)
        if any(isinstance(each, unconnected) for each in causes):
            return JudgeUnavailable(
                f"{base_url} cannot be reached ({message}): see whether it runs, and whether "
                "base_urls names it"
            )
        return JudgeUnavailable(f"{base_url} gave no answer ({message})", unanswered=True)
    status, message = error.status_code, redact(_server_message(error))
    detail = f"{base_url} answered {status}: {message}"
    lower = message.lower()
    if status in (400, 413, 422) and any(word in lower for word in _OVERFLOW):
        return ContextOverflow(detail)
    if status in (400, 422):
        return ParameterRejected(detail, message)
    retry_after_s = read_retry_after(error.response.headers)
    if status == 429:
        if _means_no_credit(error.code, lower, retry_after_s):
            return JudgeQuotaExhausted(detail)
        return JudgeRateLimited(detail, retry_after_s=retry_after_s)
    if status >= 500 or status in (408, 409, 425):
        unanswered = status in _UNANSWERED_STATUSES
        return JudgeUnavailable(detail, unanswered=unanswered, retry_after_s=retry_after_s)
    return JudgeRejected(detail)


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a `Retry-After` header, an hour at most; None if it is unreadable."""
    value = headers.get("retry-after", "")
    if _DECIMAL.fullmatch(value):
        return min(MAX_RETRY_AFTER_S, float(value))
    try:
        seconds = parsedate_to_datetime(value).timestamp() - time()
    except (ValueError, OverflowError):
        return None
    return min(MAX_RETRY_AFTER_S, max(0.0, seconds))


def _means_no_credit(code: str | None, message: str, retry_after_s: float | None) -> bool:
    """Return whether a 429 means that the credit is used up.

    Some servers say "quota" of a limit per minute, so that word alone does not decide.
    """
    if code in _NO_CREDIT_CODES:
        return True
    about_rate = retry_after_s is not None or any(word in message for word in _RATE_WORDS)
    return not about_rate and any(word in message for word in _NO_CREDIT_WORDS)


def _server_message(error: openai.APIStatusError) -> str:
    """Return the server's own words and code, on one line."""
    body = error.body if isinstance(error.body, dict) else {}
    words = str(body.get("message") or error.message)
    return " ".join(f"{words} ({error.code})".split() if error.code else words.split())
