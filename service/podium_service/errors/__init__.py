"""Every error of the service, as one tree. A leaf fixes `code`, `status`, `retryable` and `title`.

PodiumError
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
├── ConfigError                    the service cannot start, or keeps its old judges
├── DeadlineExceeded               504
├── GroupIncomplete                504  its members came one by one, and not all of them in time
├── Overloaded                     429  a queue, the connections or the memory for bodies are full
├── StoreUnavailable               503
├── Draining                       503
└── InternalError                  500

To add an error: subclass a branch in the module of that branch, set the class attributes, name it
here, and run `make docs`, which writes the table in docs/errors.md from the titles.
"""

from podium_service.errors.base import (
    PodiumError,
    failure_code,
    leaves,
)
from podium_service.errors.caller import (
    BodyTooLarge,
    BodyTooSlow,
    ContextExceeded,
    CriterionFailed,
    Forbidden,
    HeadersTooLarge,
    HostNotAllowed,
    ImageLimit,
    ImagesNotSupported,
    InvalidRequest,
    KeyExpired,
    KeyRateLimited,
    KeySpendLimit,
    MalformedJSON,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    ReferenceRequired,
    RequestError,
    Unauthorized,
    UnknownJudge,
    UnsupportedMediaType,
    VerifiedRewardRequired,
)
from podium_service.errors.judge import (
    BudgetExhausted,
    JudgeError,
    JudgeQuotaExhausted,
    JudgeRateLimited,
    JudgeRefused,
    JudgeRejected,
    JudgeSpendLimit,
    JudgeUnavailable,
    QuorumMissed,
    VerdictInvalid,
    VerdictTruncated,
    VerdictVoid,
)
from podium_service.errors.service import (
    ConfigError,
    DeadlineExceeded,
    Draining,
    GroupIncomplete,
    InternalError,
    Overloaded,
    StoreUnavailable,
)

__all__ = [
    "BodyTooLarge",
    "BodyTooSlow",
    "BudgetExhausted",
    "ConfigError",
    "ContextExceeded",
    "CriterionFailed",
    "DeadlineExceeded",
    "Draining",
    "Forbidden",
    "GroupIncomplete",
    "HeadersTooLarge",
    "HostNotAllowed",
    "ImageLimit",
    "ImagesNotSupported",
    "InternalError",
    "InvalidRequest",
    "JudgeError",
    "JudgeQuotaExhausted",
    "JudgeRateLimited",
    "JudgeRefused",
    "JudgeRejected",
    "JudgeSpendLimit",
    "JudgeUnavailable",
    "KeyExpired",
    "KeyRateLimited",
    "KeySpendLimit",
    "MalformedJSON",
    "MalformedRequest",
    "MethodNotAllowed",
    "NotFound",
    "Overloaded",
    "PodiumError",
    "QuorumMissed",
    "ReferenceRequired",
    "RequestError",
    "StoreUnavailable",
    "Unauthorized",
    "UnknownJudge",
    "UnsupportedMediaType",
    "VerdictInvalid",
    "VerdictTruncated",
    "VerdictVoid",
    "VerifiedRewardRequired",
    "failure_code",
    "leaves",
]
