"""Train in environments behind servers: OpenEnv's, or others with a reset and a step."""

import random
from collections.abc import Sequence
from functools import partial
from typing import Any

from podium_trainer.tasks.environments.episodes import Fields, Posts, Session
from podium_trainer.tasks.task import Message, Prompt, Task, TaskError, environment_reward

KINDS: dict[str, type[Posts] | type[Session]] = {
    "http": Posts,
    "https": Posts,
    "ws": Session,
    "wss": Session,
}


def environment_server(
    urls: list[str],
    *,
    instructions: str,
    resets: list[dict[str, Any]] | None = None,
    seeds: int = 100,
    held_out: int = 10,
    max_turns: int = 10,
    action: str | None = "message",
    observation: str | None = None,
) -> Task:
    """Build a task whose attempts are episodes on servers; the score is the sum of rewards.

    Args:
        urls: one server or more, which share the episodes: ws://host:8000/ws for OpenEnv's
            sessions, http://host:8000 for POST /reset and POST /step.
        instructions: the system message: what the model is to do, and how it writes an action.
        resets: the arguments of a reset, one object for each prompt; None for the seeds 0, 1, ...
        seeds: the number of seeds where there are no resets.
        held_out: how many of the prompts are never trained on.
        max_turns: the largest number of steps.
        action: the field of an action that gets the model's text; null sends the text itself.
        observation: the field of an observation that the model reads; null finds one.

    Raises:
        TaskError: If a URL is of another form.
    """
    urls = [urls] if isinstance(urls, str) else urls
    if not urls or not all(isinstance(u, str) and u.partition("://")[0] in KINDS for u in urls):
        raise TaskError(
            f"task.options.urls {urls!r}: must be URLs such as ws://127.0.0.1:8000/ws or"
            " http://127.0.0.1:8000"
        )
    arguments = [{"seed": seed} for seed in range(seeds)] if resets is None else resets
    system: Message = {"role": "system", "content": instructions}
    prompts = [
        Prompt(f"reset {number}", [system], row=each) for number, each in enumerate(arguments)
    ]
    return Task(
        prompts[held_out:],
        prompts[:held_out],
        max_turns=max_turns,
        score=environment_reward,
        environment=partial(open_episode, urls, Fields(action, observation)),
    )


def open_episode(urls: Sequence[str], fields: Fields) -> Posts | Session:
    """Begin an attempt at one of the servers."""
    url = random.choice(urls)
    return KINDS[url.partition("://")[0]](url, fields)
