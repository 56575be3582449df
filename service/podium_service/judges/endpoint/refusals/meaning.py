"""Tell what the words of a refusal mean, in the words of the servers that are in use.

A meaning is a pattern over `Words.text`, and codes where servers give some. To understand one more
server: add its words to a pattern here, and its body to tests/service/judges/endpoint/refusals.
"""

import re
from collections.abc import Iterator

from podium_service.judges.endpoint.refusals.words import Words


def _pattern(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE)


# A number that is no part of a name, such as a model's.
_NUMBER = re.compile(r"(?<![\w.-])\d[\d,_]*(?![\w-]|\.\d)")
_N = r"\W{0,3}(?P<number>\d[\d,_]*)(?![\w.-]*[a-z])"

_CONTEXT_CODES = frozenset(
    ("context_length_exceeded", "exceed_context_size_error", "contextwindowexceedederror",
     "model_max_prompt_tokens_exceeded", "tokens_limit_reached", "request_too_large", "1261")
)  # fmt: skip
_CONTEXT = (
    r"context[\s_]?(?:length|window|size|limit)|max[\s_](?:model|seq(?:uence)?)[\s_]len(?:gth)?"
)
_TOO_MUCH = (
    r"exceed|too (?:long|large|many|big)|longer than|larger than|greater than|more than|overflow"
    r"|less than|fewer than|must be <|at most|maximum|up to|shorten|reduce|not fit|limit\b"
)
_INPUT = r"prompt|inputs?\b|messages?\b|request\b|token count|content length"
_OVERFLOW = _pattern(
    rf"(?:{_CONTEXT}).{{0,200}}?(?:{_TOO_MUCH})",
    rf"(?:{_TOO_MUCH}).{{0,200}}?(?:{_CONTEXT})",
    rf"(?:{_CONTEXT}) (?:is|of)\b",
    r"(?:prompt|inputs?|messages?|conversation)\W{1,3}(?:\([^)]*\) )?(?:is |are )?too "
    r"(?:long|large)",
    r"too (?:long|large|many)[^.]{0,60}(?:\btokens|prompt|inputs?)\b",
    rf"(?:{_INPUT})[^.]{{0,80}}tokens?[^.]{{0,40}}(?:exceed|longer than|greater than|> \d)",
    r"(?:exceed|reduce|shorten)[^.]{0,60}(?:length of the (?:messages|prompt|input)|"
    r"(?:model|input|prompt)[\s_](?:token|length)|maximum (?:prompt|input) length|maximum number "
    r"of (?:input )?tokens|message size)",
    r"`?inputs`? (?:tokens \+|must have less than)",
    r"token count (?:is|of) \d+ .{0,40}(?:supports|exceeds)",
    r"(?:maximum|max) (?:prompt|input) (?:length|tokens)",
    r"range of input length|shorter input|\u8d85\u957f|input tokens exceed",
    r"expected maxlength|exceeded model token limit|input is longer than|input_length_error",
    r"exceed[^.]{0,40}(?:\bcontext\b|message tokens)|content length exceeded|string too long",
    r"context shift is disabled",
    r"(?:prompt|input|request body|payload|entity)[^.]{0,40}(?:too large|exceeds? .{0,30}length)",
)
# A time limit is no context, whatever Go programs call it.
_NO_OVERFLOW = _pattern(r"context deadline exceeded", r"context cancell?ed")

