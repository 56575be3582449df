"""The phrases of the servers that are in use, by what they mean, as patterns and codes.

To understand one more server: add its words to a pattern here, or its code to a set, and its body
to tests/service/judges/endpoint/refusals.
"""

import re


def _pattern(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE)


# A number that is no part of a name, such as a model's.
NUMBER = re.compile(r"(?<![\w.-])\d[\d,_]*(?![\w-]|\.\d)")
_N = r"\W{0,3}(?P<number>\d[\d,_]*)(?![\w.-]*[a-z])"

CONTEXT_CODES = frozenset(
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
OVERFLOW = _pattern(
    rf"(?:{_CONTEXT}).{{0,200}}?(?:{_TOO_MUCH})",
    rf"(?:{_TOO_MUCH}).{{0,200}}?(?:{_CONTEXT})",
    rf"(?:{_CONTEXT}) (?:is|of)\b",
    r"(?:prompt|inputs?|messages?|conversation)\W{1,3}(?:\([^)]*\) )?(?:is |are )?too "
    r"(?:long|large|big)",
    r"too (?:long|large|many)[^.]{0,60}(?:\btokens|prompt|inputs?)\b",
    rf"(?:{_INPUT})[^.]{{0,80}}tokens?[^.]{{0,40}}"
    r"(?:exceed|(?:long|great|larg)er than|more than|> \d)",
    r"(?:prompt|input)[^.]{0,80}> ?max",
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
    r"(?:input|prompt)\w* length.{0,120}?(?:exceed|(?:greater|longer|larger) than)",
    r"max(?:imum)? length exceeded|\btoken limit exceeded|max tokens of \d+ exceeded",
    # What the prompt has left for the reply.
    r"max[\s_]?(?:completion_|new_|output_)?tokens must be .{0,40}\b(?:got|given|not):? "
    r"(?:-\d|0\b)",
    r"(?:prompt|input|request body|payload|entity)[^.]{0,40}(?:too large|exceeds? .{0,30}length)",
    r"(?:payload|request|body|message) size exceeds",
)
# A time limit is no context, whatever Go programs call it.
NO_OVERFLOW = _pattern(r"context deadline exceeded", r"context cancell?ed")

CAP = _pattern(
    r"max[\s_-]?(?:completion[\s_-]?|new[\s_-]?|output[\s_-]?|gen[\s_-]?)?tokens",
    r"maximum (?:number of )?(?:output |completion )?tokens", r"(?:output|completion) tokens",
)  # fmt: skip
CAP_VALUE = _pattern(
    r"too (?:large|high|big|many)", r"at most", r"maxim", r"less than", r"lower than", r"<=?\s*\d",
    r"> ?\d", r"exceed", r"\brange\b", r"up to", r"no more than", r"not be (?:greater|larger|more)",
    r"greater than \d", r"larger than \d", r"above", r"\blimit", r"must have stream",
    r"less or equal", r"\u8303\u56f4",
)  # fmt: skip
CAP_OR_CONTEXT = _pattern(
    r"context[\s_](?:length|size|limit)|context window (?:limit|is|of)",
    r"`?inputs?`?[\s_](?:tokens|length)|\binputs\b|prompt|in the messages|token count",
    r"max tokens of \d+ exceeded",
)
STRICT = re.compile(
    r"(?:less|lower|smaller) than\W{1,2}(\d[\d,_]*)|(\d[\d,_]*)\W{1,2}exclusive", re.IGNORECASE
)
LEAST_CAP = 16  # a smaller number in such words is something else
LEAST_HALF = 128

NO_CREDIT_CODES = frozenset(
    ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "arrearage",
     "insufficient_balance", "exceeded_current_quota_error", "insufficient_credits",
     "insufficient_funds", "credit_exhausted", "credit_limit", "budget_exceeded", "1113",
     "accountoverdueerror", "token_quota_reached", "allocationquota.freetieronly")
)  # fmt: skip
NO_CREDIT = _pattern(
    r"insufficient[\s_](?:account )?(?:balance|funds|credits?|quota)", r"credit balance is too low",
    r"used all (?:of )?(?:your |its )?(?:available )?credits", r"billing hard limit",
    r"(?:out of|no|not enough) (?:credits?|balance)\b(?! (?:was|were) )",
    r"payment (?:is )?required",
    r"requires more credits",
    r"\u4f59\u989d\u4e0d\u8db3", r"monthly (?:included credits|spending limit)",
    r"credits are (?:depleted|exhausted|used up)", r"(?:key|credit|budget) limit exceeded",
    r"budget has been exceeded", r"specified (?:api )?usage limit", r"billing to be enabled",
    r"balance is (?:insufficient|too low|not enough)", r"used up (?:your|the) .{0,40}allocation",
    r"\b(?:payment|account|bill\w*)\W.{0,30}\boverdue",
    r"\boverdue\W.{0,30}\b(?:payment|account|bill)",
    r"(?:n't|not|no longer) have any credits", r"free tier .{0,40}exhausted",
    r"reached (?:its|your|the) (?:\w+ )?spend(?:ing)? limit", r"limit exceeded for the virtual key",
)  # fmt: skip

