"""Score an attempt against its prompt's reference: how right its last answer is.

To add a scorer:

1. Write a function from a prompt and an attempt's messages to a number in [0, 1], or to None where
   the prompt has no reference.
2. Put it into SCORERS under its name, and give it a row in docs/training.md.
"""

import re
import threading
from collections.abc import Callable, Sequence
from decimal import Decimal

from podium_trainer.tasks.task import Message, Prompt, TaskError
from podium_trainer.tasks.user_code import import_function

MATH_LIMIT_S = 5
Score = Callable[[Prompt, Sequence[Message]], float | None]

# A minus belongs to a number unless a number, a word or a bracket ends before it, as in 5-3.
NUMBER = re.compile(
    r"(?:(?<![\w).])[-\u2212])?(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"(?:[eE][-+]?\d{1,3}(?!\w))?"
)


def score_exact(prompt: Prompt, messages: Sequence[Message]) -> float | None:
    """Return 1 if the answer is the reference, 0 if not; surrounding space is ignored."""
    if prompt.reference is None:
        return None
    return float(answer_of(messages).strip() == prompt.reference.strip())


def score_number(prompt: Prompt, messages: Sequence[Message]) -> float | None:
    """Return 1 if the last number of the answer equals the last number of the reference.

    So the reference may be a whole solution, as GSM8K's are. A reference without a number has no
    score.
    """
    right = None if prompt.reference is None else last_number(prompt.reference)
    if right is None:
        return None
    return float(last_number(answer_of(messages)) == right)


def score_contains(prompt: Prompt, messages: Sequence[Message]) -> float | None:
    """Return 1 if the reference stands in the answer as whole words, in any case and spacing."""
    if prompt.reference is None or not prompt.reference.strip():
        return None
    words = r"\s+".join(map(re.escape, prompt.reference.split()))
    return float(bool(re.search(rf"(?<!\w){words}(?!\w)", answer_of(messages), re.IGNORECASE)))


def score_math(prompt: Prompt, messages: Sequence[Message]) -> float | None:
    """Return 1 if the answer equals the reference as a mathematical expression, by math-verify.

    A reference that is bare LaTeX is read as if it stood between dollar signs.
    """
    if prompt.reference is None:
        return None
    from math_verify import parse, verify

    # Its own time limit needs signals, which only the main thread may set.
    is_main = threading.current_thread() is threading.main_thread()
    limit_s = MATH_LIMIT_S if is_main else None
    right = parse(prompt.reference, parsing_timeout=limit_s)
    right = right or parse(f"${prompt.reference}$", parsing_timeout=limit_s)
    found = parse(answer_of(messages), parsing_timeout=limit_s)
    return float(bool(verify(right, found, timeout_seconds=limit_s)))


SCORERS: dict[str, Score] = {
    "exact": score_exact,
    "number": score_number,
    "contains": score_contains,
    "math_verify": score_math,
}


def find_scorer(name: str, setting: str = "task.options.scorer") -> Score:
    """Return the scorer of a name, or the function that module:function names.

    Args:
        name: a name in SCORERS, or module:function.
        setting: where the user wrote it, for errors.

    Raises:
        TaskError: If there is none.
    """
    if name in SCORERS:
        if name == "math_verify":
            check_math_verify(setting)
        return SCORERS[name]
    if not isinstance(name, str) or ":" not in name:
        raise TaskError(f"{setting} {name!r}: take one of {', '.join(SCORERS)} or module:function")
    return import_function(name, setting)


def check_math_verify(setting: str) -> None:
    """Raise TaskError if math-verify is not installed."""
    try:
        import math_verify  # noqa: F401
    except ImportError as error:
        raise TaskError(
            f"{setting} 'math_verify' needs math-verify: in the clone: pip install '.[data]'"
        ) from error


def answer_of(messages: Sequence[Message]) -> str:
    """Return the text of the last message if the assistant says it, else an empty text."""
    last = messages[-1]
    return str(last.get("content") or "") if last["role"] == "assistant" else ""


def last_number(text: str) -> Decimal | None:
    """Return the last number of a text, exactly; thousands may have commas."""
    found = NUMBER.findall(text)
    return Decimal(found[-1].replace(",", "").replace("\u2212", "-")) if found else None