_CAP = _pattern(
    r"max[\s_-]?(?:completion[\s_-]?|new[\s_-]?|output[\s_-]?|gen[\s_-]?)?tokens",
    r"maximum (?:number of )?(?:output |completion )?tokens", r"(?:output|completion) tokens",
)  # fmt: skip
_CAP_VALUE = _pattern(
    r"too (?:large|high|big|many)", r"at most", r"maxim", r"less than", r"lower than", r"<=?\s*\d",
    r"> ?\d", r"exceed", r"\brange\b", r"up to", r"no more than", r"not be (?:greater|larger|more)",
    r"greater than \d", r"larger than \d", r"above", r"\blimit", r"must have stream",
    r"less or equal", r"\u8303\u56f4",
)  # fmt: skip
_CAP_OR_CONTEXT = _pattern(
    r"context[\s_](?:length|size|limit)|context window (?:limit|is|of)",
    r"`?inputs?`?[\s_](?:tokens|length)|\binputs\b|prompt|in the messages|token count",
)
_STRICT = re.compile(
    r"(?:less|lower|smaller) than\W{1,2}(\d[\d,_]*)|(\d[\d,_]*)\W{1,2}exclusive", re.IGNORECASE
)
_LEAST_CAP = 16  # a smaller number in such words is something else
_LEAST_HALF = 128

_NO_CREDIT_CODES = frozenset(
    ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "arrearage",
     "insufficient_balance", "exceeded_current_quota_error", "insufficient_credits",
     "insufficient_funds", "credit_exhausted", "credit_limit", "budget_exceeded", "1113")
)  # fmt: skip
_NO_CREDIT = _pattern(
    r"insufficient[\s_](?:account )?(?:balance|funds|credits?|quota)", r"credit balance is too low",
    r"used all (?:of )?(?:your |its )?(?:available )?credits", r"billing hard limit",
    r"(?:out of|no|not enough) credits?\b", r"payment (?:is )?required", r"requires more credits",
    r"\u4f59\u989d\u4e0d\u8db3", r"monthly (?:included credits|spending limit)",
    r"credits are (?:depleted|exhausted|used up)", r"(?:key|credit|budget) limit exceeded",
    r"budget has been exceeded", r"specified (?:api )?usage limit", r"billing to be enabled",
)  # fmt: skip

_FILTER_CODES = frozenset(
    ("content_filter", "responsibleaipolicyviolation", "content_policy_violation", "invalid_prompt",
     "data_inspection_failed", "datainspectionfailed", "moderation_error", "content_filter_error",
     "safety", "prohibited_content", "1301", "contentfilter", "sensitivecontentdetected")
)  # fmt: skip
_FILTERED = _pattern(
    r"content (?:management|filter(?:ing)?|usage|safety) polic", r"content[\s_]?filter",
    r"flagged (?:as|by|for)", r"(?:input|prompt|content)s? (?:was|were|has been) flagged",
    r"requires moderation", r"blocked by (?:moderation|safety|content|our)", r"content exists risk",
    r"inappropriate content",
    r"violat\w+ .{0,40}(?:usage|content|safety|acceptable use) (?:polic|guideline)",
    r"sensitive (?:content|information|words?)\b", r"new_sensitive", r"prohibited[_ ]content",
    r"blocked .{0,20}guardrail|guardrail .{0,20}(?:blocked|intervened)",
    r"considered high risk", r"usage guidelines", r"safety (?:filter|system|setting)",
    r"\u654f\u611f\u5185\u5bb9",
)  # fmt: skip

_REPLY_CODES = frozenset(("json_validate_failed", "output_parse_failed", "tool_use_failed"))
_REPLY = _pattern(
    r"failed to (?:generate|validate) json",
    r"model (?:generated|returned|produced) (?:an )?invalid json",
    r"(?:generated|model) output (?:is not|was not|is no) valid json",
    r"model output could not be parsed", r"failed_generation",
)  # fmt: skip

