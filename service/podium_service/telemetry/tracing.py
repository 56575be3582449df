"""The seam to tracing: requests, groups and judge calls -> spans, or nothing.

Nothing is traced unless the standard environment names a collector, and `otel` then does it. What
is told here never holds texts, keys or whole URLs.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from podium_service.schemas import Ranking, RankRequest

if TYPE_CHECKING:  # it brings the openai client along, and spans may be none
    from podium_service.prompts.reply import Reply


class Span:
    """Something that takes time, from entering to leaving. This one tells nobody."""

    def __enter__(self) -> "Span":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def set_status(self, status: int) -> None:
        """A request was."""

    def set_ranking(self, ranking: Ranking) -> None:
        """A group was."""

    def set_reply(self, reply: "Reply") -> None:
        """A judge did."""


_NOTHING = Span()


class Tracing:
    """Traces nothing."""

    def start_request(self, scope: Mapping[str, Any], request_id: str) -> Span:
        """A request, as ASGI has it; only those for rankings are traced."""
        return _NOTHING

    def start_group(self, request: RankRequest) -> Span:
        """A group, from its plan to its answer."""
        return _NOTHING

    def start_attempt(self, judge: str, model: str, base_url: str, max_tokens: int) -> Span:
        """A call to a judge's endpoint."""
        return _NOTHING

    async def aclose(self) -> None:
        """Send what is left."""


UNTRACED = Tracing()
