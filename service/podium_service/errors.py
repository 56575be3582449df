"""Every error of the service, as one tree. A leaf fixes `code`, `status`, `retryable` and `title`.

PodiumError
├── ConfigError                    the service cannot start, or keeps its old judges
├── RequestError                   the caller must change the request
│   ├── MalformedRequest           400
│   ├── MalformedJSON              400
│   ├── Unauthorized               401
│   ├── KeyExpired                 401
│   ├── KeySpendLimit              402
│   ├── Forbidden                  403
│   ├── NotFound                   404
│   ├── MethodNotAllowed           405
│   ├── BodyTooSlow                408
│   ├── BodyTooLarge               413
│   ├── UnsupportedMediaType       415
│   ├── HostNotAllowed             421
│   ├── InvalidRequest             422
│   ├── UnknownJudge               422
│   ├── ReferenceRequired          422
│   ├── VerifiedRewardRequired     422
│   ├── ContextExceeded            422
│   ├── ImagesNotSupported         422
│   ├── ImageLimit                 422  too many images, or one that is too large
│   ├── CriterionFailed            422  so that a broken criterion is never a score of 0
│   ├── KeyRateLimited             429
│   └── HeadersTooLarge            431
├── JudgeError                     no usable verdict: the next judge of `fallback` is asked
│   ├── VerdictInvalid             502  twice: not JSON, wrong ids, or scores out of range
│   ├── VerdictTruncated           502  twice
│   ├── VerdictVoid                502  twice
│   ├── BudgetExhausted            502
│   ├── QuorumMissed               502
│   ├── JudgeRefused               502  a refusal, or a content filter
│   ├── JudgeRejected              502  for example its API key, model or parameter
│   ├── JudgeQuotaExhausted        502  a 429 that waiting does not end
│   ├── JudgeSpendLimit            502
│   ├── JudgeUnavailable           503  unreachable, a 5xx, or a timeout
│   └── JudgeRateLimited           503  a 429 for as long as the deadline allows to wait
├── DeadlineExceeded               504
├── GroupIncomplete                504  its members came one by one, and not all of them in time
├── Overloaded                     429  a queue, the connections or the memory for bodies are full
├── StoreUnavailable               503
├── Draining                       503
└── InternalError                  500

To add an error: subclass a branch, set the class attributes, and run `make docs`, which writes the
table in docs/errors.md from the titles.
"""

from asyncio import CancelledError
from collections.abc import Iterator, Mapping
from copy import copy
from math import ceil
from types import MappingProxyType
from typing import Any, ClassVar, Self


class PodiumError(Exception):
    """The base of all errors; `str(error)` is one line: the value, the rule, and what to do.

    Args:
        detail: that line.
        fields: the fields of the request at fault, each as {"field": ..., "rule": ...}.
        retry_after_s: seconds after which the request may succeed.

    Attributes:
        code: for programs; it never changes.
        title: the meaning of the code, in one sentence without a full stop.
        ranking_id: the id under which the store keeps the group that failed; None if it does not.
    """

    code: ClassVar[str]
    status: ClassVar[int]
    retryable: ClassVar[bool] = False
    title: ClassVar[str]
    ranking_id: str | None = None

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
        """Whole seconds for a `Retry-After` header, rounded up, so that nobody retries early."""
        return None if self.retry_after_s is None else max(1, ceil(self.retry_after_s))

    def copy(self, ranking_id: str | None = None) -> Self:
        """Return an error of its own for each request, because raising changes an error.

        Clients that share a run of an LLM judge share that run's error, too.

        Args:
            ranking_id: of the copy; by default that of this error.
        """
        copied = copy(self)
        copied.ranking_id = ranking_id or self.ranking_id
        return copied

    def problem(self, request_id: str | None = None) -> dict[str, Any]:
        """Return the body of this error as RFC 9457 defines it."""
        body: dict[str, Any] = {
            "type": f"urn:podium:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "retryable": self.retryable,
            "request_id": request_id,
        }
        if self.ranking_id:
            body["ranking_id"] = self.ranking_id
        if self.fields:
            body["errors"] = self.fields
        return body


class ConfigError(PodiumError):
    code, status, title = "config_invalid", 500, "The configuration is not usable"


class RequestError(PodiumError):
    """The request must change before it can succeed."""


class MalformedRequest(RequestError):
    code, status, title = "malformed_request", 400, "The request does not follow HTTP/1.1"


class MalformedJSON(RequestError):
    code, status, title = "malformed_json", 400, "The body is not JSON"


class Unauthorized(RequestError):
    code, status, title = "unauthorized", 401, "The API key is missing, unknown or revoked"


class KeyExpired(RequestError):
    code, status, title = "key_expired", 401, "The API key has expired"


class KeySpendLimit(RequestError):
    code, status, title = "key_spend_limit", 402, "The API key has reached its spend limit"


class Forbidden(RequestError):
    code, status, title = "forbidden", 403, "The API key lacks the scope for this path"


class NotFound(RequestError):
    code, status, title = "not_found", 404, "The path or id does not exist"


class MethodNotAllowed(RequestError):
    code, status, title = "method_not_allowed", 405, "The path does not accept this method"


