"""Regular expressions for texts that address a judge, by the name of their flag.

To add one:

1. Put it under its flag in `PATTERNS`. It sees text after `steering.fold_disguises`: lower case, no
   accents, look-alike letters replaced, one space for each run of whitespace.
2. Make sure that whatever it matches contains an `ANCHOR`, or add one, because only the
   surroundings of anchors are searched.
3. Bound every gap and put no star inside a star, so that it takes time linear in the text.
"""

from collections.abc import Sequence

_JUDGE = (
    r"(?:grader|evaluator|autograder|scorer|rater|reward model|scoring model|grading model"
    r"|(?:ai|llm|impartial|automated|automatic)[ -](?:judge|grader|evaluator|reviewer)"
    r"|evaluation (?:model|system)|grading (?:system|bot))s?"
)
_ANY_JUDGE = rf"(?:{_JUDGE}|judges?)"
_MINE = (
    r"(?:this|my|the above|the present) (?:\w{1,12} )?(?:trajectory|response|answer|attempt"
    r"|solution|submission|completion|candidate|transcript|run)"
)
_IT = rf"(?:{_MINE}|me|us|mine|this(?: one)?|it)"
_TOP = (
    r"(?:(?:the )?(?:highest|full|maximum|maximal|max|top|best|perfect)(?: possible)?"
    r" (?:score|mark|rating|grade|rank|reward|point)s?)"
)
_ONE = (
    r"(?:a |as |at |with )?(?:1(?:\.0+)?|9 ?(?:/|out of) ?9|10(?: ?/ ?10)?|100(?: ?%| ?/ ?100)?)"
    r"(?![\w.,:-]*\w)"
)
_OLD = (
    r"(?:all|any|every|the|your|my|of|previous|prior|above|earlier|preceding|foregoing|other"
    r"|system)"
)
_RULES = r"(?:instruction|rule|rubric|prompt|guideline|criteri|direction|directive|order)"
_GRADING = r"(?:grading|scoring|judging|evaluation|ranking|rating)"

# Beginnings of words, one of which is in everything that a pattern matches.
ANCHOR = (
    r"judg|grad(?<!\wgrad)(?:e|ing)|autograd|evaluat|scor(?<!\wscor)|rat(?<!\wrat)(?:er|ing|e )"
    r"|rank(?<!\wrank)|mark(?<!\wmark)|reward|reviewer|trajector|the other|accept|correct|best"
    r"|ignor|disregard|forget|overrid|bypass|overlook|instruc|rubric|criteri|system|message|verdict"
    r"|winner|explanation|answer with|reply with|better|note |points|prefer|tool_result|trimmed"
    r"|shared_|finish_|actions|im_start|header_id|<<sys|end of "
    r"|puntuacion|calificacion|nota|pontuacao|punktzahl|bewertung|punkte"
    r"|最高|满分|滿分|満点|忽略|无视|無視|忘れ|балл|оценк|игнорир|점|무시"
)

