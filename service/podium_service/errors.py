"""Everything that can go wrong, as one tree. A leaf fixes `code`, HTTP `status` and `retryable`.

PodiumError
├── ConfigError                    at start or reload; never on the wire
├── RequestError                   the caller must change the request
│   ├── MalformedRequest           400  no HTTP/1.1 by its rules
│   ├── MalformedJSON              400
│   ├── Unauthorized               401
│   ├── KeySpendLimit              402  the API key may spend no more in this period
│   ├── Forbidden                  403  the API key lacks the scope
│   ├── NotFound                   404
│   ├── MethodNotAllowed           405
│   ├── BodyTooSlow                408
│   ├── BodyTooLarge               413
│   ├── UnsupportedMediaType       415
│   ├── InvalidRequest             422
│   ├── UnknownJudge               422
│   ├── ReferenceRequired          422
│   ├── VerifiedRewardRequired     422  the judge mixes in a reward that a trajectory lacks
│   ├── ContextExceeded            422  not even trimmed does the group fit the judge's context
│   ├── CriterionFailed            422  a check could not be computed (never a score of 0)
│   ├── KeyRateLimited             429  the API key asks too often
│   └── HeadersTooLarge            431
├── JudgeError                     the judge did not give a usable verdict; the next judge is asked
│   ├── VerdictInvalid             502  wrong ids, scores out of range, no JSON; twice
│   ├── VerdictTruncated           502  the reply hit the token cap; twice
│   ├── VerdictVoid                502  a planted bad trajectory (canary) was not placed low; twice
│   ├── BudgetExhausted            502  the group's budget does not hold the calls it needs
│   ├── QuorumMissed               502  too few jurors of a jury gave a ranking
│   ├── JudgeRefused               502  refusal or content filter
│   ├── JudgeRejected              502  the endpoint refuses our call (key, model, parameter)
│   ├── JudgeQuotaExhausted        502  no credit left
│   ├── JudgeSpendLimit            502  the judge's own spend limit holds no further call
│   ├── JudgeUnavailable           503  unreachable, 5xx, timeouts
│   └── JudgeRateLimited           503  429 to the end of our patience
├── DeadlineExceeded               504
├── Overloaded                     429  refused early: the queue, connections or bodies are full
├── StoreUnavailable               503
├── Draining                       503
└── InternalError                  500  a bug of ours

To add an error: subclass a branch, set the three class attributes, and run `make docs`, which
rewrites the table in docs/errors.md from this module.
"""

from asyncio import CancelledError
from collections.abc import Iterator
from math import ceil
from typing import Any, ClassVar


