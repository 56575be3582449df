"""What integration tests need; missing on a laptop it is a skip, missing in CI a failure."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.vllm_server import vllm_server


def need(variable: str) -> Path:
    """The path that an environment variable names."""
    value = os.environ.get(variable)
    if value and Path(value).exists():
        return Path(value)
    reason = f"{variable} does not name a path: run make test-integration"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def vllm_url() -> Iterator[str]:
    """SmolLM2-135M-Instruct on a vLLM server on the CPU: a real judge, and a hopeless one."""
    python, model = need("PODIUM_VLLM_PYTHON"), need("PODIUM_SMOLLM2")
    with vllm_server(python, model, max_model_len=4096) as url:
        yield url
