"""Start processes on the machines of a Ray cluster (`--ray`).

    connection.py   connects to the cluster
    host.py         the actor that runs one process on its machine
    process.py      one start of such a process, as the run sees it
    ranks.py        keeps the trainer itself up
    verdict.py      says whether a run is over when its ranks have ended

    run ──(command)──► Ray: a machine with room ──► actor ──► guard ──► process
     ▲                                                │ lost, or the process has ended
     └────────────────────────────────────────────────┘ started again, wherever there is room

Ray places processes and tells when they have ended. What they say to each other does not go through
Ray: prompts, completions and weights go over HTTP, files and torch's process groups.
"""

from importlib.util import find_spec

from podium_trainer.samplers import SamplerError


def require_ray() -> None:
    """Raise SamplerError if Ray is not installed; one line with the remedy."""
    if find_spec("ray") is None:
        raise SamplerError(
            "--ray: Ray is not installed: in the clone run pip install '.[trainer,ray]'"
        )
