"""A policy, a tokenizer and an environment of the Tinker cookbook that need no network."""

from collections import deque
from typing import Any

import tinker
from tinker_cookbook.completers import TokenCompleter, TokensWithLogprobs
from tinker_cookbook.renderers.role_colon import RoleColonRenderer
from tinker_cookbook.rl.problem_env import ProblemEnv
from tinker_cookbook.rl.types import Env, EnvGroupBuilder, StepResult


class Characters:
    """A tokenizer whose tokens are code points; 0 begins a text and 1 ends it."""

    bos_token, bos_token_id, eos_token, eos_token_id = "\0", 0, "\1", 1

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return [ord(each) for each in text]

    def decode(self, tokens: list[int] | int, **_: Any) -> str:
        return "".join(map(chr, [tokens] if isinstance(tokens, int) else tokens))


class Colons(RoleColonRenderer):  # type: ignore[misc]
    """The cookbook's renderer over characters; it pickles without a model's name."""

    def __init__(self) -> None:
        super().__init__(Characters())

    def __reduce__(self) -> Any:
        return Colons, ()


class Says(TokenCompleter):  # type: ignore[misc]
    """A policy that says these answers in turn."""

    def __init__(self, *answers: str) -> None:
        self.answers = deque(answers)

    async def __call__(self, model_input: Any, stop: Any, **_: Any) -> TokensWithLogprobs:
        tokens = Characters().encode(self.answers.popleft() + "\n\nUser:")
        return TokensWithLogprobs(tokens, [0.0] * len(tokens))


class Sum(ProblemEnv):  # type: ignore[misc]
    def get_question(self) -> str:
        return "2 + 2 ="

    def check_answer(self, sample_str: str) -> bool:
        return False

    def check_format(self, sample_str: str) -> bool:
        return True

    def get_reference_answer(self) -> str:
        return "4"


class TwoTurns(Env):  # type: ignore[misc]
    """An environment that answers once before the last turn."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.turns = 0

    async def initial_observation(self) -> Any:
        self.seen = Characters().encode("Think of a number.")
        return tinker.ModelInput.from_ints(self.seen), ["\n\nUser:"]

    async def step(self, action: list[int], *, extra: Any = None) -> StepResult:
        self.turns += 1
        self.seen = [*self.seen, *action, *Characters().encode(" Double it.")]
        following = tinker.ModelInput.from_ints(self.seen)
        return StepResult(0.0, self.turns == 2, following, ["\n\nUser:"])


class Group(EnvGroupBuilder):  # type: ignore[misc]
    """Two environments of a kind."""

    def __init__(self, kind: str = "sum") -> None:
        self.kind = kind

    async def make_envs(self) -> list[Any]:
        return [Sum(Colons()) if self.kind == "sum" else TwoTurns() for _ in range(2)]

    def logging_tags(self) -> list[str]:
        return ["sums"]
