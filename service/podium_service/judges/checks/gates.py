"""Criteria that are meant as gates before an LLM judge: a trajectory without an attempt fails.

No judge sees a trajectory that fails a gate, and its reward is 0. So these criteria let an empty
phrase pass rather than take an answer for one. To add an opener, add its words to `_OPENER`, in
lower case and without punctuation at the ends.
"""

from typing import Annotated, Literal

import regex

from podium_service.judges.checks.base import NAME, Criterion, normalise
from podium_service.schemas import Trajectory

# All but spaces, controls, zero-width and filler characters, and the blank braille cell.
_VISIBLE = regex.compile(r"[^\p{Z}\p{Cc}\p{Cs}\p{Default_Ignorable_Code_Point}\u2800\ufff9-\ufffb]")
_UNSEEN = regex.compile(r"[\p{Default_Ignorable_Code_Point}\ufff9-\ufffb]+")
_TAGS = regex.compile(r"</?(?:think|thinking|thought|reasoning|scratchpad|answer|solution)>")
_ORNAMENT = regex.compile(r"[*_#`\p{Emoji_Presentation}]+")
_PUNCTUATION = ".,:;!?…。、，：；！？"
_SENTENCE = regex.compile(r"[^.!?:…。\n]++[.!?:…。\s]*+")
_MAX_SENTENCE_CHARS = 200

# These count only before an opener, because by themselves they can be answers.
_FILLER = regex.compile(
    r"(?:(?:(?:great|good) question|sure thing|sure|certainly|of course|absolutely|definitely"
    r"|okay|ok|alright|all right"
    r"|great|got it|no problem|well|so|hmm+|first|now|then"
    r"|(?:hi|hello)(?: there)?|thank you|thanks)(?!\w)[,;.! -]*+)++"
)
_PROBLEM = (
    r"(?: (?:through |about |at |on |with |into )?(?:this|the|your|that|it|these)"
    r"(?: (?:math|given|following|word))?(?: (?:problem|question|task|request|issue|exercise)s?)?)?"
)
_MANNER = (
    r"(?:,? (?:step[ -]by[ -]step|carefully|together|now|first|out|down|for you|in detail"
    r"|logically|systematically|one step at a time))*+"
)
_HOW = rf"(?: you)?{_PROBLEM}{_MANNER}"
_THINK = rf"(?:think|solve|answer|break|analy[sz]e|reason|help|assist){_HOW}"
_START = (
    rf"(?:start|begin|get started|dive|work|figure|approach|tackle|take a look|look|check){_HOW}"
)
_NOUN = (
    r"(?:(?:final|detailed|complete|correct|step[ -]by[ -]step) )?"
    r"(?:answer|solution|response|reasoning|explanation|breakdown|thought process)"
    r"(?: (?:to|for) (?:this|the|your) (?:problem|question|task|request))?"
)
_OPENER = regex.compile(
    "|".join(
        (
            rf"(?:let me|let us|let's|lets)(?: now| first)? (?:{_THINK}|{_START})",
            rf"(?:i will|i'll|i'm going to|we will|we'll|i need to|we need to|i can) {_THINK}",
            rf"to (?:solve|answer){_PROBLEM}",
            rf"to (?:solve|answer){_PROBLEM},? (?:let's|let us|we need to|i will|i'll) {_THINK}",
            r"(?:(?:i would|i'd) be |i am |i'm )?(?:happy|glad|delighted) to (?:help|assist)"
            r"(?: you)?(?: out)?(?: with (?:this|that|it|your (?:problem|question|task|request)))?",
            rf"(?:here is|here's|below is|this is) (?:the|my|a|your) {_NOUN}",
            rf"(?:the|my) {_NOUN} is(?: as follows)?",
            r"let(?: me|'s) see|(?:one|just a) moment,? please",
            r"thought process|thinking process|chain of thought|solution",
            r"解|かいせつ|respuesta",
            r"(?:让我们|我们|让我)来?(?:一步一步|逐步)地?(?:思考|解决|分析)(?:这个|该)?(?:问题)?",
            r"(?:ステップバイステップで|一歩ずつ)考え(?:ましょう|てみましょう)",
            r"(?:pensemos|(?:vamos a )?resolv(?:er|amos) este problema|vamos a pensar) paso a paso",
            r"(?:réfléchissons|résolvons ce problème) étape par étape",
            r"lass(?:en sie)? uns (?:das problem )?schritt für schritt (?:denken|lösen|nachdenken)",
            r"vamos (?:pensar|resolver este problema) passo a passo",
            r"давайте (?:подумаем|решим(?: эту задачу)?) (?:шаг за шагом|пошагово)",
            r"단계별로 (?:생각해|풀어) ?(?:봅시다|보겠습니다)",
        )
    )
)
# These are openers only with a colon, because without it each can be an answer.
_HEADING = regex.compile(
    r"(?:final )?answer|reasoning|explanation|analysis|response|thinking|thoughts?|step (?:1|one)"
    r"|output|result|solución|réponse|lösung|antwort|resposta|ответ|решение|答案|解答|回答|解説"
    r"|思考过程|解题过程|풀이|답"
)


class NotEmpty(Criterion):
    """The agent wrote visible text, made an image or called a tool."""

    check: Annotated[Literal["not_empty"], NAME]

    def holds(self, trajectory: Trajectory, reference: str | None) -> bool:
        return any(
            message.role == "assistant"
            and (message.tool_calls or message.images or _VISIBLE.search(message.text))
            for message in trajectory.messages
        )


class NotOpenerOnly(Criterion):
    """The agent's texts are more than the opening of an answer, such as "Thought process:".

    Source:
        The "master keys" of Zhao et al. 2025, arXiv:2507.08794.
    """

    check: Annotated[Literal["not_opener_only"], NAME]

    def holds(self, trajectory: Trajectory, reference: str | None) -> bool:
        turns = [message for message in trajectory.messages if message.role == "assistant"]
        if any(message.tool_calls or message.images for message in turns):
            return True
        texts = [message.text for message in turns if _VISIBLE.search(message.text)]
        if reference is not None and texts and normalise(texts[-1]) == normalise(reference):
            return True
        return not texts or not all(is_opener(text) for text in texts)


class NotTruncated(Criterion):
    """The trajectory was not cut off at a token limit (`finish_reason` is not "length")."""

    check: Annotated[Literal["not_truncated"], NAME]

    def holds(self, trajectory: Trajectory, reference: str | None) -> bool:
        return trajectory.finish_reason != "length"


def is_opener(text: str) -> bool:
    """Tell whether the text only announces an answer or is nothing but punctuation.

    A single word or number is an answer, except the four words of the paper (Solution, Respuesta,
    解, かいせつ). Anything that follows an opener is an answer, too.
    """
    text = _UNSEEN.sub("", text).strip()
    if not text:
        return False
    if not text.strip(_PUNCTUATION + " \n"):
        return True
    text = _TAGS.sub("\n", text.lower().replace("’", "'"))
    ends_in_opener = not _VISIBLE.search(text)  # so far true only of a text of nothing but tags
    for sentence in _SENTENCE.findall(_ORNAMENT.sub(" ", text).replace("：", ":")):
        if len(sentence) > _MAX_SENTENCE_CHARS:
            return False
        words = " ".join(sentence.split())
        filler = _FILLER.match(words)
        rest = words[filler.end() :] if filler else words
        bare = rest.strip(_PUNCTUATION + " -–—")
        is_heading = rest.endswith(":") and _HEADING.fullmatch(bare)
        if bare and not is_heading and not _OPENER.fullmatch(bare):
            return False
        ends_in_opener = bool(bare)
    return ends_in_opener
