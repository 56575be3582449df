"""The errors of a judge that gave no usable verdict."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from podium_service.errors.base import PodiumError


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
