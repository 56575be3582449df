"""A taskset with an environment of its own, which talks to the policy: guess a number."""

from collections.abc import Iterator

import verifiers.v1 as vf

__all__ = ["HintsEnv", "HintsTasks"]


class HintsData(vf.TaskData):  # type: ignore[misc]
    secret: int = 0


class Hints(vf.Task[HintsData, vf.State, vf.TaskConfig]):  # type: ignore[misc]
    @vf.reward  # type: ignore[untyped-decorator]
    async def is_found(self, task: HintsData, trace: vf.Trace) -> float:
        return float(trace.last_reply == str(task.secret))


class HintsTasks(vf.Taskset[Hints, vf.TasksetConfig]):  # type: ignore[misc]
    def load(self) -> Iterator[Hints]:
        for secret in (3, 7):
            data = HintsData(system_prompt="Guess.", secret=secret)
            yield Hints(data, self.config.task)


class HintsConfig(vf.EnvConfig):  # type: ignore[misc]
    guesser: vf.AgentConfig = vf.AgentConfig()


class HintsEnv(vf.Env[HintsConfig]):  # type: ignore[misc]
    async def run(self, task: Hints, agents: vf.Agents) -> None:
        async with agents.guesser.interaction(task) as talk:
            said = await talk.turn("From 1 to 10?")
            while not said.terminated and said.last_reply != str(task.data.secret):
                guess = int(said.last_reply)
                said = await talk.turn("Higher." if guess < task.data.secret else "Lower.")
