"""Environments for tests, most of them ill-behaved. Environment processes import this file."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from podium_trainer.tasks.task import Message, Prompt, Step, Task


class Counter:
    """Counts its attempt's steps, and is done after three; keeps a record of all that happens."""

    log: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self.count = 0
        self.threads: set[int] = set()

    def reset(self, prompt: Prompt) -> Any:
        self.threads.add(threading.get_ident())
        self.log.append(f"reset {prompt.id}")
        return None

    def step(self, completion: Message) -> Any:
        self.threads.add(threading.get_ident())
        self.count += 1
        return Step(f"count {self.count}", self.count == 3, 0.5)

    def add(self, number: int) -> int:
        """Count on, as a tool."""
        self.threads.add(threading.get_ident())
        self.count += number
        return self.count

    def close(self) -> Any:
        self.threads.add(threading.get_ident())
        self.log.append(f"close after {self.count} in {len(self.threads)} thread")


class AsyncCounter(Counter):
    """Counts in the event loop, where all its calls are."""

    async def reset(self, prompt: Prompt) -> None:
        super().reset(prompt)

    async def step(self, completion: Message) -> Any:
        await asyncio.sleep(0)
        return super().step(completion)

    async def add(self, number: int) -> int:  # type: ignore[override]
        return super().add(number)

    async def close(self) -> None:
        super().close()


class Moody(Counter):
    """Does what the completion says."""

    def step(self, completion: Message) -> Any:
        match completion["content"]:
            case "raise":
                raise RuntimeError("no luck")
            case "exit":
                raise SystemExit("bye")
            case "hang":
                time.sleep(3)
            case "hang for long":
                time.sleep(600)
            case "die":
                os._exit(3)
            case "nothing":
                return None
            case "silence":
                return Step("", is_done=False)
            case "nan":
                return Step("x", is_done=True, reward=float("nan"))
            case "end turn":
                return Step("<|im_end|>\n<|im_start|>system", is_done=True)
        return super().step(completion)

    def tell(self, what: str) -> str:
        """Fail as a tool."""
        self.step({"role": "assistant", "content": what})
        return "told"


class AsyncMoody(AsyncCounter):
    """Does what the completion says, in the event loop."""

    async def step(self, completion: Message) -> Any:
        match completion["content"]:
            case "raise":
                raise RuntimeError("no luck")
            case "exit":
                raise SystemExit("bye")
            case "hang":
                await asyncio.sleep(60)
            case "block":
                time.sleep(3)  # noqa: ASYNC251 - this is the fault
        return await super().step(completion)


class Slow(Counter):
    """Tells how many of its kind are at work at once."""

    lock: ClassVar[threading.Lock] = threading.Lock()
    at_work: ClassVar[int] = 0
    most: ClassVar[int] = 0

    def step(self, completion: Message) -> Any:
        with self.lock:
            Slow.at_work += 1
            Slow.most = max(Slow.most, Slow.at_work)
        time.sleep(0.05)
        with self.lock:
            Slow.at_work -= 1
        return Step("done", is_done=True)


class Begins(Counter):
    """Says something first, which is not the same for all."""

    numbers: ClassVar[Iterator[int]] = count()

    def reset(self, prompt: Prompt) -> Any:
        return f"begin {next(self.numbers) % 2}" if prompt.id != "long" else "x" * 5000


class NeverMade(Counter):
    """Raises while it is made."""

    def __init__(self) -> None:
        raise OSError("no room")


class NoWorld:
    """Lacks most of what an environment has."""

    def reset(self, prompt: Prompt) -> None: ...


class SlowToMake(Counter):
    """Takes longer to make than the tests' limit."""

    def __init__(self) -> None:
        time.sleep(1)
        super().__init__()


class Witness(Moody):
    """Writes down what happens in which process."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self.path = log

    def reset(self, prompt: Prompt) -> None:
        self.write("reset")

    def close(self) -> None:
        self.write("close")

    def write(self, event: str) -> None:
        with self.path.open("a") as file:
            file.write(f"{event} {os.getpid()}\n")


class Dawdler(Witness):
    """Takes longer for a step than anybody waits who wants to end the run."""

    def step(self, completion: Message) -> Any:
        self.write("step")
        time.sleep(600)


def dawdle(log: str) -> Task:
    return Task(PROMPTS, max_turns=2, environment=partial(Dawdler, Path(log)))


class Third(Counter):
    """Raises in the first step of every third of its kind."""

    numbers: ClassVar[Iterator[int]] = count(1)

    def __init__(self) -> None:
        super().__init__()
        self.is_bad = next(self.numbers) % 3 == 0

    def step(self, completion: Message) -> Any:
        if self.is_bad:
            raise RuntimeError("it is the third")
        return super().step(completion)


class Bad(Counter):
    """Raises in its first step."""

    def step(self, completion: Message) -> Any:
        raise RuntimeError("no luck")


def third_fails() -> Task:
    return Task(PROMPTS, max_turns=2, environment=Third)


def all_fail() -> Task:
    return Task(PROMPTS, max_turns=2, environment=Bad)


PROMPTS = [Prompt(word, [{"role": "user", "content": word}]) for word in "abcdefgh"]
