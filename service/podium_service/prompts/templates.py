"""Write the messages of a call to a judge, from a transcript and an order.

A group is shown in one of two layouts. In the fenced layout each trajectory stands in tags with a
code that is random per call. In the plain layout short answers stand under headings, `Answer A:`
and so on; `plain` decides which groups can be shown so.

Messages are laid out for the endpoint's prefix cache: instructions and rubric come first and never
vary, then what all trajectories share, then other images. Ids, the code in the fences and the order
vary from call to call and come last. The words are in `wording`; `forms` reads the replies.

`read_shown` reads a prompt back for people. No text of a trajectory can be taken for its fences and
headings, which is what makes them safe to read.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase

from podium_service.prompts.message_parts.images import (
    Content,
    Part,
    ShownImage,
    list_labels,
    show_images,
    to_content,
)
from podium_service.prompts.transcript import Transcript
from podium_service.prompts.wording import Style

# No vowels, so that an id is never a word; no 0/O and 1/I/L, so that no two ids look alike.
_ID_ALPHABET, _ID_CHARS = "BCDFGHJKMNPQRSTVWXZ23456789", 5
_NO_REPLY = "(no answer)"
SHOWN_ID = re.compile(rf"\b[{_ID_ALPHABET}]{{{_ID_CHARS}}}\b")
# A random byte is a letter of the alphabet, each as likely, or one of those left out.
_LEFT_OUT = bytes(range(256 - 256 % len(_ID_ALPHABET), 256))
_TO_LETTERS = bytes(ord(_ID_ALPHABET[byte % len(_ID_ALPHABET)]) for byte in range(256))
_LETTER_FORMS = ("best", "choice")
_CONSONANTS = "BCDFGHJKMNPQRSTVWXZ"  # each is one token in common vocabularies
_FENCED = re.compile(
    r'^<(trajectory|response)-([0-9a-f]{8}) id="([A-Z0-9]+)">\n(.*?)\n</\1-\2>$',
    re.DOTALL | re.MULTILINE,
)
_FORMS_OF_ONE = ("rating", "yes_no")
# The name of the tags around a trajectory.
_FENCE_WORDS: dict[Style, str] = {"long": "trajectory", "short": "response"}


@dataclass(frozen=True, slots=True)
class Prompt:
    """The messages of one call, and which bodies they show under which ids.

    Attributes:
        form: a key of `forms.FORMS`.
        messages: role and parts of each message, texts and images. Texts in a row are one text;
            they are kept apart, because long ones recur in other calls and are stored once.
        ids: N ids, in the order shown.
        order: N indices of the bodies shown.
        canary: the id of a planted bad trajectory; None without one.
    """

    form: str
    messages: list[tuple[str, list[Part]]]
    ids: list[str]
    order: list[int]
    canary: str | None = None

    @property
    def shown_ids(self) -> list[str]:
        """The ids that a reply must name."""
        return self.ids if self.canary is None else [*self.ids, self.canary]

    @property
    def texts(self) -> list[str]:
        """The texts of all messages, without the images."""
        return [part for _, parts in self.messages for part in parts if isinstance(part, str)]

    @property
    def prefix(self) -> str:
        """The beginning that the calls about one group share."""
        texts = []
        for _, (first, *others) in self.messages[:2]:
            texts.append(str(first))  # a label, where an image follows
            texts += (each.url for each in others[:1] if isinstance(each, ShownImage))
        return "".join(texts)

    def chat(self) -> list[dict[str, Content]]:
        """Return the messages as a chat-completions endpoint takes them."""
        return [{"role": role, "content": to_content(parts)} for role, parts in self.messages]

    def with_correction(self, reply: str, correction: str) -> "Prompt":
        """Return the prompt with the judge's reply and a request to correct it appended.

        An empty reply is shown as such, because some endpoints refuse a turn without text.
        """
        said: list[Part] = [reply if reply.strip() else _NO_REPLY]
        turns = [("assistant", said), ("user", list[Part]([correction]))]
        return replace(self, messages=self.messages + turns)


def build_prompt(
    form: str,
    style: Style,
    system: str,
    transcript: Transcript,
    order: Sequence[int],
    canary: str | None = None,
) -> Prompt:
    """Show bodies to a judge and ask about them.

    Args:
        form: a key of `forms.FORMS`.
        style: long or short.
        system: the first message; empty for none.
        transcript: the texts to show, in its own layout.
        order: the indices of the bodies to show, in the order to show them.
        canary: a bad body to plant among them at random, for the form `scores`.
    """
    ids = _draw_ids(form, style, len(order) + (canary is not None))
    canary_id = None if canary is None else ids.pop()
    shown = [(shown_id, transcript.bodies[i]) for shown_id, i in zip(ids, order, strict=True)]
    if canary is not None and canary_id is not None:
        shown.insert(secrets.randbelow(len(shown) + 1), (canary_id, canary))
    user = _context_parts(transcript, [text for _, text in shown])
    user += _plain_parts(shown, form) if transcript.is_plain else _fenced_parts(shown, style)
    word = "answer" if transcript.is_plain else _FENCE_WORDS[style]
    user.append(f"\n{_question(form, word, [shown_id for shown_id, _ in shown])}")
    messages = [("system", list[Part]([system]))] if system else []
    return Prompt(form, [*messages, ("user", user)], ids, list(order), canary_id)


def read_shown(text: str, ids: Sequence[str]) -> dict[str, str]:
    """Return what a message showed under each id; ids without a text are left out.

    Args:
        text: the message that shows the trajectories.
        ids: those of the trajectories, in the order shown; a planted one may be found beside them.
    """
    fenced = {shown_id: body for _, _, shown_id, body in _FENCED.findall(text)}
    return fenced or _read_plain(text, ids)


def _read_plain(text: str, ids: Sequence[str]) -> dict[str, str]:
    """Return the answers under plain headings, the last of which precedes the question."""
    found = {}
    end = text.rfind("\n\n")
    for shown_id in reversed(ids):
        heading = f"Answer {shown_id}:\n"
        if (start := text.rfind(heading, 0, max(end, 0))) < 0 and len(ids) == 1:
            heading = "Answer:\n"
            start = text.rfind(heading, 0, max(end, 0))
        if start < 0:
            return {}
        found[shown_id] = text[start + len(heading) : end].removesuffix("\n\n")
        end = start
    return found


def _context_parts(transcript: Transcript, bodies: Sequence[str]) -> list[Part]:
    """Show the context, the images that it refers to before it, and others of the bodies after."""
    context, urls = transcript.context, [image.url for image in transcript.images]
    if not transcript.image_tokens:
        return [context, "\n\n"] if context else []
    shared = list_labels(context, len(urls))
    # By number, so that every call shows them in the same order.
    others = sorted({each for body in bodies for each in list_labels(body, len(urls))} - {*shared})
    parts = show_images(shared, urls, transcript.image_tokens)
    parts += [context, "\n\n"] if context else []
    return parts + show_images(others, urls, transcript.image_tokens)


def _fenced_parts(shown: Sequence[tuple[str, str]], style: Style) -> list[Part]:
    code, word = secrets.token_hex(4), _FENCE_WORDS[style]
    parts: list[Part] = []
    if style == "long":
        count = len(shown)
        follow = "One trajectory follows," if count == 1 else f"{count} trajectories follow, each"
        parts.append(f"{follow} fenced by tags with the code {code}.\n")
    for shown_id, body in shown:
        parts += [f'\n<{word}-{code} id="{shown_id}">\n', body, f"\n</{word}-{code}>\n"]
    return parts


def _plain_parts(shown: Sequence[tuple[str, str]], form: str) -> list[Part]:
    parts: list[Part] = []
    for shown_id, body in shown:
        heading = "Answer:" if form in _FORMS_OF_ONE else f"Answer {shown_id}:"
        parts += [f"{heading}\n", body, "\n\n"]
    parts[-1] = "\n"
    return parts


def _question(form: str, word: str, ids: Sequence[str]) -> str:
    """Return the last line of a prompt: what is asked about the bodies shown under these ids.

    It calls the bodies by the word in their fences or headings. A small judge that was shown
    trajectories and asked for the best answer did worse than chance.
    """
    letters = f"{', '.join(ids[:-1])} or {ids[-1]}"
    plural = "trajectories" if word == "trajectory" else f"{word}s"
    return {
        "scores": f"Score all {len(ids)} {plural}: {', '.join(ids)}.",
        "best": f"Which {word} is best, {letters}? Reply with one letter.",
        "choice": f"Which {word} is better, {letters}? Reply with one letter.",
        "rating": f"How good is this {word}, from 0 (worst) to 9 (best)? Reply with one digit.",
        "yes_no": f"Is this a correct and complete {word} to the task? Reply yes or no.",
    }[form]


def _draw_ids(form: str, style: Style, count: int) -> list[str]:
    """Return the ids to show trajectories under.

    Small judges tell A, B and C, in the order of slots, apart better than random letters. As the
    order is random, a trajectory still cannot know its letter.
    """
    if form not in _LETTER_FORMS:
        return random_ids(count)
    if style == "short":
        return list(ascii_uppercase[:count])
    return secrets.SystemRandom().sample(_CONSONANTS, count)


def random_ids(count: int) -> list[str]:
    """Draw `count` distinct ids that no trajectory can know."""
    num_chars = _ID_CHARS * count
    while True:
        letters = secrets.token_bytes(2 * num_chars).translate(_TO_LETTERS, _LEFT_OUT).decode()
        ids = [letters[i : i + _ID_CHARS] for i in range(0, num_chars, _ID_CHARS)]
        if len(letters) >= num_chars and len(set(ids)) == count:
            return ids
