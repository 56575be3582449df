"""Tools in processes of their own: whatever a tool does, its call returns a text."""

import multiprocessing
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from podium_trainer.policy.tool_calls import ToolCall
from podium_trainer.rollout.tool_runner import MAX_RESULT_CHARS, ToolRunner
from tests.trainer.tools import TOOLS


@pytest.fixture(scope="module")
def runner() -> Iterator[ToolRunner]:
    with ToolRunner(TOOLS, timeout_s=60.0, num_processes=2) as opened:
        yield opened


def run(runner: ToolRunner, name: str, **arguments: Any) -> str:
    [result] = runner.run_all([ToolCall(name, arguments)])
    return result


def test_a_result_becomes_its_text(runner: ToolRunner) -> None:
    assert run(runner, "add", a=1, b=2.5) == "3.5"
    assert run(runner, "echo", text="né\n") == "né\n"


def test_results_come_in_the_order_of_the_calls(runner: ToolRunner) -> None:
    calls = [ToolCall("echo", {"text": str(i)}) for i in range(20)]
    assert runner.run_all(calls) == [str(i) for i in range(20)]
    assert runner.run_all([]) == []


def test_calls_run_side_by_side(runner: ToolRunner, tmp_path: Path) -> None:
    meet = [{"folder": str(tmp_path), "me": me, "other": {"a": "b", "b": "a"}[me]} for me in "ab"]
    results = runner.run_all([ToolCall("meet", arguments) for arguments in meet])
    assert results == ["a met b", "b met a"]


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("fail", {"why": "no pears"}, "error: RuntimeError: no pears"),
        ("add", {"a": 1}, "error: TypeError: add() missing 1 required positional argument: 'b'"),
        ("add", {"a": 1, "c": 2}, "error: TypeError: add() got an unexpected keyword argument 'c'"),
        ("leave", {}, "error: SystemExit: bye"),
        ("interrupt", {}, "error: KeyboardInterrupt"),
        ("unprintable", {}, "error: ValueError: no text"),
        (
            "raise_unprintable",
            {},
            "error: tests.trainer.tools.Unprintable: <exception str() failed>",
        ),
    ],
)
def test_an_exception_of_a_tool_becomes_its_result(
    runner: ToolRunner, name: str, arguments: dict[str, Any], words: str
) -> None:
    assert run(runner, name, **arguments) == words
    assert run(runner, "add", a=1, b=2) == "3"


def test_a_call_of_an_unknown_tool_lists_the_known_ones(runner: ToolRunner) -> None:
    result = run(runner, "prize", item="pear")
    assert result.startswith("error: there is no tool 'prize'; there are: add, echo, ")


def test_a_tool_that_hangs_is_ended_and_the_next_call_works() -> None:
    with ToolRunner(TOOLS, timeout_s=4.0, num_processes=2) as runner:
        started = time.perf_counter()
        results = runner.run_all([ToolCall("hang", {}), ToolCall("echo", {"text": "ok"})])
        assert results == ["error: hang took longer than 4 s", "ok"]
        assert time.perf_counter() - started < 60
        assert run(runner, "add", a=1, b=2) == "3"


def test_a_tool_may_end_its_process_and_the_next_call_works(
    runner: ToolRunner,
) -> None:
    assert run(runner, "die").startswith("error: die ended its process: ")
    assert run(runner, "add", a=1, b=2) == "3"


def test_long_results_are_cut_and_lone_surrogates_replaced(runner: ToolRunner) -> None:
    assert run(runner, "long_text") == "x" * MAX_RESULT_CHARS
    assert run(runner, "lone_surrogate") == "x?y"


def test_many_threads_may_call_at_once(runner: ToolRunner) -> None:
    results: dict[int, str] = {}

    def call(number: int) -> None:
        results[number] = run(runner, "add", a=number, b=1)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {i: str(i + 1) for i in range(8)}


def test_an_unused_runner_starts_no_process() -> None:
    before = set(multiprocessing.active_children())
    with ToolRunner(TOOLS, timeout_s=1.0):
        assert set(multiprocessing.active_children()) == before


def test_a_process_that_dies_between_calls_is_replaced() -> None:
    others = set(multiprocessing.active_children())
    with ToolRunner(TOOLS, timeout_s=20, num_processes=1) as runner:
        assert run(runner, "add", a=1, b=2) == "3"
        [worker] = set(multiprocessing.active_children()) - others
        worker.kill()
        worker.join()
        assert run(runner, "add", a=2, b=2) == "4"


def test_a_call_that_waits_ends_when_the_tools_are_closed() -> None:
    with ToolRunner(TOOLS, timeout_s=600.0) as runner, ThreadPoolExecutor(1) as threads:
        others = set(multiprocessing.active_children())
        waiting = threads.submit(run, runner, "hang")
        while set(multiprocessing.active_children()) <= others:
            time.sleep(0.01)
        runner.close()
        with pytest.raises(RuntimeError, match="not active"):
            waiting.result(60)


def test_tools_do_not_see_api_keys_in_their_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PODIUM_API_KEY", "secret")
    with ToolRunner(TOOLS, timeout_s=20, num_processes=1) as runner:
        assert run(runner, "environment", variable="PODIUM_API_KEY") == "None"
        assert run(runner, "environment", variable="PATH") != "None"
