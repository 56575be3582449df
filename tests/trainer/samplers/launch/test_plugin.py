"""The search for Podium's plugin in the environment of vLLM."""

import sys
from pathlib import Path

import pytest

from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.launch.plugin import require_plugin
from tests.integration.vllm_server import install_plugin


def program(folder: Path, line: str) -> Path:
    """Return a program that takes the place of a Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path


def test_an_environment_with_the_plugin_passes(tmp_path: Path) -> None:
    path = install_plugin(tmp_path)["PYTHONPATH"]
    require_plugin(program(tmp_path, f'PYTHONPATH={path} exec {sys.executable} "$@"'))


def test_an_environment_without_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(SamplerError, match=r"in the clone run `\S+ -m pip install \.`") as caught:
        require_plugin(program(tmp_path, "echo 'set()'"))
    assert "\n" not in str(caught.value)
    assert "sampler.weight_sync stream" in str(caught.value)


def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SamplerError, match=r"sampler\.vllm\.python /\S+ cannot be run"):
        require_plugin(tmp_path / "python")
