"""Check that vLLM will find Podium's plugin, before a server is started that cannot do without."""

import subprocess
from pathlib import Path

from podium.weights.plugin import BACKEND, GROUP
from podium_trainer.samplers import SamplerError

LOOK_S = 60.0
LOOK = f"from importlib.metadata import entry_points; print(entry_points(group={GROUP!r}).names)"


def require_plugin(python: Path) -> None:
    """Ask a Python for the plugins of vLLM in its environment.

    Raises:
        SamplerError: If Podium's is not among them, or the Python cannot be run; one line with what
            to install.
    """
    try:
        done = subprocess.run(
            [python, "-c", LOOK], capture_output=True, text=True, check=True, timeout=LOOK_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SamplerError(f"sampler.vllm.python {python} cannot be run: {error}") from error
    if repr(BACKEND) not in done.stdout:
        raise SamplerError(
            f"sampler.weight_sync stream: the environment of {python} has no plugin of Podium: in"
            f" the clone run `{python} -m pip install .`, or set sampler.weight_sync to disk"
        )
