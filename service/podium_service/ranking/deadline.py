"""Hold a request to its one deadline: every wait, attempt and backoff spends from it."""

from asyncio import get_running_loop, timeout_at
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from podium_service.errors import DeadlineExceeded


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment `at` on the event loop's clock, `total_s` seconds after it was set."""

    at: float
    total_s: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """Return the deadline so many seconds from now."""
        return cls(get_running_loop().time() + seconds, seconds)

    def remaining_s(self) -> float:
        """Return the time left, in seconds; negative once the deadline has passed."""
        return self.at - get_running_loop().time()

    def share(self, parts: int) -> "Deadline":
        """Return a deadline for one of so many equal parts of the time left."""
        return self if parts == 1 else Deadline.after(max(0.0, self.remaining_s()) / parts)

    @asynccontextmanager
    async def enforce(
        self, activity: str, describe: Callable[[], str] | None = None
    ) -> AsyncIterator[None]:
        """Cancel the body when the deadline passes.

        Args:
            activity: what the time was for, for the error.
            describe: returns what is going on then, for the error.

        Raises:
            DeadlineExceeded: In place of the body's cancellation.
        """
        try:
            async with timeout_at(self.at):
                yield
        except TimeoutError as error:
            what = f"{activity} ({describe()})" if describe else activity
            raise DeadlineExceeded(
                f"{self.total_s:.3g} s were not enough for {what}: raise deadline_s, or ask again "
                "(verdicts that arrived are kept and not asked for twice)"
            ) from error
