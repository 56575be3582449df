"""The errors that the caller can mend, by another request."""

from podium_service.errors.base import PodiumError


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