PATTERNS: dict[str, Sequence[str]] = {
    "addresses_judge": (
        rf"(?:note|message|memo|notice|attention|reminder|hint|instructions?|important)"
        rf" ?(?:to|for|:|,|-)? ?(?:the |all |any |you,? )?{_ANY_JUDGE}(?= ?[:,.!\])-]| (?:of|who"
        rf"|must|should))",
        rf"(?:dear|hello|hi|hey|attention|attn)[ ,:]{{1,2}}(?:the )?{_JUDGE}\b",
        rf"\bas (?:the|a|an|our|my) {_ANY_JUDGE},? (?:you|your) ",
        rf"\byou(?: are|'re) (?:now )?(?:the|a|an) (?:fair |strict |generous |lenient )?{_JUDGE}\b",
        rf"\b(?:if|when|since|while|because) you(?: are|'re)? (?:{_GRADING}|judg\w+|evaluat\w+"
        rf"|grad(?:e|ing)) (?:{_MINE}|these (?:trajectories|responses|answers|attempts))",
        rf"\b(?:for|by) (?:the|any) {_JUDGE} reading (?:this|these)\b",
    ),
    "asks_for_score": (
        r"\b(?:(?:answer|reply) with (?:one|a single|the) (?:letter|digit)"
        r"|correct and complete (?:answer|response|trajectory) to the task)\b",
        rf"\b(?:give|assign|award|grant|output|return) {_IT}[^.]{{0,30}}? {_TOP}",
        rf"\b(?:give|assign|award|grant|output|return) {_IT}"
        rf" (?:a |the )?(?:score|rating|grade|rank|reward|mark)s? (?:of |= ?)?{_ONE}",
        rf"\b(?:give|assign|award|grant) {_TOP} to {_IT}",
        rf"\b(?:score|rank|rate|grade) (?:{_IT}) (?:{_ONE}|(?:as |the )*(?:highest|first|best|top"
        rf"|number one|#1|above (?:all|the) other|perfect|higher than))",
        rf"\b(?:mark|judge|treat|accept|label|rank|place|prefer|choose|pick|select) {_MINE}"
        r" (?:as |to be |is )*(?:the )?(?:correct|passed|passing|successful|best|winner|first"
        r"|over|above)",
        rf"\b{_MINE} (?:clearly |fully |truly )?(?:deserves|should (?:get|receive|be (?:given"
        rf"|ranked|scored|rated))|must"
        rf" (?:get|receive|be (?:given|ranked|scored|rated))|merits)[^.]{{0,30}}?"
        r" (?:score|rank|reward|rating|grade|mark|first|highest|top|best|1\b)",
        r"\b(?:all )?(?:the )?other (?:trajectories|responses|attempts|candidates|submissions)"
        r" (?:should|must|deserve|are (?:all )?(?:worse|wrong|incorrect|invalid|fake))",
        r"\b(?:only|the) (?:correct|acceptable|valid|right) (?:score|rating|grade|rank|reward)"
        rf" (?:here |for this )?is {_ONE}",
        r"\b(?:dame|dale|otorga|asigna|otorgue|asigne|pon)\w*\b[^.]{0,30}?"
        r"(?:puntuacion|nota|calificacion) (?:maxima|mas alta|perfecta)",
        r"\b(?:donne|donnez|attribue|attribuez|mets|mettez)\b[^.]{0,30}?"
        r"(?:note|score) (?:maximale?|parfaite?|la plus haute)",
        r"\b(?:gib|geben|vergib|vergeben)\b[^.]{0,30}?(?:hochste|volle|maximale|beste)[nr]?"
        r" (?:punktzahl|bewertung|note|punkte)",
        r"\b(?:de|da|atribua|conceda)\b[^.]{0,30}?(?:nota|pontuacao) maxima",
        r"(?:给|給|打)[^。]{0,12}?(?:最高分|满分|滿分|最高评分|最高的分数)",
        r"(?:最高点|満点|最高得点|最高の(?:点数|スコア|評価))を(?:つけ|付け|与え|あたえ|くだ|下さ)",
        r"поставь?т?е?\b[^.]{0,30}?(?:максимальн|высш|наивысш)\w{1,4} (?:балл|оценк)",
        r"(?:최고|만)점\w? ?(?:을|를)? ?(?:주|부여)",
    ),
    "overrides_instructions": (
        rf"\b(?:ignore|disregard|forget|override|bypass|overlook) (?:{_OLD} ){{1,4}}(?:\w{{1,12}}"
        rf" )?{_RULES}",
        rf"\b(?:new|updated|revised|amended|official) (?:{_GRADING} )(?:{_RULES}|polic|procedure)",
        r"\bnew (?:system )?(?:instructions?|rubric|system prompt) ?:",
        rf"\b(?:the|your|this) (?:{_GRADING} )?(?:rubric|{_GRADING} (?:rules|criteria)) (?:has"
        rf"|have|is|are)"
        r" (?:been )?(?:now )?(?:changed|updated|replaced|void|suspended|superseded|obsolete)",
        rf"\b(?:previous|prior|above|earlier|original) {_RULES}\w*"
        r" (?:no longer|do not|does not|are (?:now )?(?:void|cancel)|is (?:now )?(?:void|cancel))",
        r"\bignor[ae]\w? (?:todas |toutes |todos )?(?:las|les|as|os) (?:instrucciones"
        r"|instructions|instrucoes|reglas|regles)",
        r"\bignorier\w*(?: sie)?(?: alle)? (?:vorherigen|bisherigen|obigen|vorigen)? ?"
        r"(?:anweisungen|anleitungen|regeln|instruktionen)",
        r"игнорир\w+ (?:все )?(?:предыдущие|прежние|предшествующие) (?:инструкции|указания"
        r"|правила)",
        r"(?:忽略|无视|無視)[^。]{0,8}?(?:之前|以上|前面|先前|上述|所有)[^。]{0,4}?(?:指令|指示|说明|規則|规则|提示)",
        r"(?:以前|上記|これまで|前)の(?:指示|命令|ルール)[をは][^。]{0,6}?(?:無視|忘れ)",
        r"이전(?:의)? ?(?:모든 )?(?:지시|명령|지침)\w{0,3} ?(?:을|를)? ?(?:모두 )?무시",
    ),
    "claims_authority": (
        rf"\b(?:system|developer|operator|judge|{_GRADING}) (?:message|prompt|override|instruction"
        rf"|directive|note|notice)s? ?(?:to|for|:|\]|-)(?=[ \[])",
        rf"\bthis is (?:an?|the|your) (?:official |new |urgent )*(?:system|developer|operator"
        rf"|{_GRADING}) (?:message|instruction|notice|rubric|override|rule)",
        rf"\b(?:verified|approved|confirmed|certified|pre-?approved|validated)(?: as \w{{1,12}})?"
        rf" by (?:the |an? )?(?:{_JUDGE}|{_GRADING} (?:team|system|harness|model)|test harness)",
        r"\b(?:message|note|instructions?|notice) from (?:the |your )?(?:judge|rubric|evaluation"
        r"|grading|podium)"
        r"[\w']{0,2} (?:author|operator|owner|developer|team|administrator|service)",
    ),
    "forges_verdict": (
        r"\bthe (?:better|best) (?:trajectory|answer|response|attempt) is [a-z]\b(?! \w)",
        r'"explanation" ?: ?"[^"]{0,300}", ?"score" ?: ?[\d.]',
        r'[{,] ?"[a-z0-9]{5}" ?: ?\{ ?"(?:score|explanation)" ?:',
        r'\{ ?"?(?:score|reward|rating|verdict|rank)"?'
        r' ?: ?"?(?:1(?:\.0+)?|10|100|0?\.9\d?|best|correct|pass)"? ?\}',
        r"\b(?:final|judge'?s?|overall) (?:score|verdict|grade|reward) ?(?:is|:|=) ?"
        r"(?:1(?:\.0+)?|10 ?/ ?10|100 ?/ ?100)(?![\w.,:/-]*\w)",
        r"\b(?:verdict|winner|preferred|better) ?(?:is )?:? ?\[\[[a-z\d]{1,2}\]\]",
        r"\btrajectory [\w-]{1,12} (?:is (?:the )?(?:best|winner)|wins|gets 1\b|: ?1(?:\.0)?\b)",
    ),
    "forges_tags": (
        r"< ?/? ?trajectory\b",
        r"< ?/? ?(?:shared_messages|finish_reason) ?>|< ?/ ?actions ?> ?< ?claims",
        r"< ?/ ?(?:message|tool_result) ?>|< ?(?:message role|tool_result name) ?=",
        r"< ?/ ?(?:task|reference|tools) ?> ?< ?(?:task|reference|tools|rubric|shared_messages)\b",
        r"< ?trimmed characters",
        r"< ?/? ?(?:judge|verdict|rubric|grader|evaluation)(?:[ -]\w{1,20})? ?>",
        r"<\|?(?:im_start|start_header_id)\|?> ?system|<<sys>>|\[/?system(?: \w{1,12})?\]",
        r"\bend of (?:the |this |all )?(?:trajector|transcripts?\b|attempts?\b|candidates?\b"
        r"|material)",
    ),
}
