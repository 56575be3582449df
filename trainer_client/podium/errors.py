"""Why a group has no rewards, as one tree. A branch is a decision that the caller can take.

RankError
├── RequestRefused        change the request or the base URL (3xx, 4xx, a group that is not JSON)
├── Unauthorized          change the key (401, 403)
├── JudgeFailed           leave the group out, or name another judge (502 from the service)
├── ServiceUnavailable    look at the service or wait (no connection, 408, 429, 500, 503, ...)
├── DeadlineExceeded      give more time (504, or the client's own deadline)
└── ProtocolError         update one side: the answer is off the contract

`status` picks the branch; `retryable` in the problem document decides whether to ask again. To map
another status, add it to `_BRANCHES`.
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
    """Anything that kept a group from being ranked.

    Attributes:
        code: one word for programs, as the service names it (`verdict_invalid`) or ours.
        status: the HTTP status behind it; None if no answer came.
        retryable: whether the same request may succeed later.
        request_id: what to look for in the service's log; None if no answer came.
        detail: one line for people.
        errors: the fields at fault, at most ten, as the service lists them.
        retry_after_s: seconds that the service asked us to wait, 0 if it named none.
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
        super().__init__(code, status, retryable, request_id, detail)  # positional: pickles
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
    """The request breaks a rule; `errors` says where."""


class Unauthorized(RankError):
    """The API key is missing or wrong."""


class JudgeFailed(RankError):
    """No judge gave a usable verdict for this group."""


class ServiceUnavailable(RankError):
    """The service cannot be reached, is overloaded, or fell over."""


class DeadlineExceeded(RankError):
    """The deadline passed at the service or here."""


class ProtocolError(RankError):
    """An answer that breaks the contract; nothing in it was used."""

    @classmethod
    def about(cls, code: str, detail: str) -> "ProtocolError":
        """A final error about an answer that came with HTTP 200."""
        return cls(code, 200, False, None, detail)


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
    """The error that a problem document describes."""
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
    """The error that an answer other than 200 stands for; its body must have been read.

    Without a problem document it is a gateway that speaks, not the service: the text is left
    unquoted (it may echo the request), and a 502 says nothing about the judge.
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
        code = f"http_{status}"
        return branch(code, status, retryable, None, detail, retry_after_s=retry_after_s)
    return from_problem(problem.model_copy(update={"status": status}), retry_after_s)


@contextmanager
def transport_errors() -> Iterator[None]:
    """Turn what httpx raises while it connects, sends or reads into our tree.

    Raises:
        ServiceUnavailable: If no connection was made, or it broke.
        DeadlineExceeded: If it stayed silent to the end of the deadline.
        ProtocolError: If the bytes of the answer cannot be decoded.
    """
    try:
        yield
    except (httpx.DecodingError, httpx.TooManyRedirects) as exc:
        raise ProtocolError.about("undecodable_answer", _describe(exc)) from exc
    except (httpx.ConnectTimeout, httpx.ConnectError, httpx.ProxyError) as exc:
        raise ServiceUnavailable("connection_failed", None, True, None, _describe(exc)) from exc
    except httpx.TimeoutException as exc:
        raise deadline_exceeded(_describe(exc)) from exc
    except httpx.RequestError as exc:
        raise ServiceUnavailable("connection_broken", None, True, None, _describe(exc)) from exc


def deadline_exceeded(detail: str) -> DeadlineExceeded:
    """The error for a deadline that passed on this side."""
    return DeadlineExceeded("deadline_exceeded", None, True, None, detail)


def describe_fault(exc: ValidationError) -> str:
    """The first fault in one line, without the value at fault, which may be long."""
    first = exc.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"


def _branch(status: int) -> type[RankError]:
    if status in _BRANCHES:
        return _BRANCHES[status]
    if status >= 500:
        return ServiceUnavailable
    return RequestRefused if status >= 300 else ProtocolError


def _describe(exc: httpx.RequestError) -> str:
    return f"{exc.request.url}: {type(exc).__name__}: {exc}".removesuffix(": ")


def _retry_after_s(headers: httpx.Headers) -> float:
    """`Retry-After` in seconds, from a number or an HTTP date; 0 if absent or unreadable."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):  # no date, or one without a zone
            return 0.0
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0
