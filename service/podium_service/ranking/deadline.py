"""A request's one deadline: every wait, attempt and backoff spends from it."""

from asyncio import get_running_loop, timeout_at
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from podium_service.errors import DeadlineExceeded


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the event loop's clock; `total_s` is what it was set to, for messages."""

    at: float
    total_s: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        return cls(get_running_loop().time() + seconds, seconds)

    def remaining_s(self) -> float:
        return self.at - get_running_loop().time()

    def share(self, parts: int) -> "Deadline":
        """A deadline one `parts`-th of the remaining time away."""
        if parts == 1:
            return self
        return Deadline.after(max(0.0, self.remaining_s()) / parts)

    @asynccontextmanager
    async def enforce(self, doing: str) -> AsyncIterator[None]:
        """Cancel the body when the deadline passes.

        Raises:
            DeadlineExceeded: In the place of the cancelled body; names what it was `doing`.
        """
        try:
            async with timeout_at(self.at):
                yield
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"{self.total_s:.3g} s were not enough for {doing}: raise deadline_s, or ask again "
                "(verdicts that arrived are kept and not asked for twice)"
            ) from error
