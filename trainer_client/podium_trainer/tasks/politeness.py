"""Train on answering customers: one polite, complete sentence. Only a judge can reward it.

There is no right answer to compare with. The score of held-out attempts is a rough check by a
pattern, which shows a person whether the judge taught anything; no reward is made of it.
"""

import random
import re
from collections.abc import Sequence

from podium_trainer.tasks.task import Message, Prompt, Task

SYSTEM = "Reply to the customer of our shop in one short, polite sentence."
GOODS = (
    "cup", "lamp", "shirt", "kettle", "chair", "book",
    "clock", "coat", "bag", "phone", "rug", "mirror",
)  # fmt: skip
COMPLAINTS = (
    "The {} is broken.",
    "My {} is late.",
    "You sent the wrong {}.",
    "Where is my {}?",
    "I want to return the {}.",
)
MOST_WORDS = 15
_SENTENCE = re.compile(r"[A-Z][^.!?\n]*[.!?]")
_POLITE = re.compile(
    r"\b(?:sorry|apologi[sz]e|apologies|please|thanks?|thank you|welcome|glad|happy|pleasure"
    r"|certainly|of course|sure|appreciate)\b",
    re.IGNORECASE,
)
_SPEAKS_TO_CUSTOMER = re.compile(r"\b(?:we|we'll|we're|i|i'm|i'll|you|your|our)\b", re.IGNORECASE)


def politeness(held_out: int = 12, seed: int = 0) -> Task:
    """Build the task: messages such as `My lamp is late.`, to be answered politely.

    Args:
        held_out: the number of the 60 messages that are never trained on.
        seed: decides which messages are held out.
    """
    texts = [complaint.format(item) for item in GOODS for complaint in COMPLAINTS]
    random.Random(seed).shuffle(texts)
    prompts = [build_prompt(text) for text in texts]
    return Task(prompts[held_out:], prompts[:held_out], score=score_politeness)


def build_prompt(text: str) -> Prompt:
    """Build the prompt of one message, whose id is the message."""
    return Prompt(text, [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}])


def score_politeness(prompt: Prompt, messages: Sequence[Message]) -> float:
    """Return 1 for one whole, short sentence to the customer with a polite word, 0 for the rest."""
    text = str(messages[-1].get("content")).strip()
    is_short_sentence = _SENTENCE.fullmatch(text) and len(text.split()) <= MOST_WORDS
    is_polite = _POLITE.search(text) and _SPEAKS_TO_CUSTOMER.search(text)
    return float(bool(is_short_sentence and is_polite))
