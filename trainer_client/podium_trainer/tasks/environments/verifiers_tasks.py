"""Train in environments of the library verifiers (0.4), with their prompts, tools and rewards."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from podium_trainer.tasks.environments.verifiers_episode import Episode, load_environment, to_text
from podium_trainer.tasks.task import (
    Message,
    Prompt,
    Task,
    TaskError,
    Tool,
    environment_reward,
)

HARNESS = "podium-env"  # podium_env.chat_harness
START_S = 300.0
MAX_HELD_OUT = 50


def verifiers(
    taskset: str,
    *,
    config: dict[str, Any] | None = None,
    limit: int = 10_000,
    held_out: int | None = None,
    seed: int = 0,
    max_turns: int = 10,
    reference: str | None = None,
) -> Task:
    """Build a task from an installed taskset.

    Args:
        taskset: its id, as verifiers' `eval` takes it: the name of a module, or `owner/name`.
        config: the settings of the environment, as the block `env` of verifiers.
        limit: the largest number of tasks.
        held_out: how many of them are never trained on; None for a tenth, at most MAX_HELD_OUT.
        seed: decides which.
        max_turns: the largest number of completions of an attempt.
        reference: the field of a task's data with a known good answer, which the judge is shown.

    Raises:
        TaskError: If verifiers is not installed, or does not load or begin the environment.
    """
    settings = resolve(taskset, config or {}, max_turns)
    tasks = load_tasks(taskset, settings, limit, seed)
    prompts = [to_prompt(taskset, task, reference) for task in tasks]
    held_out = min(MAX_HELD_OUT, len(prompts) // 10) if held_out is None else held_out
    tools = learn_tools(taskset, settings, prompts[0])
    make = partial(Episode, settings, [tool.name for tool in tools])
    return Task(
        prompts[held_out:],
        prompts[:held_out],
        tools,
        max_turns=max_turns,
        score=environment_reward,
        environment=make,
        calls_to_step=True,
    )


def resolve(taskset: str, config: Mapping[str, Any], max_turns: int) -> str:
    """Return the settings of the environment as JSON, with our defaults for the policy's agent.

    Those are: a chat in this process instead of a shell, the local machine instead of a cloud, and
    no second try, which would begin the conversation anew.
    """
    try:
        import verifiers.v1 as vf
        from verifiers.v1.configs.agent import agent_config_fields
        from verifiers.v1.utils.loaders import default_harness_id
    except ImportError as error:
        raise TaskError(
            f"task verifiers: {error}: install verifiers 0.4 in the trainer's environment"
        ) from error
    raw = {**config, "taskset": {**config.get("taskset", {}), "id": taskset}}
    with refusing(taskset):
        agents = agent_config_fields(vf.resolve_env_config(raw))
        policies = [name for name, agent in agents.items() if agent.client is None]
        if len(policies) != 1:
            raise TaskError(
                f"taskset {taskset!r} has the agents {', '.join(agents)}, and"
                f" {len(policies)} of them without a `client`: the policy is the only one"
                " without, so give each other one its client and model in task.options.config"
            )
        [policy] = policies
        ours: dict[str, Any] = {"max_turns": max_turns, "runtime": {"type": "subprocess"}}
        if default_harness_id(taskset) == "bash":
            ours["harness"] = {"id": HARNESS}
        raw[policy] = {**ours, **config.get(policy, {}), "retries": {"max_retries": 0}}
        raw["retries"] = {"max_retries": 0}
        vf.resolve_env_config(raw)
    return json.dumps(raw)


@contextmanager
def refusing(taskset: str) -> Iterator[None]:
    """Turn whatever loading a taskset raises into one line."""
    try:
        yield
    except TaskError:
        raise
    except Exception as error:  # a taskset raises what it likes
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise TaskError(f"taskset {taskset!r} of verifiers cannot be used: {words}") from error


def load_tasks(taskset: str, settings: str, limit: int, seed: int) -> list[Any]:
    """Return at most `limit` tasks in the order that a seed decides."""
    with refusing(taskset):
        found = load_environment(settings).taskset
        tasks = list(found.take(limit) if not found.bounded else found.shuffle(seed).take(limit))
    if not tasks:
        raise TaskError(f"taskset {taskset!r} of verifiers has no task")
    return tasks


def to_prompt(taskset: str, task: Any, reference: str | None) -> Prompt:
    """Return a task as a prompt, whose row is all that an environment needs to play it."""
    data = task.data
    row = data.model_dump(mode="json")
    if reference is not None and reference not in row:
        fields = ", ".join(row)
        raise TaskError(f"task.options.reference {reference!r}: a task has the fields {fields}")
    known = None if reference is None else row[reference]
    messages: list[Message] = []
    if data.system_prompt is not None:
        messages.append({"role": "system", "content": data.system_prompt})
    if isinstance(data.prompt, str):
        messages.append({"role": "user", "content": data.prompt})
    else:
        with refusing(taskset):
            messages += [
                to_text(message.model_dump(mode="json", exclude_none=True))
                for message in data.prompt or ()
            ]
    if not messages:
        raise TaskError(
            f"a task of {taskset!r} has neither a prompt nor a system prompt: give the taskset a"
            " system prompt in task.options.config"
        )
    return Prompt(
        data.id or task.key[:16],
        messages,
        reference=None if known is None else str(known),
        row=row,
    )


def learn_tools(taskset: str, settings: str, prompt: Prompt) -> list[Tool]:
    """Begin to play one task, and return the tools that its first request offers."""

    async def begin() -> list[dict[str, Any]]:
        episode = Episode(settings, tools=None)
        try:
            async with asyncio.timeout(START_S):
                await episode.reset(prompt)
        except TimeoutError as error:
            raise TaskError(
                f"taskset {taskset!r} of verifiers: its first task asked for no completion within"
                f" {START_S:.0f} s: see whether its tools start"
            ) from error
        finally:
            await episode.close()
        return episode.definitions

    with refusing(taskset):
        functions = [each["function"] for each in asyncio.run(begin())]
    return [
        Tool(
            function["name"],
            function.get("description") or "",
            function.get("parameters") or {"type": "object", "properties": {}},
        )
        for function in functions
    ]