class BodyTooSlow(RequestError):
    code, status, title = "body_too_slow", 408, "The body arrived too slowly"
    retryable = True


class BodyTooLarge(RequestError):
    code, status, title = "body_too_large", 413, "The body is too large"


class UnsupportedMediaType(RequestError):
    code, status, title = "unsupported_media_type", 415, "The body must be application/json"


class HostNotAllowed(RequestError):
    code, status, title = "host_not_allowed", 421, "The service does not answer to this host name"


class InvalidRequest(RequestError):
    code, status, title = "invalid_request", 422, "A field of the request breaks a rule"


class UnknownJudge(RequestError):
    code, status, title = "unknown_judge", 422, "No judge has this name"


class ReferenceRequired(RequestError):
    code, status, title = "reference_required", 422, "The judge needs a reference"


class VerifiedRewardRequired(RequestError):
    code, status, title = "verified_reward_required", 422, "A trajectory lacks its verified reward"


class ContextExceeded(RequestError):
    code, status, title = "context_exceeded", 422, "The group does not fit the judge's context"


class ImagesNotSupported(RequestError):
    code, status, title = "images_not_supported", 422, "The judge sees no images"


class ImageLimit(RequestError):
    code, status, title = "image_limit", 422, "The images are too many or too large"


class CriterionFailed(RequestError):
    code, status, title = "check_failed", 422, "A criterion could not be computed"


class KeyRateLimited(RequestError):
    code, status, title = "key_rate_limited", 429, "The API key has reached its request limit"
    retryable = True


class HeadersTooLarge(RequestError):
    code, status, title = "headers_too_large", 431, "The request's headers are too large"


class JudgeError(PodiumError):
    """The judge gave no usable verdict; the next judge is asked, and no score is made up.

    Attributes:
        base_url: endpoint at fault; None if no call was made or the endpoint is not at fault.
        unanswered: whether the call was sent and no readable answer came, so that it may have been
            paid for.
        facts: what happened to the call, for the log; no words of the endpoint, because they may
            quote a caller's text.
    """

    base_url: str | None = None
    unanswered: bool = False
    facts: Mapping[str, Any] = MappingProxyType({})


class VerdictInvalid(JudgeError):
    code, status, title = "verdict_invalid", 502, "The judge's reply is not a valid verdict"


class VerdictTruncated(JudgeError):
    code, status, title = "verdict_truncated", 502, "The judge's reply hit the token limit"


class VerdictVoid(JudgeError):
    code, status, title = "verdict_void", 502, "The judge did not rank a planted bad trajectory low"


class BudgetExhausted(JudgeError):
    code, status, title = "budget_exhausted", 502, "The group's budget does not allow more calls"


class QuorumMissed(JudgeError):
    code, status, title = "quorum_missed", 502, "Too few jurors ranked the group"


class JudgeRefused(JudgeError):
    code, status, title = "judge_refused", 502, "The judge refused to rank the group"


class JudgeRejected(JudgeError):
    code, status, title = "judge_rejected", 502, "The judge's endpoint rejected the call"


class JudgeQuotaExhausted(JudgeError):
    code, status, title = "judge_quota_exhausted", 502, "The judge's account has no quota left"


class JudgeSpendLimit(JudgeError):
    code, status, title = "judge_spend_limit", 502, "The judge has reached its spend limit"


class JudgeUnavailable(JudgeError):
    code, status, title = "judge_unavailable", 503, "The judge does not answer"
    retryable = True

    def __init__(
        self,
        detail: str,
        *,
        unanswered: bool = False,
        facts: Mapping[str, Any] = MappingProxyType({}),
        fields: list[dict[str, str]] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail, fields=fields, retry_after_s=retry_after_s)
        self.unanswered = unanswered
        self.facts = facts


class JudgeRateLimited(JudgeError):
    code, status, title = "judge_rate_limited", 503, "The judge's endpoint limits the rate of calls"
    retryable = True


class DeadlineExceeded(PodiumError):
    code, status, title = "deadline_exceeded", 504, "The deadline passed before there was an answer"
    retryable = True


class GroupIncomplete(PodiumError):
    code, status, title = "group_incomplete", 504, "Not all members of the group came in time"


class Overloaded(PodiumError):
    code, status, title = "overloaded", 429, "The service has too much work to answer in time"
    retryable = True


class StoreUnavailable(PodiumError):
    code, status, title = "store_unavailable", 503, "The store does not answer"
    retryable = True


class Draining(PodiumError):
    code, status, title = "draining", 503, "The service is shutting down"
    retryable = True


class InternalError(PodiumError):
    code, status, title = "internal", 500, "The service has a bug"


def failure_code(error: BaseException) -> str:
    """Return the name of a failure in metrics and traces: its code, or the class of a bug."""
    if isinstance(error, CancelledError):
        return "cancelled"
    code = getattr(error, "code", None)
    return code if isinstance(code, str) else type(error).__name__


def leaves(branch: type[PodiumError] = PodiumError) -> Iterator[type[PodiumError]]:
    """Yield the concrete errors below `branch`, in the order of the tree."""
    for child in branch.__subclasses__():
        if child.__subclasses__():
            yield from leaves(child)
        else:
            yield child
