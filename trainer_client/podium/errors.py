"""The reasons why a group has no rewards, as one tree; a branch is a decision of the caller.

RankError
├── RequestRefused        change the request or the base URL (3xx, 4xx, or a group that is not JSON)
├── Unauthorized          change the key (401, 403)
├── JudgeFailed           leave the group out, or name another judge (502 from the service)
├── ServiceUnavailable    wait, or look at the service (no connection, 408, 429, 500, 503, ...)
│   └── ServiceAbsent     start the service, or change the base URL (it has never answered)
├── DeadlineExceeded      give more time (504, or the client's own deadline)
├── ProtocolError         update one side (the answer breaks the contract)
└── NothingRanked         stop the run and look at the last error (batch after batch was left out)

The HTTP status chooses the branch. `retryable` in the problem document says whether the request
may succeed later. To map another status, add it to `_BRANCHES`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError


class RankError(Exception):
    """Any reason why a group was not ranked.

    Attributes:
        code: one word for programs: the service's code, such as `verdict_invalid`, or one of ours.
        status: the HTTP status; None if no answer came.
        retryable: whether the same request may succeed later.
        request_id: the id of the request in the service's log; None if no answer came.
        detail: one line for people.
        errors: the fields at fault, at most ten, as the service lists them.
        retry_after_s: the seconds that the service asks to wait; 0 if it names none.
    """

    def __init__(
        self,
        code: str,
        status: int | None,
        retryable: bool,
        request_id: str | None,
        detail: str,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        retry_after_s: float = 0.0,
    ) -> None:
        # Exceptions are unpickled from their positional arguments.
        super().__init__(code, status, retryable, request_id, detail)
        self.code = code
        self.status = status
        self.retryable = retryable
        self.request_id = request_id
        self.detail = detail
        self.errors = list(errors)
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        line = f"{self.code}: {self.detail}"
        if self.errors:
            line += f" {self.errors}"
        about = [f"HTTP {self.status}"] if self.status is not None else []
        about += [f"request {self.request_id}"] if self.request_id is not None else []
        return f"{line} ({', '.join(about)})" if about else line


class RequestRefused(RankError):
    """The request breaks a rule; `errors` names the fields."""


class Unauthorized(RankError):
    """The API key is missing or wrong."""


class JudgeFailed(RankError):
    """No judge gave a usable verdict for this group."""


class ServiceUnavailable(RankError):
    """The service cannot be reached, is overloaded, or has failed."""


class ServiceAbsent(ServiceUnavailable):
    """No connection could be made, and the service has never answered this client."""


class DeadlineExceeded(RankError):
    """The deadline passed, in the service or in the client."""


class ProtocolError(RankError):
    """The answer breaks the contract, and nothing in it was used."""

    @classmethod
    def about(cls, code: str, detail: str) -> "ProtocolError":
        """Return a final error about an answer that came with HTTP 200."""
        return cls(code, 200, False, None, detail)


class NothingRanked(RankError):
    """No group was ranked in several batches; `detail` tells the last error."""


class Problem(BaseModel):
    """The part of a `problem+json` document (RFC 9457) that the client reads."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    status: int
    code: str
    retryable: bool
    detail: str
    request_id: str | None = None
    errors: list[dict[str, Any]] | None = None


_BRANCHES: dict[int, type[RankError]] = {
    401: Unauthorized,
    403: Unauthorized,
    408: ServiceUnavailable,
    429: ServiceUnavailable,
    502: JudgeFailed,
    504: DeadlineExceeded,
}


def from_problem(problem: Problem, retry_after_s: float = 0.0) -> RankError:
    """Return the error that a problem document describes."""
    return _branch(problem.status)(
        problem.code,
        problem.status,
        problem.retryable,
        problem.request_id,
        problem.detail,
        errors=problem.errors or (),
        retry_after_s=retry_after_s,
    )


def from_response(response: httpx.Response) -> RankError:
    """Return the error for an answer other than 200, whose body has been read.

    An answer without a problem document comes from a gateway, not from the service. Its text is not
    quoted, because it may echo the request, and its 502 says nothing about the judge.
    """
    status, retry_after_s = response.status_code, _retry_after_s(response.headers)
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        branch = ServiceUnavailable if status == 502 else _branch(status)
        retryable = status >= 500 or status in (408, 429)
        detail = f"{response.request.url.path} answered without a problem document"
        if response.is_redirect:
            detail += "; redirects are not followed, give the base URL it leads to"
        if status in (404, 405):
            detail += "; give the base URL of a Podium service, without any of its paths"
        code = f"http_{status}"
        return branch(code, status, retryable, None, detail, retry_after_s=retry_after_s)
    return from_problem(problem.model_copy(update={"status": status}), retry_after_s)


@contextmanager
def transport_errors(request: httpx.Request) -> Iterator[None]:
    """Turn the errors of httpx that are about a request into errors of this tree.

    Raises:
        ServiceUnavailable: If no connection was made, or the connection broke.
        DeadlineExceeded: If no bytes came until the end of the deadline.
        ProtocolError: If the bytes of the answer cannot be decoded.
    """
    try:
        yield
    except (httpx.DecodingError, httpx.TooManyRedirects) as exc:
        raise ProtocolError.about("undecodable_answer", _describe(request, exc)) from exc
    except (httpx.ConnectTimeout, httpx.ConnectError, httpx.ProxyError) as exc:
        raise ServiceUnavailable(
            "connection_failed", None, True, None, _describe(request, exc)
        ) from exc
    except httpx.TimeoutException as exc:
        raise deadline_exceeded(_describe(request, exc)) from exc
    except httpx.RequestError as exc:
        raise ServiceUnavailable(
            "connection_broken", None, True, None, _describe(request, exc)
        ) from exc


def deadline_exceeded(detail: str) -> DeadlineExceeded:
    """Return the error for a deadline that passed in the client."""
    return DeadlineExceeded("deadline_exceeded", None, True, None, detail)


def describe_fault(exc: ValidationError) -> str:
    """Describe the first fault in one line, without the value at fault, which may be long."""
    first = exc.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the whole answer'}: {first['msg']}"


def _branch(status: int) -> type[RankError]:
    if status in _BRANCHES:
        return _BRANCHES[status]
    if status >= 500:
        return ServiceUnavailable
    return RequestRefused if status >= 300 else ProtocolError


def _describe(request: httpx.Request, exc: httpx.RequestError) -> str:
    return f"{request.url}: {type(exc).__name__}: {exc}".removesuffix(": ")


def _retry_after_s(headers: httpx.Headers) -> float:
    """Read `Retry-After`, a number or an HTTP date, in seconds; 0 if absent or unreadable."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):  # the value is no date, or a date without a zone
            return 0.0
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0
