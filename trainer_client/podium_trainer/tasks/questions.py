"""Train on answering small questions in one short, right sentence, from a judge's opinion alone.

The prompts have no reference, so whoever rewards must know the answers. A small model answers about
a fifth of them so; most of its attempts go on and on, or are wrong. The score of held-out attempts
compares with a list of answers, which shows a person whether the judge taught anything; no reward
is made of it.
"""

import random
import re
from collections.abc import Sequence

from podium_trainer.tasks.task import Message, Prompt, Task

SYSTEM = "Answer the question in one short sentence."
KINDS = {
    "What is the capital of {}?": {
        "France": "Paris", "Italy": "Rome", "Japan": "Tokyo", "Spain": "Madrid", "Egypt": "Cairo",
        "Norway": "Oslo", "Peru": "Lima", "Greece": "Athens", "Germany": "Berlin",
        "Austria": "Vienna", "Sweden": "Stockholm", "Poland": "Warsaw", "China": "Beijing",
        "Russia": "Moscow", "Ireland": "Dublin", "Portugal": "Lisbon", "Canada": "Ottawa",
        "Kenya": "Nairobi", "Thailand": "Bangkok", "England": "London",
    },
    "What is the opposite of {}?": {
        "hot": "cold", "big": "small", "fast": "slow", "up": "down", "happy": "sad",
        "early": "late", "rich": "poor", "wet": "dry", "hard": "soft", "light": "dark",
        "old": "young", "left": "right", "day": "night", "full": "empty", "strong": "weak",
        "long": "short", "high": "low", "black": "white", "love": "hate", "near": "far",
    },
    "What is the plural of {}?": {
        "cat": "cats", "dog": "dogs", "box": "boxes", "child": "children", "mouse": "mice",
        "city": "cities", "leaf": "leaves", "bus": "buses", "book": "books", "foot": "feet",
        "tooth": "teeth", "man": "men", "woman": "women", "car": "cars", "baby": "babies",
        "knife": "knives", "tree": "trees", "wolf": "wolves", "house": "houses", "dish": "dishes",
    },
}  # fmt: skip
ANSWERS = {
    kind.format(word): answer for kind, answers in KINDS.items() for word, answer in answers.items()
}
MOST_WORDS = 10
_SENTENCE = re.compile(r"[A-Z][^.!?\n]*[.!]")


def questions(held_out: int = 12, seed: int = 0) -> Task:
    """Build the task: questions such as `What is the opposite of hot?`.

    Args:
        held_out: the number of the 60 questions that are never trained on.
        seed: decides which questions are held out.
    """
    texts = list(ANSWERS)
    random.Random(seed).shuffle(texts)
    prompts = [build_prompt(text) for text in texts]
    return Task(prompts[held_out:], prompts[:held_out], score=score_answer)


def build_prompt(text: str) -> Prompt:
    """Build the prompt of one question, whose id is the question."""
    return Prompt(text, [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}])


def score_answer(prompt: Prompt, messages: Sequence[Message]) -> float:
    """Return 1 for one whole, short sentence that holds the right answer, 0 for the rest."""
    text = str(messages[-1].get("content")).strip()
    is_short_sentence = _SENTENCE.fullmatch(text) and len(text.split()) <= MOST_WORDS
    names_answer = re.search(rf"\b{ANSWERS[prompt.id]}\b", text, re.IGNORECASE)
    return float(bool(is_short_sentence and names_answer))
