"""A taskset with tools whose server has a state: scan what is in the basket, name the total."""

from collections.abc import Iterator
from typing import ClassVar

import verifiers.v1 as vf

__all__ = ["TillTasks"]

PRICES = {"pear": 3, "plum": 5}


class TillData(vf.TaskData):  # type: ignore[misc]
    total: int = 0


class Till(vf.Toolset[vf.ToolsetConfig, vf.State]):  # type: ignore[misc]
    TOOL_PREFIX: ClassVar[str | None] = None

    async def setup(self) -> None:
        self.total = 0

    @vf.tool  # type: ignore[untyped-decorator]
    async def scan(self, item: str) -> str:
        """Add an item, and return the total so far."""
        self.total += PRICES[item]
        return str(self.total)


class Basket(vf.Task[TillData, vf.State, vf.TaskConfig]):  # type: ignore[misc]
    @classmethod
    def toolsets(cls, config: vf.TaskConfig) -> list[vf.Toolset]:
        return [Till(vf.ToolsetConfig())]

    @vf.reward  # type: ignore[untyped-decorator]
    async def is_total(self, task: TillData, trace: vf.Trace) -> float:
        return float(trace.last_reply == str(task.total))


class TillTasks(vf.Taskset[Basket, vf.TasksetConfig]):  # type: ignore[misc]
    def load(self) -> Iterator[Basket]:
        yield Basket(TillData(prompt="A pear and a plum.", total=8), self.config.task)
        yield Basket(TillData(prompt="Two pears.", total=6), self.config.task)


if __name__ == "__main__":
    Till.run()
