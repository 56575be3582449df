"""Take a stored prompt apart again: its context, and its bodies by the ids they were shown under.

The inverse of `templates.build_prompt` for the prompts of any style and layout.
"""

import re
from dataclasses import dataclass

_FENCED = re.compile(
    r'\n<(?P<fence>(?:trajectory|response)-\w+) id="(?P<id>\w+)">\n(?P<body>.*?)\n</(?P=fence)>\n',
    re.DOTALL,
)
_INTRODUCTION = re.compile(r"(?:\A|\n)(?:One|\d+) trajector(?:y follows|ies follow), .*\Z")
_FIRST_HEADING = re.compile(r"(?:\A|\n\n)(?=Answer(?: A)?:\n)")
_HEADING = re.compile(r"(?:\A|\n\n)Answer(?: (?P<id>[A-Z]))?:\n")
_SECTION = re.compile(r"(?:\A|\n\n)(Task|Instructions|Question|Reference answer):\n")


@dataclass(frozen=True, slots=True)
class ShownPrompt:
    """The texts of one prompt.

    Attributes:
        context: what all trajectories share.
        bodies: the trajectories, by the id in a fence or the letter in a heading; a single answer
            under a plain heading has the id "".
        is_plain: whether the bodies stand under plain headings.
    """

    context: str
    bodies: dict[str, str]
    is_plain: bool = False


def read_prompt(text: str) -> ShownPrompt | None:
    """Return the parts of a prompt's last message; None if it shows nothing that can be read."""
    first = _FENCED.search(text)
    if first:
        bodies = {match["id"]: match["body"] for match in _FENCED.finditer(text)}
        head = text[: first.start()].rstrip("\n")
        return ShownPrompt(_INTRODUCTION.sub("", head).rstrip("\n"), bodies)
    # No answer holds a heading with a letter, so the last `Answer A:` begins the answers.
    starts = [match.end() for match in _FIRST_HEADING.finditer(text)]
    if not starts:
        return None
    start = starts[-1] if text.startswith("Answer A:", starts[-1]) else starts[0]
    answers = text[start:].rpartition("\n\n")[0]  # the last line is the question
    headings = list(_HEADING.finditer(answers))
    ends = [heading.start() for heading in headings[1:]] + [len(answers)]
    bodies = {
        heading["id"] or "": answers[heading.end() : end]
        for heading, end in zip(headings, ends, strict=True)
    }
    return ShownPrompt(text[:start].removesuffix("\n\n"), bodies, is_plain=True)


def read_plain_context(context: str) -> dict[str, str]:
    """Return the sections of a plain context by their headings; a repeated heading is text."""
    pieces = _SECTION.split(context)
    sections: dict[str, str] = {}
    for heading, text in zip(pieces[1::2], pieces[2::2], strict=True):
        sections.setdefault(heading, text)
    return sections
