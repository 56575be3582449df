r"""The words around a label that make it no answer after all, as patterns for each kind of label.

Each pattern of `TAKEN_BACK` is matched where a label ends, in a simplified text (see `answers`).
Judges often answer in the language of the task, so the commonest words stand here in others, too.
"""

from typing import Literal

Kind = Literal["letters", "digits", "words"]

# Beside a letter these say that it is wrong.
CROSSES = "\u2716\u2717\u2718\u274c\u274e\u26d4\U0001f44e\U0001f6ab"
_IF = r"[ \t]*+,?[ \t]*+(?:if|unless|provided|assuming|wenn|falls)\b"
_BUT = (
    r"[\s.,!;:)(-]*+(?:(?:but|however|yet|nevertheless|aber|jedoch|allerdings|mais|cependant|pero"
    r"|porém|però|но|однако)\b|但|不过|然而|しかし|ただし)"
)
_NO = (
    r"[ \t]*+,[ \t]*+(?:no|nope|not (?:really|quite|sure|exactly|necessarily))\b"
    r"(?=[ \t]*+[,.;:!\n]|\Z)"
)
_WRONG = (
    r"wrong|incorrect|bad|false|falsch\w*|faux|fausse|incorrect[aeo]|errad[ao]|sbagliat[ao]"
    r"|неверн\w*|неправильн\w*"
)
_BAD = (
    r"(?:(?:(?:the|this|that|it|which|is|was|one|answer|clearly|a|est|ist|es)\s++)*+"
    rf"(?:wors[te]|weaker|poorer|inferior|{_WRONG})"
    r"(?=[ \t]*+(?:[.,;!)]|\Z|\n|(?:one|answer|response|of|because|than)\b(?!\s+(?:is|was)\b)))"
    r"|错误|错的|不对|不正确|不好|最差|間違)"
)
# An aside, and then a verb: the letter is the subject of a sentence. `K (short) is best` is not.
_REASON = (
    r"because|since|as|for|given|due|it|so|with|by|thanks|weil|da|denn|car|parce|porque|perché"
)
_PRAISE = r"(?:is|was)\s++(?:clearly\s++)?(?:the\s++)?(?:best|better|correct|right|stronger)\b"
_ASIDE = (
    rf"(?:[ \t]*+,[ \t]*+(?!(?:{_REASON})\b)[^,.;!?\n()]{{1,60}}+,"
    r"|[ \t]*+\([^()\n]{1,60}\))[ \t]++"
    rf"(?!(?:{_REASON}|over|and|which|rather|not|than)\b|{_PRAISE})(?-i:[a-z])"
)
_PARTLY = (
    r"(?:partial(?:ly)?|partly|mostly|almost|nearly|largely|somewhat|in part|in spirit|except"
    r"|more or less|for the most part|to (?:some|a|a certain|a large) (?:extent|degree))\b"
)
# Only words of number and size may stand before the fault: a yes `with the error fixed` is one.
_WITH_FAULTS = (
    r"[\s.,;:(-]*+(?:with|apart from|aside from|other than|save for|despite|minus|mit"
    r"|(?:it|this|that) (?:has|contains)|there (?:is|are))[ \t]++"
    r"(?:(?:a|an|one|two|three|\d|some|several|few|minor|small|slight|single|major|certain"
    r"|einem|einigen|kleinen)[ \t]++)*+"
    r"(?:errors?|mistakes?|flaws?|typos?|issues?|problems?|inaccurac(?:y|ies)|omissions?|gaps?"
    r"|caveats?|exceptions?|reservations?|fehlern?|einschränkung(?:en)?)\b"
    r"(?![ \t]++(?:fixed|corrected|handling|messages?)\b)"
)
_IT = (
    r"(?:it|this|that|the (?:agent's )?(?:answer|response|solution|attempt|result|trajectory))"
    r"(?:'s|[ \t]++(?:is|was))"
)
_NOT = r"(?:n't|[ \t]++not)[ \t]++(?:(?:a|an|the|fully|entirely|completely|quite)[ \t]++)*+"
_HOW = r"(?:[ \t]++(?:very|quite|clearly|partially|partly|also|still|however))*+"
_UNTRUE = (
    rf"(?:{_IT})?+(?:{_HOW}[ \t]*+(?:incorrect|incomplete|wrong|false|partially|partly)"
    rf"|{_NOT}(?:correct|complete|right))\b(?![ \t]++\w++[ \t]++(?:would|is|are)\b)"
    r"|(?:unvollständig|incompl[eè]t\w*|不完整|不对|不正确|错误)"
)
_TRUE = (
    rf"{_IT}(?:[ \t]++(?:a|an|the|also|fully|indeed))*+[ \t]++(?:correct|complete|right)"
    r"(?: and (?:correct|complete))?(?: (?:answer|response|solution))?(?: to the task)?[\s.!)]*+\Z"
)
_CLAUSE = r"(?:[.!?;,\n(:-]|\b(?:but|and|yet|though|although)\b)[ \t]*+"
_CANNOT = (
    r"[\s.,;!-]*+(?:sorry,?[ \t]++(?:but[ \t]++)?)?i(?:'m|[ \t]++am)?[ \t]++"
    r"(?:sorry|unable|not able|cannot|can't|can not|won't|will not)\b"
)
_TO_MORE = r"[ \t]*+(?:\([^()\n]{0,20}\)[ \t]*+)?(?:to|bis|through)[ \t]++\d"
_OUT_OF = r"[\s,;:(\[-]*+(?:out of|max\w*[\s:=]*+)\s*+(?!9\b)\d"

TAKEN_BACK: dict[Kind, str] = {
    "letters": rf"{_IF}|{_BUT}|{_NO}|{_ASIDE}|[\s.,;:!(-]*+{_BAD}|[ \t.,;:!(-]*+[{CROSSES}]",
    "digits": rf"{_IF}|{_NO}|{_TO_MORE}|{_OUT_OF}|{_CANNOT}",
    # A yes or a no that its own words contradict has two readings.
    "words": rf"{_IF}|{_BUT}|{_CANNOT}|[ \t,.;(-]*+{_PARTLY}|(?<=yes){_WITH_FAULTS}"
    rf"|(?<=yes)(?s:.*?){_CLAUSE}(?:{_UNTRUE})|(?<=no)(?s:.*){_CLAUSE}{_TRUE}",
}
# A scale that ends in two digits or more, anywhere in the text.
OTHER_SCALE = r"\bscale\b[^.!?\n]{0,20}?(?<!\d)\d\d"