FILTER_CODES = frozenset(
    ("content_filter", "responsibleaipolicyviolation", "content_policy_violation", "invalid_prompt",
     "data_inspection_failed", "datainspectionfailed", "moderation_error", "content_filter_error",
     "safety", "prohibited_content", "1301", "contentfilter", "sensitivecontentdetected")
)  # fmt: skip
FILTERED = _pattern(
    r"content (?:management|filter(?:ing)?|usage|safety) polic", r"content[\s_]?filter",
    r"flagged (?:as|by|for)", r"(?:input|prompt|content)s? (?:was|were|has been) flagged",
    r"requires moderation", r"content exists risk",
    r"blocked (?:by (?:moderation|safety|content|our)|output|input)",
    r"inappropriate content",
    r"violat\w+ .{0,40}(?:usage|content|safety|acceptable use) (?:polic|guideline)",
    r"sensitive (?:content|information|words?)\b", r"new_sensitive", r"prohibited[_ ]content",
    r"(?:blocked|violated) .{0,20}guardrail|guardrail .{0,40}(?:blocked|intervened|failed)",
    r"considered high risk", r"usage guidelines", r"safety (?:filter|system|setting)",
    r"\u654f\u611f\u5185\u5bb9",
)  # fmt: skip

REPLY_CODES = frozenset(("json_validate_failed", "output_parse_failed", "tool_use_failed"))
REPLY = _pattern(
    r"failed to (?:generate|validate) json",
    r"model (?:generated|returned|produced) (?:an )?invalid json",
    r"(?:generated|model) output (?:is not|was not|is no) valid json",
    r"model output could not be parsed", r"failed_generation",
)  # fmt: skip

# The call is at fault, whatever else the words seem to say.
CALL_CODES = CONTEXT_CODES | FILTER_CODES | REPLY_CODES

SYSTEM = _pattern(
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
    r"input should be ['\"`]user['\"`](?:,| or) ['\"`]assistant", r"without system",
    r"only user[^.]{0,60}roles? (?:are|is)", r"['\"`](?:system|developer)\W.{0,120}\]\.role\b",
)  # fmt: skip

FORMAT = _pattern(
    r"response[\s_.-]?(?:format|schema|mime)", r"json[\s_-]?(?:object|mode|output)", r"schema",
    r"grammar", r"guided", r"guidance", r"structured[\s_-]?(?:output|decoding|generation)",
    r"outlines", r"constrain(?:ed|t)", r"\bfsm\b", r"output[\s_](?:format|config)",
    r"format enforcer", r"automaton", r"\bgbnf\b", r"logits?[\s_]processor", r"samplers?\b",
    r"field \w+\.format\b",
)  # fmt: skip

STREAM = _pattern(
    r"only supports? (?:the )?stream", r"non-?stream\w*\b.{0,40}(?:not supported|unsupported)",
    r"stream\W{0,3}(?:must be|has to be|should be|=)\W{0,3}(?:set to )?\W?true",
    r"streaming is required|requires streaming",
)  # fmt: skip

SOME_PARAMETER = _pattern(
    r"(?:unknown|unrecognized|unsupported|unexpected|invalid|extra|additional)\W{1,3}(?:request )?"
    r"(?:parameter|argument|field|input|propert|key|keyword)",
    r"(?:parameter|argument|field|propert\w+|key|inputs?)\b.{0,40}(?:not (?:supported|permitted|"
    r"allowed|recogni[sz]ed)|unsupported|unknown)",
    r"requested parameters", r"extra_forbidden",
)  # fmt: skip

