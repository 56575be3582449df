"""Check that the ranks of all machines see one folder, in which each writes its share."""

import secrets
import socket
from contextlib import suppress
from pathlib import Path

from podium_trainer.policy.ranks.processes import FailedTogether, Ranks


class FolderError(FailedTogether):
    """A rank does not see the folder of the run; one line that names it."""


def require_common_folder(ranks: Ranks, folder: Path) -> None:
    """Have rank 0 make something new in a folder, and the others look for it.

    All ranks call it at once. Without it a run would only find out when it resumes that the shares
    of other machines are missing in its checkpoints.

    Raises:
        FolderError: If one does not see it.
    """
    if not ranks.are_many:
        return
    name = ranks.gather(f".seen-by-all-{secrets.token_hex(4)}")[0]
    mark = folder / name
    if ranks.rank == 0:
        with suppress(OSError):  # then nobody sees it, not even this rank
            mark.mkdir(parents=True)
    ranks.gather(None)  # it is there
    views = ranks.gather((mark.is_dir(), socket.gethostname()))
    if ranks.rank == 0:
        with suppress(OSError):
            mark.rmdir()
    for rank, (is_seen, machine) in enumerate(views):
        if not is_seen:
            raise FolderError(
                f"out {folder}: rank {rank} on {machine} does not see the folder that rank 0 on"
                f" {views[0][1]} writes to: set out to one that all machines have in common, as on"
                " a network file system"
            )
