"""Tell a trainer that cannot leave groups out when to stop: nothing has been ranked for too long.

The client's rule for batches (`podium.stop_rule`), for groups: a failed group counts if it opened
after the last failure that was counted, because groups that fail together fail for one reason.
"""

from podium_service import errors
from podium_service.errors import PodiumError

MAX_DRY = 3

# Errors of the request that a later group of the same trainer need not have.
_OF_ONE_GROUP = (
    errors.ContextExceeded,
    errors.CriterionFailed,
    errors.ImageLimit,
    errors.ImagesNotSupported,
    errors.KeyRateLimited,
)


class DryRule:
    """Counts failures in a row of one trainer.

    Args:
        max_dry: number of failures after which every further one stops the trainer.
    """

    def __init__(self, max_dry: int = MAX_DRY) -> None:
        self._max_dry = max_dry
        self._num_dry = 0
        self._counted_at = float("-inf")

    def must_stop(self, error: PodiumError | None, opened_at: float, now: float) -> bool:
        """Take in the outcome of one group, and return whether its members must be told to stop.

        Args:
            error: why it was not ranked; None if it was.
            opened_at: when its first member came, in seconds on the clock of `now`.
        """
        if error is None:
            self._num_dry = 0
            return False
        if concerns_all(error):
            return True
        if opened_at >= self._counted_at and self._num_dry < self._max_dry:
            self._num_dry += 1
            self._counted_at = now
        return self._num_dry >= self._max_dry


def concerns_all(error: PodiumError) -> bool:
    """Return whether every later group would fail for the same reason."""
    return isinstance(error, errors.RequestError) and not isinstance(error, _OF_ONE_GROUP)
