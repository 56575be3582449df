"""Serve a game by OpenEnv's own server: `python word_server.py PORT`. Three guesses at a word."""

import sys
from typing import Any, ClassVar

import uvicorn
from openenv.core.env_server import Action, Environment, Observation, State, create_fastapi_app

WORDS = ("pear", "plum")


class Guess(Action):  # type: ignore[misc]  # openenv is not there for mypy
    message: str


class Said(Observation):  # type: ignore[misc]
    text: str = ""


class Words(Environment):  # type: ignore[misc]
    SUPPORTS_CONCURRENT_SESSIONS: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.guesses, self.word = 0, ""

    def reset(self, seed: int | None = None, episode_id: str | None = None, **more: Any) -> Said:
        """Begin with the word of a seed."""
        self.guesses, self.word = 0, WORDS[(seed or 0) % len(WORDS)]
        return Said(text=f"Which fruit has {len(self.word)} letters, number {seed}?")

    def step(self, action: Guess, timeout_s: float | None = None, **more: Any) -> Said:
        """Compare a guess."""
        if action.message == "crash":
            raise RuntimeError("no such fruit")
        self.guesses += 1
        is_right = action.message == self.word
        done = is_right or self.guesses == 3
        return Said(text="Right." if is_right else "No.", done=done, reward=float(is_right))

    @property
    def state(self) -> State:
        """Return the number of guesses."""
        return State(step_count=self.guesses)


if __name__ == "__main__":
    app = create_fastapi_app(Words, Guess, Said, max_concurrent_envs=4)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
