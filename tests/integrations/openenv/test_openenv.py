"""The trainer's task `environment_server` plays on OpenEnv's own server."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from podium_trainer.tasks import open_task
from podium_trainer.tasks.task import Environment, Message, Prompt, Step, Task

START_S = 120.0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server = str(Path(__file__).with_name("word_server.py"))
    process = subprocess.Popen([sys.executable, server, str(port)])
    try:
        ends_at = time.monotonic() + START_S
        while not answers(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None
            assert time.monotonic() < ends_at
            time.sleep(0.05)
        yield f"ws://127.0.0.1:{port}/ws"
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):
            return True
    except (OSError, HTTPException):
        return False


def open_words(url: str) -> Task:
    return open_task("environment_server", {"urls": [url], "instructions": "Guess.", "held_out": 2})


def say(text: str) -> Message:
    return {"role": "assistant", "content": text}


async def play(environment: Environment, prompt: Prompt, texts: Sequence[str]) -> list[Any]:
    """Play one attempt; return what the reset said, and the steps."""
    try:
        return [await environment.reset(prompt), *[await environment.step(say(t)) for t in texts]]
    finally:
        await environment.close()


def test_sessions_have_a_state_of_their_own(url: str) -> None:
    task = open_words(url)
    make = task.environment
    assert make is not None
    pear, plum = task.train[0], task.train[1]

    async def both() -> list[list[Any]]:
        attempts = [play(make(), pear, ["fig", "pear"]), play(make(), plum, ["pear", "a", "b"])]
        return await asyncio.gather(*attempts)

    first, second = asyncio.run(both())
    assert first == [
        "Which fruit has 4 letters, number 2?", Step("No.", False, 0.0), Step("Right.", True, 1.0),
    ]  # fmt: skip
    assert [step.is_done for step in second[1:]] == [False, False, True]
    assert [step.reward for step in second[1:]] == [0.0, 0.0, 0.0]


def test_places_are_free_again_after_an_attempt(url: str) -> None:
    task = open_words(url)
    make = task.environment
    assert make is not None

    async def rounds() -> None:
        for _ in range(3):
            await asyncio.gather(*[play(make(), task.train[0], ["pear"]) for _ in range(4)])

    asyncio.run(rounds())


def test_an_error_of_the_environment_is_told(url: str) -> None:
    task = open_words(url)
    assert task.environment is not None
    with pytest.raises(Exception, match="no such fruit"):
        asyncio.run(play(task.environment(), task.train[0], ["crash"]))
