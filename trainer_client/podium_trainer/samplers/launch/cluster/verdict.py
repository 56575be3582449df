"""Say whether a run is over when its ranks have ended, and why they have."""

from collections.abc import Sequence

from podium_trainer.samplers.launch.cluster.host import End

WRONG, STOPPED, BY_SIGNAL = 2, 130, 128  # exit statuses: of a wrong setting, of Ctrl-C, above it


def verdict(ends: Sequence[End | None], *, is_sound: bool) -> int | None:
    """Return the exit status of a run that is over; None if it must be started again.

    Rank 0 says why a run ends. But when another rank failed, that may be all that it knows, and a
    start that brought nothing may have failed for what the last one left, such as a lock.

    Args:
        ends: of all ranks; None for one that still runs.
        is_sound: whether nothing was lost before this start, or it has brought a checkpoint.
    """
    leader, *others = ends
    if leader is None or leader.status is None:
        return None
    if leader.status in (0, WRONG, STOPPED):
        return leader.status
    if leader.status > BY_SIGNAL or not is_sound or any(end and end.status != 0 for end in others):
        return None
    return leader.status


def first_fault(ends: Sequence[End | None]) -> str:
    """Say how a rank has ended: one that was lost or killed before one that noticed it."""
    failed = [(rank, end) for rank, end in enumerate(ends) if end and end.status != 0]
    gone = [each for each in failed if each[1].status is None or each[1].status > BY_SIGNAL]
    if not failed:
        return "the ranks have ended one by one"
    rank, end = (gone or failed)[0]
    return f"rank {rank} {end.fault}"
