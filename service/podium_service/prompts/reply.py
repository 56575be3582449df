"""Turn a chat completion into a `Reply`, its answer apart from its thoughts.

Thoughts come in a field of their own, as parts of the content, or in the text between tags. A
template may have opened the first tag itself, so what stands before a closing tag is thought, and
what follows a tag that is never closed is, too.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

import orjson

Place = Literal["anywhere", "alone", "end"]

_MAX_TOKENS = 1_000_000_000  # more than any context holds, so a larger count is an error
# What servers call the reasons, in lower case, that have another name in OpenAI's API.
_FINISH_REASONS = {
    **dict.fromkeys(
        ("max_tokens", "max_output_tokens", "max_completion_tokens", "max_length", "max_len",
         "token_limit", "incomplete", "model_length", "model_context_window_exceeded"),
        "length",
    ),
    **dict.fromkeys(
        ("end_turn", "end", "eos", "eos_token", "eos_found", "stop_sequence", "stop_token",
         "stop_string", "matched_stop", "endoftext", "complete", "completed", "finish", "finished",
         "done", "success", "succeeded", "normal"),
        "stop",
    ),
}  # fmt: skip
# How names of filters begin, such as `content_filter: SAFETY`.
_FILTER_REASONS = (
    "content_filter", "safety", "sensitive", "refusal", "guardrail", "recitation", "blocklist",
    "prohibited_content", "spii", "moderation",
)  # fmt: skip
# With any other reason a reply may have ended anywhere.
_WHOLE_REASONS = ("stop", "tool_calls", "tool_use", "function_call", "", "none", "null")
# The provider failed midway.
_BROKEN_REASONS = (
    "error", "failed", "abort", "aborted", "cancel", "cancelled", "canceled", "interrupted",
    "timeout", "time_limit", "network_error", "insufficient_system_resource",
)  # fmt: skip
_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking")
_CACHED_COUNTS = ("cache_read_input_tokens", "cache_creation_input_tokens")
# A group holds something only in a tag that ends thoughts: its slash, or all of it.
THOUGHT_TAG = re.compile(
    r"<\s?(/)?\s?(?:think(?:ing)?(?:_process)?|thoughts?|reasoning|reflect(?:ion)?|analysis"
    r"|scratch_?pad|plan(?:ning)?|draft|internal|inner_\w{1,20}|seed:think)\s?(?:\s[^<>]{1,80})?>"
    r"|\[(/)?THINK\]|\u25c1(/)?think\u25b7|<\|(/)?think(?:ing)?\|>"
    r"|<\|(?:(?:begin|start)_of_thought|start_thinking|inner_prefix"
    r"|channel\|>(?:analysis|commentary)<\|message)\|>"
    r"|(<\|(?:end_of_thought|end_thinking|inner_suffix"
    r"|channel\|>final\s?(?:<\|constrain\|>\w{1,20})?<\|message)\|>)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a call, as the endpoint counts them; `cached` is a part of `prompt`."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """The parts of a chat completion that are used.

    Attributes:
        text: the message; of a message in parts, those of type `text`.
        finish_reason: the endpoint's reason, by its name in OpenAI's API where it has one there.
        refusal: the model's words if it refuses to answer.
        model: the name of the model that answered.
        logprobs: one object per token of the reply, unchecked; None if the endpoint gives none.
        thoughts: what the endpoint gives as reasoning, apart from the message.
        prompt_tokens_at_most: the most that the endpoint may have read of the prompt: its largest
            count, whatever part of it came from a cache; 0 if it does not count.
    """

    text: str
    finish_reason: str | None
    refusal: str | None
    tokens: Tokens
    model: str
    logprobs: list[Any] | None = None
    thoughts: str = ""
    prompt_tokens_at_most: int = 0

    @property
    def is_cut_off(self) -> bool:
        """Whether the reply ended at a limit on its tokens."""
        return self.finish_reason == "length"

    @property
    def is_empty(self) -> bool:
        """Whether the model wrote nothing, not even thoughts."""
        return not self.text.strip() and not self.thoughts.strip()

    @property
    def answer(self) -> tuple[str, Place]:
        """The text that may hold the answer, thoughts between tags included, and its place there.

        A reply that was cut off, or that ended for a reason unknown here, may be all thoughts, so
        it counts only where it is the answer `alone`. The field of thoughts counts only if the
        model ended its reply there and wrote nothing else; then the answer must be the `end` of it.
        """
        if not self.text.strip() and self.finish_reason == "stop":
            return self.thoughts, "end"
        is_whole = str(self.finish_reason).lower() in _WHOLE_REASONS
        return self.text, "anywhere" if is_whole else "alone"


def skip_thoughts(text: str) -> tuple[int, int]:
    """Return where the answer begins and ends in a text with thoughts between tags."""
    begin, end = 0, len(text)
    for tag in THOUGHT_TAG.finditer(text):
        if closes_thoughts(tag):
            begin, end = tag.end(), len(text)
        else:
            end = min(end, tag.start())
    return begin, end


def closes_thoughts(tag: re.Match[str]) -> bool:
    """Return whether a `THOUGHT_TAG` ends thoughts, or else begins them."""
    return any(tag.groups())


def read_completion(body: Any) -> Reply:
    """Read a chat completion.

    Raises:
        ValueError | KeyError | IndexError | TypeError | AttributeError: If it is none, or if the
            provider failed while it was written.
    """
    choice = body["choices"][0]
    message = choice.get("message") or choice.get("delta") or {"content": choice["text"]}
    finish_reason = _name_reason(choice.get("finish_reason"))
    if finish_reason in _BROKEN_REASONS or has_error(body) or has_error(choice):
        raise ValueError(f"it broke off; finish_reason is {finish_reason}")
    parts = _list_parts(message.get("content"))
    thoughts = [message.get(field) for field in _THOUGHT_FIELDS]
    tokens, prompt_tokens_at_most = _count_tokens(_as_dict(body.get("usage")))
    return Reply(
        text=_join_texts(parts) or _read_arguments(message),
        finish_reason=finish_reason,
        refusal=str(message["refusal"]) if message.get("refusal") else None,
        tokens=tokens,
        model=str(body.get("model") or ""),
        logprobs=list_tokens(choice.get("logprobs")),
        thoughts=next(filter(None, (_join_texts(_list_parts(each)) for each in thoughts)), ""),
        prompt_tokens_at_most=prompt_tokens_at_most,
    )


def list_tokens(logprobs: Any) -> list[Any] | None:
    """Return one object per token, unchecked, or None without any.

    Chat completions list them as `content`: `[{"token", "logprob", "top_logprobs": [...]}, ...]`.
    Completions, and some servers' chats, have parallel lists: `tokens`, `token_logprobs`, and
    `top_logprobs` with `{token: logprob, ...}`; these are returned in the form of chats.
    """
    listed = _as_dict(logprobs)
    if isinstance(content := listed.get("content"), list):
        return content
    tokens, own, tops = map(listed.get, ("tokens", "token_logprobs", "top_logprobs"))
    if not isinstance(tokens, list) or not isinstance(own, list) or len(tokens) != len(own):
        return None
    likeliest = tops[: len(tokens)] if isinstance(tops, list) else []
    return [
        {"token": token, "logprob": logprob, "top_logprobs": _list_tops(top)}
        for token, logprob, top in zip_longest(tokens, own, likeliest)
    ]


def _list_tops(top: Any) -> list[dict[str, Any]]:
    return [{"token": token, "logprob": logprob} for token, logprob in _as_dict(top).items()]


def has_error(value: dict[str, Any]) -> bool:
    """Return whether a body or a choice tells of an error, and not only has a place for one."""
    error = value.get("error")
    return bool(error.get("message") if isinstance(error, dict) else error)


def _name_reason(value: Any) -> str | None:
    """Return the name of a reason in OpenAI's API, else the server's own in lower case."""
    reason = value.get("type") if isinstance(value, dict) else value  # as older SGLang has it
    if reason is None:
        return None
    name = str(reason).rpartition(".")[2].strip().lower()  # without that of an enumeration
    return "content_filter" if name.startswith(_FILTER_REASONS) else _FINISH_REASONS.get(name, name)


def _read_arguments(message: dict[str, Any]) -> str:
    """Return the arguments of the only tool call of a message.

    No tools are offered. But gateways have some models call one whose arguments are the JSON that
    was asked for.
    """
    calls = message.get("tool_calls")
    calls = calls if isinstance(calls, list) else [{"function": message.get("function_call")}]
    function = _as_dict(_as_dict(calls[0]).get("function")) if len(calls) == 1 else {}
    arguments = function.get("arguments")
    return orjson.dumps(arguments).decode() if isinstance(arguments, dict) else str(arguments or "")


def _list_parts(content: Any) -> list[Any]:
    """Return a content or a field of thoughts as a list of parts."""
    if isinstance(content, list):
        return content
    if isinstance(content, dict) and not content.keys() & {"type", "text"}:
        return [orjson.dumps(content).decode()]  # the JSON that was asked for, parsed on the way
    return [content] if isinstance(content, str | dict) else []


def _join_texts(parts: Iterable[Any]) -> str:
    """Join the strings and the parts of type `text`; others, such as thoughts, are left out."""
    texts = (part.get("text") if _is_text(part) else part for part in parts)
    return "".join(text for text in texts if isinstance(text, str))


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type", "text") in ("text", "output_text")


def _count_tokens(usage: dict[str, Any]) -> tuple[Tokens, int]:
    """Return the tokens of a call, and the most that the endpoint may have read of the prompt."""
    prompt, completion = map(as_count, map(usage.get, ("prompt_tokens", "completion_tokens")))
    details = _as_dict(usage.get("prompt_tokens_details"))
    cached = as_count(details.get("cached_tokens"))
    # Some endpoints count only what their cache did not hold as the prompt.
    beside = cached + sum(as_count(usage.get(name)) for name in _CACHED_COUNTS)
    at_most = max(prompt + beside, as_count(usage.get("total_tokens")) - completion)
    return Tokens(prompt, min(prompt, cached), completion), at_most if prompt else 0


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_count(value: Any) -> int:
    """Return a server's number of tokens; 0 if it is missing, null or no number of tokens."""
    if isinstance(value, int | float) and 0 < value <= _MAX_TOKENS:
        return int(value)
    return 0
