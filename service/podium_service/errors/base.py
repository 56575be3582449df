"""What all errors have, and how they are told apart."""

from asyncio import CancelledError
from collections.abc import Iterator
from copy import copy
from math import ceil
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