_SYSTEM = _pattern(
    r"(?:system|developer) (?:role|message|prompt|instruction|field)s?\W.{0,40}?"
    r"(?:not|n't|un|in|dis)"
    r"(?:\s?(?:support|enabl|allow|accept|valid|permit|expect|recogni[sz]|available|t support))",
    r"(?:support|allow|accept|permit|unexpected|unknown|invalid|unsupported)\w*\W.{0,40}?"
    r"(?:system|developer)\W{0,2} (?:role|message|prompt|instruction|field)",
    r"role of message with (?:even|odd) index",
    r"role\W{1,4}(?:of )?['\"`]?(?:system|developer)\b", r"['\"`](?:system|developer)['\"`] role",
    r"(?:support|allow|accept|permit|expect|unknown|invalid|unsupported)\w*\W{1,3}role\W{1,3}system",
    r"\brole\b.{0,60}(?:support|accept|allow|unexpected|invalid|unknown)\w*\W.{0,20}['\"`]system\b",
    r"roles? must alternate", r"must alternate between", r"(?:start|begin) with a user",
    r"first message (?:must|should|has to|needs)", r"only (?:the )?\W?user\W? (?:and|or|role)",
    r"input should be ['\"`]user['\"`] or ['\"`]assistant", r"without system",
)  # fmt: skip

_FORMAT = _pattern(
    r"response[\s_.-]?(?:format|schema|mime)", r"json[\s_-]?(?:object|mode|output)", r"schema",
    r"grammar", r"guided", r"guidance", r"structured[\s_-]?(?:output|decoding|generation)",
    r"outlines", r"constrain(?:ed|t)", r"\bfsm\b", r"output[\s_](?:format|config)",
    r"format enforcer", r"automaton", r"\bgbnf\b", r"logits?[\s_]processor", r"samplers?\b",
)  # fmt: skip

_SOME_PARAMETER = _pattern(
    r"(?:unknown|unrecognized|unsupported|unexpected|invalid|extra|additional)\W{1,3}(?:request )?"
    r"(?:parameter|argument|field|input|propert|key|keyword)",
    r"(?:parameter|argument|field|propert\w+|key|inputs?)\b.{0,40}(?:not (?:supported|permitted|"
    r"allowed|recogni[sz]ed)|unsupported|unknown)",
    r"requested parameters", r"extra_forbidden",
)  # fmt: skip

_WAIT_CUE = re.compile(
    r"(?:try(?:ing)? again|retry|wait|available again|resets?)[^.\d]{0,40}", re.I
)
_DURATION = re.compile(
    r"(\d{1,9}(?:\.\d{1,9})?)\s*(milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h)"
    r"(?![a-z])(?:,| and)?\s*",
    re.I,
)

_LIMITS = (
    re.compile(r"\d (?:tokens )?> (?P<number>\d[\d,_]*)"),
    re.compile(rf"limit{_N}\W+requested", re.I),
    re.compile(r"max(?:imum)?[\s_](?:allowed )?(?:context|model|input|prompt|seq(?:uence)?"
               rf"|content)?[\s_]?len(?:gth)?(?: is| of)?(?: only)?{_N}", re.I),
    re.compile(rf"context[\s_](?:length|window|size)(?: limit)?(?: is| of)?(?: only)?{_N}", re.I),
    re.compile(r"(?P<number>\d[\d,_]*)(?: tokens?)? maximum", re.I),
    re.compile(r"max(?:imum)?[\s_](?:input[\s_]|prompt[\s_]|num[\s_])?(?:tokens?|size|number of "
               rf"(?:input )?tokens(?: allowed)?)(?: is| of)?{_N}", re.I),
    re.compile(rf"(?:maximum|max) of{_N}", re.I),
    re.compile(r"(?:limit|up to|at most|less than|fewer than|exceed|supports)(?: is| of| only)?"
               rf"{_N}", re.I),
    re.compile(r"(?:<= ?|\[\d+, ?)(?P<number>\d[\d,_]*)"),
)  # fmt: skip
_LEAST_CONTEXT_TOKENS = 256


def means_overflow(words: Words) -> bool:
    """Return whether a prompt is longer than the model's context, or than one call may be."""
    if words.codes & _CONTEXT_CODES:
        return True
    if _NO_OVERFLOW.search(words.text) or means_high_cap(words):
        return False
    return bool(_OVERFLOW.search(words.text))