class PodiumError(Exception):
    """Base of all errors; `str(error)` is one line: the offending value, the rule, what to do."""

    code: ClassVar[str]
    status: ClassVar[int]
    retryable: ClassVar[bool] = False
    title: ClassVar[str]

    def __init__(
        self,
        detail: str,
        *,
        fields: list[dict[str, str]] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fields = fields or []
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.detail

    @property
    def retry_after(self) -> int | None:
        """Whole seconds for a `Retry-After` header: who waits that long does not come too early."""
        return None if self.retry_after_s is None else max(1, ceil(self.retry_after_s))

    def problem(self, request_id: str | None = None) -> dict[str, Any]:
        """The RFC 9457 body of this error."""
        body: dict[str, Any] = {
            "type": f"urn:podium:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "retryable": self.retryable,
            "request_id": request_id,
        }
        if self.fields:
            body["errors"] = self.fields
        return body


class ConfigError(PodiumError):
    code, status, title = "config_invalid", 500, "The configuration is not usable"


class RequestError(PodiumError):
    """The request must change before it can succeed."""


class MalformedRequest(RequestError):
    code, status, title = "malformed_request", 400, "The request is not HTTP"


class MalformedJSON(RequestError):
    code, status, title = "malformed_json", 400, "The body is not JSON"


class Unauthorized(RequestError):
    code, status, title = "unauthorized", 401, "An API key is needed"


class KeySpendLimit(RequestError):
    code, status, title = "key_spend_limit", 402, "The API key has spent what it may"


class Forbidden(RequestError):
    code, status, title = "forbidden", 403, "The API key lacks the scope"


class NotFound(RequestError):
    code, status, title = "not_found", 404, "There is nothing here"


class MethodNotAllowed(RequestError):
    code, status, title = "method_not_allowed", 405, "This path takes another method"


class BodyTooSlow(RequestError):
    code, status, title = "body_too_slow", 408, "The body came too slowly"
    retryable = True


class BodyTooLarge(RequestError):
    code, status, title = "body_too_large", 413, "The body is over the cap"


class UnsupportedMediaType(RequestError):
    code, status, title = "unsupported_media_type", 415, "The body must be application/json"


class InvalidRequest(RequestError):
    code, status, title = "invalid_request", 422, "The request breaks a rule"


class UnknownJudge(RequestError):
    code, status, title = "unknown_judge", 422, "No judge has this name"


class ReferenceRequired(RequestError):
    code, status, title = "reference_required", 422, "This judge compares with a reference"


class VerifiedRewardRequired(RequestError):
    code, status, title = "verified_reward_required", 422, "This judge mixes in verified rewards"


class ContextExceeded(RequestError):
    code, status, title = "context_exceeded", 422, "The group does not fit the judge's context"


class CriterionFailed(RequestError):
    code, status, title = "check_failed", 422, "A check could not be computed"


class KeyRateLimited(RequestError):
    code, status, title = "key_rate_limited", 429, "The API key asks too often"
    retryable = True


class HeadersTooLarge(RequestError):
    code, status, title = "headers_too_large", 431, "The headers are over the cap"


class JudgeError(PodiumError):
    """The judge gave no usable verdict. The group goes to the next judge, never to a number.

    Attributes:
        base_url: where a call failed; None where none was made, or it is not its endpoint's fault.
        unanswered: whether the call was sent and no answer came that can be read, so that it may
            have been paid.
    """

    base_url: str | None = None
    unanswered: bool = False


class VerdictInvalid(JudgeError):
    code, status, title = "verdict_invalid", 502, "The judge's reply is not a verdict"


class VerdictTruncated(JudgeError):
    code, status, title = "verdict_truncated", 502, "The judge's reply was cut off"


class VerdictVoid(JudgeError):
    code, status, title = "verdict_void", 502, "The judge did not see a planted bad trajectory"


class BudgetExhausted(JudgeError):
    code, status, title = "budget_exhausted", 502, "The group's judge budget is spent"


class QuorumMissed(JudgeError):
    code, status, title = "quorum_missed", 502, "Too few jurors gave a ranking"


class JudgeRefused(JudgeError):
    code, status, title = "judge_refused", 502, "The judge refused to rank"


class JudgeRejected(JudgeError):
    code, status, title = "judge_rejected", 502, "The judge's endpoint refuses our call"


class JudgeQuotaExhausted(JudgeError):
    code, status, title = "judge_quota_exhausted", 502, "The judge's quota is spent"


class JudgeSpendLimit(JudgeError):
    code, status, title = "judge_spend_limit", 502, "The judge's spend limit is reached"


class JudgeUnavailable(JudgeError):
    code, status, title = "judge_unavailable", 503, "The judge does not answer"
    retryable = True

    def __init__(
        self,
        detail: str,
        *,
        unanswered: bool = False,
        fields: list[dict[str, str]] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail, fields=fields, retry_after_s=retry_after_s)
        self.unanswered = unanswered


class JudgeRateLimited(JudgeError):
    code, status, title = "judge_rate_limited", 503, "The judge is rate limited"
    retryable = True


class DeadlineExceeded(PodiumError):
    code, status, title = "deadline_exceeded", 504, "The deadline passed"
    retryable = True


class Overloaded(PodiumError):
    code, status, title = "overloaded", 429, "The service has more work than it can do in time"
    retryable = True


class StoreUnavailable(PodiumError):
    code, status, title = "store_unavailable", 503, "The store does not answer"
    retryable = True


class Draining(PodiumError):
    code, status, title = "draining", 503, "The service is shutting down"
    retryable = True


class InternalError(PodiumError):
    code, status, title = "internal", 500, "A bug in the service"


def cause(error: BaseException) -> str:
    """What series and traces call a failure: its code. A bug goes by its class."""
    if isinstance(error, CancelledError):
        return "cancelled"
    code = getattr(error, "code", None)
    return code if isinstance(code, str) else type(error).__name__


def leaves(branch: type[PodiumError] = PodiumError) -> Iterator[type[PodiumError]]:
    """Every concrete error below `branch`, in the order of the tree."""
    for child in branch.__subclasses__():
        if child.__subclasses__():
            yield from leaves(child)
        else:
            yield child
