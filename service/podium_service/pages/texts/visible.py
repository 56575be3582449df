"""Show text of clients and judges as it is: characters that hide or reorder text become visible."""

import re
import unicodedata

from markupsafe import Markup, escape

# Controls but tab and line feed, marks of direction, invisible characters, the letters of tags, and
# lone surrogates, which no UTF-8 can carry.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b\u200c\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_JOINER = re.compile("(?<![\u2600-\u27bf\ufe0f\U0001f000-\U0001faff])\u200d")  # not in an emoji


def make_visible(text: str) -> str:
    """Return a text in which each hidden character is replaced by its code, as `[U+202E]`."""
    return _JOINER.sub(_name, _HIDDEN.sub(_name, unify_lines(text)))


def mark_hidden(text: str) -> Markup:
    """Return HTML of a text in which each hidden character is marked and named."""
    parts: list[str] = []
    end = 0
    text = unify_lines(text)
    for match in sorted((*_HIDDEN.finditer(text), *_JOINER.finditer(text)), key=_start):
        parts += [escape(text[end : match.start()]), _mark(match[0])]
        end = match.end()
    return Markup("").join([*parts, escape(text[end:])])


def unify_lines(text: str) -> str:
    """Return a text whose lines end as those of pages do."""
    return text.replace("\r\n", "\n")


def _start(match: re.Match[str]) -> int:
    return match.start()


def _name(match: re.Match[str]) -> str:
    return f"[U+{ord(match[0]):04X}]"


def _mark(character: str) -> Markup:
    code = f"U+{ord(character):04X}"
    name = unicodedata.name(character, "control character")
    return Markup('<mark class="hidden" title="{}">{}</mark>').format(name, code)
