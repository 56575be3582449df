"""Start a real vLLM server on the CPU for the length of a `with` block, and end it afterwards.

vLLM lives in an environment of its own; all that is needed of it is the path of its Python:

    with vllm_server(Path(os.environ["PODIUM_VLLM_PYTHON"]), model_dir) as base_url:
        httpx.post(f"{base_url}/chat/completions", json={"model": "judge", "messages": [...]})
"""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import httpx

STARTUP_LIMIT_S = 600.0
SHUTDOWN_LIMIT_S = 15.0
POLL_S = 0.25
LOG_TAIL_LINES = 40

SERVER_ENVIRONMENT = {
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    # With other work on the machine, a second OpenMP thread makes every token many times slower;
    # left to itself vLLM overrides this number and pins every server to the same first core.
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}

NO_VARIABLES: Mapping[str, str] = MappingProxyType({})
ROOT = Path(__file__).parents[2]

# bfloat16 multiplies ten times slower than float32 on CPUs without instructions for it, and the
# compile cache of vllm-cpu 0.32 fails to load: minutes at every start, for nothing a test needs.
CPU_ARGS = ("--dtype", "float32", "--enforce-eager")


@contextlib.contextmanager
def vllm_server(
    python: Path,
    model_dir: Path,
    *,
    served_name: str = "judge",
    max_model_len: int = 2048,
    extra_args: Sequence[str] = (),
) -> Iterator[str]:
    """Serve model_dir on a free loopback port and yield the base URL, `http://127.0.0.1:PORT/v1`.

    extra_args come last, so they win over the settings made here.

    Raises:
        RuntimeError: If the server dies or is not ready in time; ends with the tail of its log.
    """
    port = free_port()
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--model", str(model_dir), "--served-model-name", served_name]
    command += ["--max-model-len", str(max_model_len), *CPU_ARGS, *extra_args]
    with tempfile.TemporaryDirectory(prefix="podium-vllm-") as folder:
        log_path = Path(folder) / "server.log"
        process = start(command, log_path)
        try:
            wait_until_ready(process, f"http://127.0.0.1:{port}/health", log_path)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            end_group(process)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(
    command: Sequence[str], log_path: Path, environment: Mapping[str, str] = NO_VARIABLES
) -> subprocess.Popen[bytes]:
    """Start command as the leader of a new process group, since vLLM's engine is its child."""
    with log_path.open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **SERVER_ENVIRONMENT, **environment},
            start_new_session=True,
        )


def wait_until_ready(process: subprocess.Popen[bytes], health_url: str, log_path: Path) -> None:
    """Poll health_url until it answers 200, the server dies or STARTUP_LIMIT_S is over."""
    give_up_at = time.monotonic() + STARTUP_LIMIT_S
    with httpx.Client(trust_env=False, timeout=5.0) as client:
        while not answers_ok(client, health_url):
            if has_exited(process):
                raise RuntimeError(f"vLLM died while starting\n{log_tail(log_path)}")
            if time.monotonic() > give_up_at:
                raise RuntimeError(
                    f"vLLM was not ready after {STARTUP_LIMIT_S:.0f} s\n{log_tail(log_path)}"
                )
            time.sleep(POLL_S)


def answers_ok(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def log_tail(log_path: Path) -> str:
    lines = log_path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-LOG_TAIL_LINES:])


def has_exited(process: subprocess.Popen[bytes]) -> bool:
    """Return whether the leader is gone; it is not reaped, so its pid is ours until end_group."""
    if process.returncode is not None:
        return True
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the process group to stop, then kill what is left of it, then reap the leader."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        kill_at = time.monotonic() + SHUTDOWN_LIMIT_S
        while not has_exited(process) and time.monotonic() < kill_at:
            time.sleep(POLL_S)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def install_plugin(folder: Path) -> dict[str, str]:
    """Return the environment in which vLLM finds Podium's plugin, as after `pip install .`.

    Args:
        folder: gets the entry points of pyproject.toml.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    info = folder / "podium-0.dist-info"
    info.mkdir()
    lines = ["[vllm.general_plugins]"]
    for name, value in project["entry-points"]["vllm.general_plugins"].items():
        lines.append(f"{name} = {value}")
    (info / "entry_points.txt").write_text("\n".join(lines))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: podium\nVersion: 0\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT / "trainer_client")])}