def read_context(words: Words) -> tuple[int | None, int | None]:
    """Return the tokens that a refusal says the context holds, and that it counts in the call."""
    limit, numbers = words.context_tokens, sorted(_list_numbers(words.text))
    for pattern in _LIMITS if limit is None else ():
        found = [_to_int(match["number"]) for match in pattern.finditer(words.text)]
        if found := [each for each in found if each >= _LEAST_CONTEXT_TOKENS]:
            limit = found[-1]
            break
    more = [each for each in numbers if limit and each > limit]
    return limit, words.prompt_tokens or (more[-1] if more else None)


def means_high_cap(words: Words, sent: int | None = None) -> bool:
    """Return whether a refusal says that the cap on the reply's tokens is too large.

    Words that do not name the cap may still name its value, which is `sent`.
    """
    text = words.text
    named = bool(_CAP.search(text) or (sent and sent in _list_numbers(text)))
    named = named and bool(_CAP_VALUE.search(text))
    return (
        named and not _CAP_OR_CONTEXT.search(text) and "context_length_exceeded" not in words.codes
    )


def read_cap(words: Words, sent: int) -> int:
    """Return the largest cap that a refusal allows; half of what was sent if it names none.

    It is what was sent if half of that would be too little for any reply.
    """
    strict = {_to_int(match[1] or match[2]) for match in _STRICT.finditer(words.text)}
    allowed = [each - 1 if each in strict else each for each in _list_numbers(words.text)]
    half = sent // 2 if sent >= 2 * _LEAST_HALF else sent
    return max((each for each in allowed if _LEAST_CAP <= each < sent), default=half)


def means_no_credit(words: Words) -> bool:
    """Return whether the account has nothing left; a limit per minute is something else."""
    return bool(words.codes & _NO_CREDIT_CODES or _NO_CREDIT.search(words.text))


def means_filtered(words: Words) -> bool:
    """Return whether a content filter stopped the prompt."""
    return bool(words.codes & _FILTER_CODES or _FILTERED.search(words.text))


def means_bad_reply(words: Words) -> bool:
    """Return whether the model's own reply was at fault, which the endpoint had to read."""
    return bool(words.codes & _REPLY_CODES or _REPLY.search(words.text))


def is_about_system(words: Words) -> bool:
    """Return whether a refusal is about a message of the role `system`."""
    return bool(_SYSTEM.search(words.text))


def is_about_format(words: Words) -> bool:
    """Return whether a refusal is about the format that the reply shall have."""
    return bool(_FORMAT.search(words.text))


def forbids_thinking(words: Words) -> bool:
    """Return whether a refusal says that the model may think in a stream only."""
    return bool(re.search(r"enable_thinking must be (?:set to )?false", words.text, re.I))


def is_about_some_parameter(words: Words) -> bool:
    """Return whether a refusal is about a parameter, which it may not name."""
    return bool(_SOME_PARAMETER.search(words.text))


def read_wait_s(words: Words) -> float | None:
    """Return for how many seconds a refusal asks to wait; None if it does not say."""
    if words.wait_s is not None:
        return words.wait_s
    for cue in _WAIT_CUE.finditer(words.text):
        seconds, at = 0.0, cue.end()
        while duration := _DURATION.match(words.text, at):
            seconds, at = seconds + float(duration[1]) * _seconds_of(duration[2]), duration.end()
        if seconds:
            return seconds
    return None


def _seconds_of(unit: str) -> float:
    if unit.lower().startswith(("ms", "milli")):
        return 0.001
    return {"s": 1.0, "m": 60.0, "h": 3600.0}[unit[0].lower()]


def _list_numbers(text: str) -> Iterator[int]:
    return (_to_int(match[0]) for match in _NUMBER.finditer(text))


def _to_int(digits: str) -> int:
    return int(digits.replace(",", "").replace("_", "")[:12] or 0)
