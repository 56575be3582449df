"""Train on a text game of several turns: guess a number from hints of higher and lower."""

import random
import re
from functools import partial

from podium_trainer.tasks.task import Message, Prompt, Step, Task, environment_reward

RULES = (
    "I think of a number from 1 to {most}. You have {turns} guesses. Answer with a number alone."
)


class GuessGame:
    """One game; it ends with the right guess or with the last one.

    A game is worth 1 if the first guess is right, 1 / turns if the last one is, and 0 if none is.

    Args:
        turns: the number of guesses.
    """

    def __init__(self, turns: int) -> None:
        self.turns = turns
        self.guesses = 0
        self.secret = 0

    def reset(self, prompt: Prompt) -> None:
        """Think of the prompt's number; the rules stand in the prompt."""
        self.secret = prompt.row["secret"]

    def step(self, completion: Message) -> Step:
        """Take a guess and give a hint."""
        self.guesses += 1
        words = re.findall(r"\d+", str(completion["content"]))
        guess = int(words[0][:6]) if len(words) == 1 else None
        if guess == self.secret:
            reward = (self.turns - self.guesses + 1) / self.turns
            return Step(f"Right, it is {self.secret}.", True, reward)
        if self.guesses == self.turns:
            return Step(f"No guess is left. It is {self.secret}.", True, 0.0)
        if guess is None:
            return Step("Answer with one number alone.", False)
        return Step("Higher." if guess < self.secret else "Lower.", False)

    def close(self) -> None:
        """Free nothing."""


def guess(
    most: int = 10, turns: int = 4, games: int = 40, held_out: int = 10, seed: int = 0
) -> Task:
    """Build the task: guess a number within a few turns.

    Args:
        most: the largest number.
        turns: the number of guesses.
        games: the number of games, each of which has a number that the seed decides.
        held_out: how many of them are never trained on.
        seed: decides the numbers.
    """
    draw = random.Random(seed)
    prompts = [build_prompt(n, draw.randint(1, most), most, turns) for n in range(games)]
    return Task(
        prompts[held_out:],
        prompts[:held_out],
        max_turns=turns,
        score=environment_reward,
        environment=partial(GuessGame, turns),
    )


def build_prompt(number: int, secret: int, most: int, turns: int) -> Prompt:
    """Build the prompt of one game; the reference, which the judge sees, is the right guess."""
    messages: list[Message] = [
        {"role": "user", "content": RULES.format(most=9, turns=3)},
        {"role": "assistant", "content": "5"},
        {"role": "user", "content": "Lower."},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": f"Right, it is 2. {RULES.format(most=most, turns=turns)}"},
    ]
    return Prompt(f"game {number}", messages, reference=str(secret), row={"secret": secret})