# Nothing but that the call was refused.
VAGUE = re.compile(
    r"(?:\W|\d|_|bad|request|gateway|invalid|unprocessable|entity|content|validation|failed|failure"
    r"|error|exception|https?|status|code|client|provider|upstream|returned|from|the|an|your|is|was"
    r"|type|none|null|detail|message|unknown)*",
    re.IGNORECASE,
)
# The older name of the cap on a reply is missing.
CAP_REQUIRED = _pattern(
    r"max_tokens\W.{0,40}(?:required|missing)", r"(?:required|missing)\b.{0,40}\bmax_tokens\b"
)

THROTTLED_CODES = frozenset(
    ("throttlingexception", "throttling", "too_many_requests", "toomanyrequests",
     "rate_limit_exceeded", "ratelimitexceeded", "userratelimitexceeded", "rate_limit_error")
)  # fmt: skip
# A server begins with these words; behind any others a text of the attempt may be quoted.
_OPENING = (
    r"^(?:(?:\w*error|\w*exception|litellm|sorry|request|is|are|has|have|been|was|aborted|the|your|you"
    r"|we|this|that|api|model|engine|service|sent|made|currently|temporarily)\W{1,3})*"
)
THROTTLED = _pattern(
    rf"{_OPENING}(?:too many requests|request rate is too|rate limit (?:is |was )?"
    r"(?:reached|exceeded|hit)|token limit exceeded\W{1,2}TPM)",
)  # fmt: skip
BUSY = _pattern(
    rf"{_OPENING}(?:queue is full|server is (?:busy|overloaded)|(?:over|at) capacity|"
    r"capacity exceeded|(?:model|engine) is (?:currently )?(?:overloaded|loading)"
    r"|(?:model )?(?:crashed|unloaded)|channel error|endpoint is currently scaling"
    r"|function id \S{1,60} degraded)",
)  # fmt: skip

WAIT_CUE = re.compile(r"(?:try(?:ing)? again|retry|wait|available again|resets?)[^.\d]{0,40}", re.I)
DURATION = re.compile(
    r"(\d{1,9}(?:\.\d{1,9})?)\s*(milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h)"
    r"(?![a-z])(?:,| and)?\s*",
    re.I,
)

LIMITS = (
    re.compile(rf"(?:cannot|can't|must not|may not) exceed{_N}", re.I),
    re.compile(r"\d\)? (?:tokens )?> (?:[a-z_]+\W?)?(?P<number>\d[\d,_]*)"),
    re.compile(rf"limit{_N}\W+requested", re.I),
    re.compile(r"max(?:imum)?[\s_](?:allowed )?(?:context|model|input|prompt|seq(?:uence)?"
               rf"|content)?[\s_]?len(?:gth)?(?: is| of)?(?: only)?{_N}", re.I),
    re.compile(rf"context[\s_](?:length|window|size)(?: limit)?(?: is| of)?(?: only)?{_N}", re.I),
    re.compile(r"(?P<number>\d[\d,_]*)(?: tokens?)? maximum", re.I),
    re.compile(r"max(?:imum)?[\s_](?:input[\s_]|prompt[\s_]|num[\s_])?(?:tokens?|size|number of "
               rf"(?:input )?tokens(?: allowed)?)(?: is| of)?{_N}", re.I),
    re.compile(rf"(?:maximum|max) of{_N}", re.I),
    re.compile(r"\bn_ctx\w*\W{1,3}(?P<number>\d+)"),
    re.compile(rf"(?:no more than|\bmax){_N}", re.I),
    re.compile(rf"limit for [^.\d]{{0,40}} is{_N}", re.I),
    re.compile(r"(?:limit|up to|at most|less than|fewer than|exceed|supports)(?: is| of| only)?"
               rf"{_N}", re.I),
    re.compile(r"(?:<= ?|\[\d+, ?)(?P<number>\d[\d,_]*)"),
)  # fmt: skip
LEAST_CONTEXT_TOKENS = 256
