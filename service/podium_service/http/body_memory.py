"""Memory for bodies: what all requests may hold together, from first byte to answer."""

from podium_service.errors import BodyTooLarge, Overloaded

MAX_HELD_BYTES = 2**30


class MemoryBudget:
    """What all requests of a process share."""

    def __init__(self, capacity: int = MAX_HELD_BYTES) -> None:
        self.capacity = capacity
        self.held = 0

    def place(self) -> "Place":
        return Place(self)


class Place:
    """One request's part of a room."""

    def __init__(self, room: MemoryBudget) -> None:
        self._room = room
        self.held = 0

    def take(self, num_bytes: int) -> None:
        """Hold so much more.

        Raises:
            BodyTooLarge: If that is more than would fit into an empty room.
            Overloaded: If other requests hold too much now.
        """
        if self.held + num_bytes > self._room.capacity:
            raise BodyTooLarge(
                f"the body takes over {self._room.capacity} bytes of memory: send less at once"
            )
        if self._room.held + num_bytes > self._room.capacity:
            raise Overloaded(
                f"the bodies in work hold {self._room.held} of {self._room.capacity} bytes: "
                "send this again later",
                retry_after_s=1.0,
            )
        self.held += num_bytes
        self._room.held += num_bytes

    def leave(self) -> None:
        self._room.held -= self.held
        self.held = 0
