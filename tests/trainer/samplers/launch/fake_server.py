"""Be a vLLM server without a model, in a process: `python fake_server.py --host=HOST --port=N`.

`--fail=TEXT` makes it end with this text before it serves, `--load=SECONDS` take some time before
it does, and `--draws=by-prompt` makes its completions the same in every run. Each server also has a
child of its own, as vLLM has, which outlives it if nobody ends it.
"""

import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[4]))

from tests.trainer.fake_vllm import FakeVllm, by_prompt, varied


def main(flags: list[str]) -> int:
    options = dict(flag.lstrip("-").split("=", 1) for flag in flags if "=" in flag)
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if "fail" in options:
        print(options["fail"], flush=True)
        return 3
    time.sleep(float(options.get("load", 0)))
    fake = FakeVllm(host=options["host"], port=int(options["port"]))
    if options.get("draws") == "by-prompt":
        fake.draw = by_prompt
    else:
        fake.spoil = varied
    with fake.serving():
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
