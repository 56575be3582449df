"""Trace requests, groups and judge calls as spans: the seam, which traces nothing by itself.

`collector` opens the tracing that the environment names; `otel` sends spans with OpenTelemetry. No
span holds texts, keys or whole URLs.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from podium_service.schemas import Ranking, RankRequest

if TYPE_CHECKING:  # it imports the openai client, which is slow
    from podium_service.prompts.reply import Reply


class Span:
    """Work that takes time, from entering to leaving; this one records nothing."""

    def __enter__(self) -> "Span":
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None: ...

    def set_status(self, status: int) -> None:
        """Record the HTTP status of a request's response."""

    def set_ranking(self, ranking: Ranking) -> None:
        """Record the ranking of a group."""

    def set_reply(self, reply: "Reply") -> None:
        """Record the judge's reply to a call."""


_NO_SPAN = Span()


class Tracing:
    """Starts spans; this one starts none that records anything."""

    def start_request(self, scope: Mapping[str, Any], request_id: str) -> Span:
        """Start the span of an HTTP request, from its ASGI scope; only rankings are traced."""
        return _NO_SPAN

    def start_group(self, request: RankRequest) -> Span:
        """Start the span of ranking one group."""
        return _NO_SPAN

    def start_attempt(self, judge: str, model: str, base_url: str, max_tokens: int) -> Span:
        """Start the span of one call to a judge's endpoint."""
        return _NO_SPAN

    async def aclose(self) -> None:
        """Send the spans that are left."""


UNTRACED = Tracing()
