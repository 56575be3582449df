"""The entry point by which vLLM finds the backend of weights."""

import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
# What vLLM has anyway, but a process that only looks for plugins need not load.
HEAVY = ("torch", "numpy", "transformers", "vllm", "podium_trainer", "podium_service")


def entry_point() -> EntryPoint:
    groups = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]["entry-points"]
    [(name, value)] = groups["vllm.general_plugins"].items()
    return EntryPoint(name, value, "vllm.general_plugins")


def test_the_plugin_imports_nothing_heavy() -> None:
    module = entry_point().module
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


def test_a_vllm_without_weight_transfer_starts_as_ever() -> None:
    assert entry_point().load()() is None
