"""`make demo-judge`: it starts a judge, a service and a run, and stops them all."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from podium_service.judges.judges_file import load
from podium_trainer.records.metrics import read_rows
from podium_trainer.run.demo_judge import DemoError, serving, write_judges
from tests.fakes import ScriptedJudge, by_length, until, whatever_is_asked
from tests.trainer.tiny import save_model

DEMO = (sys.executable, "-P", "-m", "podium_trainer.run.demo_judge")
URL = "http://127.0.0.1:9/v1"


def children(pid: int | None = None) -> set[int]:
    return {child.pid for child in psutil.Process(pid).children(recursive=True)}


def test_a_judge_runs_while_the_block_runs(tmp_path: Path) -> None:
    line = f"qwen answers at {URL} (4096 tokens of context)"
    code = f"import time; print({line!r}, flush=True); time.sleep(600)"
    with serving([sys.executable, "-c", code], tmp_path / "log") as judge:
        assert judge == ("qwen", URL)
        [process] = [each for each in psutil.Process().children() if code in each.cmdline()]
    assert not process.is_running()


def test_a_judge_that_does_not_start_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('podium: lamp: no such file')"]
    with pytest.raises(DemoError, match="the judge did not start: podium: lamp: no such file"):  # noqa: SIM117
        with serving(command, tmp_path / "log"):
            pass


def test_the_judges_file_of_the_demo_is_accepted(tmp_path: Path) -> None:
    config = load(write_judges(tmp_path / "judges.yaml", "qwen", URL))
    assert config.judges["local"].kind == "llm"


@pytest.mark.demo
@pytest.mark.anyio
async def test_the_demo_trains_with_any_judges_file(tmp_path: Path) -> None:
    async with ScriptedJudge(always=whatever_is_asked(by_length)).serving() as judge:
        demo = start_demo(tmp_path, judge.url, "--steps", "1")
        output, _ = await asyncio.to_thread(demo.communicate)
    assert demo.returncode == 0, output
    rows = read_rows(tmp_path / "runs/demo-judge/metrics.jsonl")
    assert [row["step"] for row in rows] == [0, 1]
    assert (tmp_path / "runs/demo-judge/curve.png").is_file()
    assert judge.calls > 0


@pytest.mark.demo
@pytest.mark.anyio
@pytest.mark.parametrize("to_all", [True, False], ids=["ctrl-c", "sigterm"])
async def test_an_interrupted_demo_leaves_no_process(to_all: bool, tmp_path: Path) -> None:
    async with ScriptedJudge(always=whatever_is_asked(by_length)).serving() as judge:
        demo = start_demo(tmp_path, judge.url, "--steps", "100000")
        await until(lambda: judge.calls > 0, 120)
        started = children(demo.pid)
        if to_all:  # as a terminal does
            os.killpg(demo.pid, signal.SIGINT)
        else:
            demo.terminate()
        output, _ = await asyncio.to_thread(demo.communicate)
    assert demo.returncode == 130, output
    assert started
    assert not {pid for pid in started if psutil.pid_exists(pid)}


def start_demo(folder: Path, judge_url: str, *settings: str) -> subprocess.Popen[str]:
    """Start the demo in a folder, with a tiny model and a judge at this URL."""
    model = save_model(folder / "model")
    judges = write_judges(folder / "judges.yaml", "m", judge_url)
    tiny = ["--model.device", "cpu", "--model.autocast", "false", "--eval.samples", "1"]
    return subprocess.Popen(
        [*DEMO, "--model", str(model), "--judges", str(judges), *tiny, *settings],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
