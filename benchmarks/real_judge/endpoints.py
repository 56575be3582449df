"""Where the judge answers: a URL that is given, a server started for the run, or a simulated judge.

To add a server: write a context manager that yields a URL up to and including `/v1`.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.content import truth_by_case
from benchmarks.judges.server import serving_apart
from benchmarks.judges.simulated import SimulatedJudge, by_case
from benchmarks.processes import ended
from benchmarks.real_judge.sets import GroupSet
from tests.integration.vllm_server import vllm_server

MAX_MODEL_LEN = 8192
# Lists come back as JSON; small models may write blanks between its fields without an end.
COMPACT_JSON = '{"backend": "xgrammar", "disable_any_whitespace": true}'
VLLM_ARGS = (
    *("--structured-outputs-config", COMPACT_JSON),
    *("--generation-config", "vllm"),  # no sampling settings of the model's own
    *("--enable-prefix-caching", "--dtype"),
)


@contextmanager
def gguf_server(path: Path) -> Iterator[str]:
    """Run `podium judge serve` with one thread."""
    command = [sys.executable, "-P", "-m", "podium_service", "judge", "serve", str(path)]
    command += ["--port", "0", "--threads", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    with ended(process):
        assert process.stdout
        said = process.stdout.readline().decode()
        if " at http" not in said:
            raise RuntimeError(f"podium judge serve {path} did not start: {said!r}")
        yield said.rpartition(" at ")[2].strip()


@contextmanager
def served_by_vllm(python: Path, model: Path, dtype: str) -> Iterator[str]:
    """Run vLLM from an environment of its own."""
    extra = (*VLLM_ARGS, dtype)
    with vllm_server(python, model, max_model_len=MAX_MODEL_LEN, extra_args=extra) as url:
        yield url


@contextmanager
def simulated(sets: Sequence[GroupSet]) -> Iterator[str]:
    """Run a simulated judge that knows the truth of these sets."""
    truth = truth_by_case([group for each in sets for group in each.groups])
    with serving_apart({"sim": SimulatedJudge(by_case({}))}, truth) as urls:
        yield urls["sim"]


def model_at(url: str) -> str:
    """Return the name of the first model that an endpoint lists."""
    listed: Mapping[str, Any] = (
        httpx.get(f"{url}/models", trust_env=False).raise_for_status().json()
    )
    return str(listed["data"][0]["id"])


def vllm_version(python: Path) -> str:
    """Return the version of vLLM in its own environment."""
    found = python.parent.parent.glob("lib/*/site-packages/vllm*.dist-info")
    return next((each.name.removesuffix(".dist-info") for each in found), "unknown")
