"""Text of a trajectory -> text that no judge can take for ours: escaped, and marked if wanted.

Our tags lose their opening bracket, and so do the marks of chat templates, which a tokenizer would
read as the start of another's turn. To add a tag of ours, name it in `OUR_TAGS`: nothing that a
trajectory contains can open or close it then.
"""

import re

from podium_service.prompts.defences.lookalikes import BRACKET_TWINS, UNSEEN, fold

# Stands before every run of whitespace in datamarked text. Rare, and one token where it was tried.
DATAMARK = "\u00ac"

OUR_TAGS = (
    "trajectory", "message", "tool_call", "tool_result", "finish_reason", "trimmed", "task",
    "reference", "tools", "shared_messages", "actions", "claims", "rubric", "system",
)  # fmt: skip
# Possessive: a `<` before a megabyte of spaces is given up in one go.
_OUR_TAG = re.compile(rf"<(?=\s*+(?:/\s*+)?(?:{'|'.join(OUR_TAGS)}))", re.IGNORECASE)
# <|im_start|>, <s>, <<SYS>>, <start_of_turn>, [INST] and their like, which are read to the letter.
_CHAT_MARK = re.compile(
    r"<(?=[|\uff5c]|/?s>|<?/?SYS>|(?:start|end)_of_turn>|(?:bos|eos|pad|unk)>)|\[(?=/?INST\])"
)
# The same in folded text, where characters that are not seen may stand between any two.
_FOLDED_TAG = re.compile(
    rf"<(?=[\s{UNSEEN}]*+(?:/[\s{UNSEEN}]*+)?"
    rf"(?:{'|'.join(f'{UNSEEN}*+'.join(tag) for tag in OUR_TAGS)}))",
    re.IGNORECASE,
)
# Where a `<` may open a tag of ours in disguise: soon after it comes a character beyond ASCII.
_DISGUISED = re.compile(r"<(?=\s*+(?:/\s*+)?[A-Za-z_]{0,15}+[^\x00-\x7f])")
# Control characters, and the invisible "tag" characters that smuggle text past human eyes.
_HIDDEN = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f\U000E0000-\U000E007F"
_INVISIBLE = re.compile(f"[{_HIDDEN}]")
_UNUSUAL = re.compile(f"[{_HIDDEN}{BRACKET_TWINS}]")
_CONTROLS = bytes(i for i in range(128) if (i < 32 and i not in (9, 10, 13)) or i == 127)
_NO_CONTROLS = bytes.maketrans(_CONTROLS, b"?" * len(_CONTROLS))
_NOTHING_TO_DO = bytes.maketrans(_CONTROLS + b"\r<", b"?" * (len(_CONTROLS) + 2))
# What separates words, or looks as if it did.
_SPACES = re.compile(r"[\s\u2800\u3164\u115f\u1160\u200b\u2060\ufeff]+")


def clean(text: str) -> str:
    """Text that cannot be taken for ours: our tags' `<` escaped, invisible characters replaced.

    A tag is ours in whatever characters look like it: other brackets and letters count, also with
    zero-width characters in between.
    """
    instructs = "[" in text and "INST]" in text
    if text.isascii() and not instructs and _is_left_alone(text, _NOTHING_TO_DO):
        return text  # the common case
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if instructs or "<" in text:
        text = _CHAT_MARK.sub(lambda mark: "&lt;" if mark[0] == "<" else "&#91;", text)
    if text.isascii() and _is_left_alone(text, _NO_CONTROLS):  # three times as fast
        return _OUR_TAG.sub("&lt;", text)
    if _UNUSUAL.search(text):
        return _without_disguised_tags(_INVISIBLE.sub("\ufffd", text))
    if "<" not in text:
        return text
    return _without_disguised_tags(text) if _DISGUISED.search(text) else _OUR_TAG.sub("&lt;", text)


def mark_spaces(text: str) -> str:
    """Clean text with `DATAMARK` before every run of whitespace, and nowhere else.

    The whitespace itself stays, so that code and tables keep their layout.

    Source:
        "Spotlighting" by datamarking: Hines et al. 2024, arXiv:2403.14720.
    """
    return _SPACES.sub(DATAMARK + r"\g<0>", clean(text.replace(DATAMARK, "")))


def _is_left_alone(text: str, table: bytes) -> bool:
    """Whether translating an ASCII text changes nothing; twice as fast as deleting."""
    raw = text.encode("ascii")
    return raw.translate(table) == raw


def _without_disguised_tags(text: str) -> str:
    pieces, end = [], 0
    for tag in _FOLDED_TAG.finditer(fold(text)):
        pieces += [text[end : tag.start()], "&lt;"]
        end = tag.end()
    return "".join([*pieces, text[end:]])
