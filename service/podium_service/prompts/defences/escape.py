"""Escape a trajectory's text, so that a judge cannot take it for ours.

Our tags lose their opening bracket, and so do the marks of chat templates, which a tokenizer would
read as the start of another turn. To add a tag of ours, name it in `OUR_TAGS`; then nothing in a
trajectory can open or close it.
"""

import re

from podium_service.prompts.defences.lookalikes import BRACKET_TWINS, UNSEEN, fold

# Stands before every run of whitespace in datamarked text. It is rare in texts and is one token in
# the vocabularies that were tried.
DATAMARK = "\u00ac"

OUR_TAGS = (
    "trajectory", "response", "message", "tool_call", "tool_result", "finish_reason", "trimmed",
    "task", "reference", "tools", "shared_messages", "actions", "claims", "rubric", "system",
    "thoughts",
)  # fmt: skip
# Possessive (`*+`), so that a `<` before a megabyte of spaces takes linear time.
_OUR_TAG = re.compile(rf"<(?=\s*+(?:/\s*+)?(?:{'|'.join(OUR_TAGS)}))", re.IGNORECASE)
# <|im_start|>, <s>, <<SYS>>, <start_of_turn>, [INST] and similar marks. Disguised ones are not
# among them, because a tokenizer reads them to the letter.
_CHAT_MARK = re.compile(
    r"<(?=[|\uff5c]|/?s>|<?/?SYS>|(?:start|end)_of_turn>|(?:bos|eos|pad|unk)>)|\[(?=/?INST\])"
)
# Our tags in folded text, where invisible characters may stand between any two letters.
_FOLDED_TAG = re.compile(
    rf"<(?=[\s{UNSEEN}]*+(?:/[\s{UNSEEN}]*+)?"
    rf"(?:{'|'.join(f'{UNSEEN}*+'.join(tag) for tag in OUR_TAGS)}))",
    re.IGNORECASE,
)
# The rest of a tag or mark, for people to see.
_TAG_END = re.compile(r"[^<>\[\]\n]{0,80}[>\]]?")
# A `<` that may open a disguised tag, because a character beyond ASCII comes soon after it.
_DISGUISED = re.compile(r"<(?=\s*+(?:/\s*+)?[A-Za-z_]{0,15}+[^\x00-\x7f])")
# A label of an image of ours, such as `[image 2]`, in folded text; with other brackets, too.
_LABEL = re.compile(
    rf"[\[\u3010\u3014\u27e6\u2772\u2045](?=[\s{UNSEEN}]*+{f'{UNSEEN}*+'.join('image')})",
    re.IGNORECASE,
)
# Control characters, and the invisible "tag" characters that hide text from people.
_HIDDEN = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f\U000E0000-\U000E007F"
_INVISIBLE = re.compile(f"[{_HIDDEN}]")
_UNUSUAL = re.compile(f"[{_HIDDEN}{BRACKET_TWINS}]")
_CONTROLS = bytes(i for i in range(128) if (i < 32 and i not in (9, 10, 13)) or i == 127)
_NO_CONTROLS = bytes.maketrans(_CONTROLS, b"?" * len(_CONTROLS))
_NO_CONTROLS_OR_TAGS = bytes.maketrans(_CONTROLS + b"\r<", b"?" * (len(_CONTROLS) + 2))
# Characters that separate words or look as if they did.
_SPACES = re.compile(r"[\s\u2800\u3164\u115f\u1160\u200b\u2060\ufeff]+")


def clean(text: str) -> str:
    """Escape the `<` of our tags and the marks of chat templates; replace invisible characters.

    A tag is also escaped if it only looks like ours, with other brackets and letters or with
    zero-width characters in between.
    """
    has_inst = "[" in text and "INST]" in text
    if text.isascii() and not has_inst and _is_unchanged(text, _NO_CONTROLS_OR_TAGS):
        return text  # most texts leave here, because they hold nothing to escape
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if has_inst or "<" in text:
        text = _CHAT_MARK.sub(lambda mark: "&lt;" if mark[0] == "<" else "&#91;", text)
    if text.isascii() and _is_unchanged(text, _NO_CONTROLS):  # three times as fast as the rest
        return _OUR_TAG.sub("&lt;", text)
    if _UNUSUAL.search(text):
        return _escape(_INVISIBLE.sub("\ufffd", text), _FOLDED_TAG, "&lt;")
    if "<" not in text:
        return text
    if _DISGUISED.search(text):
        return _escape(text, _FOLDED_TAG, "&lt;")
    return _OUR_TAG.sub("&lt;", text)


def find_escaped(text: str) -> list[tuple[int, int]]:
    """Return where the tags and marks that `clean` escapes begin and end, in order.

    Only for texts without `\\r`, which `clean` replaces.
    """
    starts = {
        found.start()
        for pattern, searched in ((_CHAT_MARK, text), (_FOLDED_TAG, fold(text)))
        for found in pattern.finditer(searched)
    }
    ends = (_TAG_END.match(text, start + 1) for start in sorted(starts))
    return [(each.start() - 1, each.end()) for each in ends if each]


def escape_labels(text: str) -> str:
    """Escape the bracket of whatever looks like a label of an image, such as `[image 2]`."""
    if text.isascii() and "[" not in text:
        return text
    return _escape(text, _LABEL, "&#91;")


def mark_spaces(text: str) -> str:
    """Clean text and put `DATAMARK` before every run of whitespace, and nowhere else.

    The whitespace itself stays, so that code and tables keep their layout.

    Source:
        "Spotlighting" by datamarking: Hines et al. 2024, arXiv:2403.14720.
    """
    return _SPACES.sub(DATAMARK + r"\g<0>", clean(text.replace(DATAMARK, "")))


def _is_unchanged(text: str, table: bytes) -> bool:
    """Tell whether a translation leaves an ASCII text as it is; twice as fast as a deletion."""
    raw = text.encode("ascii")
    return raw.translate(table) == raw


def _escape(text: str, opening: re.Pattern[str], escaped: str) -> str:
    """Replace what a pattern finds in the folded text."""
    pieces, end = [], 0
    for found in opening.finditer(fold(text)):
        pieces += [text[end : found.start()], escaped]
        end = found.end()
    return "".join([*pieces, text[end:]])
