"""Stop a run that no later batch can help, and log each batch in one line."""

import logging
import time
from collections import Counter
from collections.abc import Sequence

from podium.answers import GroupReward
from podium.errors import NothingRanked, RankError, RequestRefused, ServiceAbsent, Unauthorized

_log = logging.getLogger("podium")

# With these statuses, or with none, the fault may lie in one group and not in all.
_STATUSES_OF_ONE_GROUP = (None, 413, 422)


class StopRule:
    """The rule on what to do with the outcomes of a batch that is finished.

    - A fault of the settings, such as an unknown judge or a wrong key, is raised at once.
    - A batch whose groups were all refused is raised, if no group was ranked before it: the caller
      builds its groups in a way that the service does not take.
    - After `max_dry` batches in a row without any ranked group, `NothingRanked` is raised.

    All else stays masked. Batches that were asked at the same time count as one.

    Args:
        max_dry: None for no bound.
    """

    def __init__(self, max_dry: int | None) -> None:
        self.max_dry = max_dry
        self.has_ranked = False
        self.num_dry = 0
        self._counted_at = 0.0

    def see(self, outcomes: Sequence[GroupReward], started_at: float) -> None:
        """Log the outcomes of one batch, and raise if a later batch cannot do better.

        Args:
            outcomes: the final outcome of each group.
            started_at: when the batch was sent, on the clock of `time.monotonic`.

        Raises:
            RequestRefused, Unauthorized: If the settings or all groups are at fault.
            NothingRanked: If nothing was ranked in `max_dry` batches.
        """
        if not outcomes:
            return
        log_batch(outcomes, time.monotonic() - started_at)
        errors = [outcome.error for outcome in outcomes if outcome.error is not None]
        for error in errors:
            if concerns_all(error):
                raise error
        if len(errors) < len(outcomes):
            self.has_ranked = True
            self.num_dry = 0
            return
        if not self.has_ranked and all(isinstance(error, RequestRefused) for error in errors):
            raise errors[0]
        self._count_dry(errors[-1], started_at)

    def _count_dry(self, last: RankError, started_at: float) -> None:
        if started_at < self._counted_at:  # it ran beside a batch that is counted
            return
        self.num_dry += 1
        self._counted_at = time.monotonic()
        if self.max_dry is not None and self.num_dry >= self.max_dry:
            detail = (
                f"no group was ranked in {self.num_dry} batches in a row; the last error: {last}"
            )
            raise NothingRanked("nothing_ranked", None, False, last.request_id, detail)


def concerns_all(error: RankError) -> bool:
    """Return whether every other group would fail for the same reason."""
    if isinstance(error, RequestRefused):
        return error.code == "unknown_judge" or error.status not in _STATUSES_OF_ONE_GROUP
    return isinstance(error, Unauthorized | ServiceAbsent)


def log_batch(outcomes: Sequence[GroupReward], seconds: float) -> None:
    """Write one line: how many groups were ranked, and why the others were left out."""
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    line = f"ranked {len(outcomes) - len(errors)} of {len(outcomes)} groups in {seconds:.1f} s"
    if not errors:
        _log.info(line)
        return
    codes = Counter(error.code for error in errors)
    reasons = ", ".join(f"{count} {code}" for code, count in codes.most_common())
    _log.warning("%s; left out: %s; the first: %s", line, reasons, errors[0])
