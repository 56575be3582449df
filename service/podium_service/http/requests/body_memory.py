"""A limit on the memory that the bodies of all requests take together.

A request counts its body from the first byte until its response is complete.
"""

from dataclasses import dataclass

from podium_service.errors import BodyTooLarge, Overloaded

MAX_BODY_MEMORY = 2**30


@dataclass
class MemoryBudget:
    """The memory that the requests of one process share, in bytes."""

    capacity: int = MAX_BODY_MEMORY
    held: int = 0


class MemoryShare:
    """The part of a `MemoryBudget` that one request holds, in bytes."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self.held = 0

    def take(self, num_bytes: int) -> None:
        """Hold this many bytes more.

        Raises:
            BodyTooLarge: If this request would hold more than the whole budget.
            Overloaded: If the other requests leave too little of the budget.
        """
        budget = self._budget
        if self.held + num_bytes > budget.capacity:
            raise BodyTooLarge(
                f"the body takes over {budget.capacity} bytes of memory: send less at once"
            )
        if budget.held + num_bytes > budget.capacity:
            raise Overloaded(
                f"the bodies in work hold {budget.held} of {budget.capacity} bytes: "
                "send this again later",
                retry_after_s=1.0,
            )
        self.held += num_bytes
        budget.held += num_bytes

    def release(self) -> None:
        """Give back all that this request holds."""
        self._budget.held -= self.held
        self.held = 0
