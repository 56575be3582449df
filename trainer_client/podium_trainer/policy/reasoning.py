"""Tell a completion's thoughts from its answer, by the marks that a model puts around thoughts.

To add a format:

1. Put its marks into FORMATS under a name, and add the name to `ModelConfig.reasoning_format`.
2. Give it a row in docs/training.md. `guess_reasoning_format` finds it by its opening mark.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReasoningFormat:
    """The marks around what a family of models thinks; they are literal text."""

    opening: str
    closing: str


FORMATS: dict[str, ReasoningFormat | None] = {
    "mistral": ReasoningFormat("[THINK]", "[/THINK]"),
    "seed": ReasoningFormat("<seed:think>", "</seed:think>"),
    "granite": ReasoningFormat("Here is my thought process:", "Here is my response:"),
    "think": ReasoningFormat("<think>", "</think>"),
    "none": None,
}


@dataclass(frozen=True)
class Turn:
    """A completion, parted into its answer and its thoughts.

    Attributes:
        answer: the text without thoughts; empty if a thought was never closed.
        thoughts: what the model thought before; empty if it did not.
    """

    answer: str
    thoughts: str = ""


def guess_reasoning_format(template: str) -> str:
    """Guess the name of the format from a chat template; `think` if nothing tells."""
    named = {name: form.opening for name, form in FORMATS.items() if form}
    return next((name for name, opening in named.items() if opening in template), "think")


def split_thoughts(text: str, form: ReasoningFormat | None, *, is_open: bool = False) -> Turn:
    """Split a completion's text into thoughts and answer.

    All up to the last closing mark is thought, as chat templates read it, whether the model wrote
    the opening mark or not. A thought that was opened and not closed leaves no answer. An opening
    mark within an answer is text.

    Args:
        text: a completion without its stop token.
        form: the marks; None makes all of it answer.
        is_open: whether the prompt ends with an opening mark.
    """
    if form is None:
        return Turn(text)
    thoughts, closing, answer = text.rpartition(form.closing)
    if closing:
        thoughts, answer, is_open = thoughts.lstrip(), answer.lstrip(), False
        thoughts = thoughts.removeprefix(form.opening).strip()
    if is_open or answer.lstrip().startswith(form.opening):
        last = answer.lstrip().removeprefix(form.opening).strip()
        return Turn("", "\n".join(filter(None, (thoughts, last))))
    return Turn(answer, thoughts)


def find_opening(tail: str, form: ReasoningFormat | None) -> str:
    """Return the opening mark, and the space after it, with which a prompt ends; else nothing."""
    if form is None or not tail.rstrip().endswith(form.opening.rstrip()):
        return ""
    return tail[tail.rindex(form.opening) :]
