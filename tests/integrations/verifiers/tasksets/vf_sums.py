"""A taskset without tools: sums, whose reward is half for a number and one for the right one."""

from collections.abc import Iterator

import verifiers.v1 as vf

__all__ = ["Sums"]


class SumData(vf.TaskData):  # type: ignore[misc]  # verifiers is not there for mypy
    answer: str = ""


class Sum(vf.Task[SumData, vf.State, vf.TaskConfig]):  # type: ignore[misc]
    @vf.reward(weight=0.5)  # type: ignore[untyped-decorator]
    async def is_number(self, trace: vf.Trace) -> float:
        return float(trace.last_reply.isdigit())

    @vf.reward(weight=0.5)  # type: ignore[untyped-decorator]
    async def is_right(self, task: SumData, trace: vf.Trace) -> float:
        if trace.last_reply == "crash":
            raise RuntimeError("no such sum")
        return float(trace.last_reply == task.answer)


class Sums(vf.Taskset[Sum, vf.TasksetConfig]):  # type: ignore[misc]
    def load(self) -> Iterator[Sum]:
        for n in range(20):
            data = SumData(prompt=f"{n} + 2 =", system_prompt="Answer.", answer=str(n + 2))
            yield Sum(data, self.config.task)
