"""Replace characters by the plain Latin ones that they look like, one for one.

Fullwidth and mathematical letters, Cyrillic and Greek look-alikes, other brackets and slashes
become the ASCII character that a reader takes them for; invisible characters become `UNSEEN`.
Positions in the text do not change. To add a look-alike, put it beside its ASCII character in
`_TWINS`.
"""

import unicodedata

UNSEEN = "\u200b"

_TWINS = {
    "<": "\uff1c\ufe64\u2039\u27e8\u2329\u3008\u02c2\u1438\u276c\u276e\u2770",
    ">": "\uff1e\ufe65\u203a\u27e9\u232a\u3009\u02c3\u1433\u276d\u276f\u2771",
    "/": "\uff0f\u2044\u2215\u29f8\u2571",
    "_": "\uff3f\u203f\u02cd",
    "a": "а\u03b1ɑ", "b": "ь", "c": "с\u03f2", "d": "ԁ", "e": "е\u0435ҽ", "f": "ƒ", "g": "ɡ\u0581",
    "h": "һ", "i": "і\u03b9ı", "j": "ј\u03f3", "k": "к\u03ba\u212a", "l": "ӏ", "m": "м", "n": "п",
    "o": "о\u03bf\u0585", "p": "р\u03c1", "q": "ԛ", "r": "г", "s": "ѕ\u017f", "t": "т\u03c4",
    "u": "\u03c5ц", "v": "\u03bdѵ", "w": "ԝ\u03c9", "x": "х\u03c7", "y": "у\u03b3", "z": "\u0290",
    "A": "А\u0391", "B": "В\u0392", "C": "С\u03f9", "E": "Е\u0395", "G": "Ԍ", "H": "Н\u0397",
    "I": "І\u0399Ӏ", "J": "Ј", "K": "К\u039a", "M": "М\u039c", "N": "\u039d", "O": "О\u039f",
    "P": "Р\u03a1", "S": "Ѕ", "T": "Т\u03a4", "X": "Х\u03a7", "Y": "У\u03a5", "Z": "\u0396",
}  # fmt: skip
# Ranges in which Unicode itself (NFKC) gives the ASCII character: fullwidth, circled and
# mathematical forms.
_FORMS = [
    (0x1D400, 0x1D800), (0x24B6, 0x24EA), (0xFF01, 0xFF5F), (0x2100, 0x2150), (0x1F130, 0x1F14A),
]  # fmt: skip
# Unicode's default ignorables, controls, combining accents, and the replacement character.
_UNSEEN = [
    (0x00, 0x09), (0x0B, 0x0D), (0x0E, 0x20), (0x7F, 0x85), (0x86, 0xA0), (0xAD, 0xAE),
    (0x300, 0x370), (0x61C, 0x61D), (0x115F, 0x1161), (0x17B4, 0x17B6), (0x180B, 0x1810),
    (0x200B, 0x2010), (0x202A, 0x202F), (0x2060, 0x2070), (0x3164, 0x3165), (0xFE00, 0xFE10),
    (0xFEFF, 0xFF00), (0xFFA0, 0xFFA1), (0xFFF9, 0xFFFE), (0x1D173, 0x1D17B), (0xE000, 0xE001),
    (0xE0000, 0xE1000),
]  # fmt: skip


_TABLE = {
    code: plain
    for start, stop in _FORMS
    for code in range(start, stop)
    if len(plain := unicodedata.normalize("NFKC", chr(code))) == 1 and plain.isascii()
}
_TABLE |= {ord(twin): plain for plain, twins in _TWINS.items() for twin in twins}
_TABLE |= {code: UNSEEN for start, stop in _UNSEEN for code in range(start, stop)}
BRACKET_TWINS = _TWINS["<"]


def fold(text: str) -> str:
    """Return the text that `text` looks like, of the same length and in the same case.

    >>> fold("＜ｔаsk>")
    '<task>'
    """
    return text.translate(_TABLE)
