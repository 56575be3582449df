"""Build the body of a judge call from what its endpoint accepts, and learn from its refusals.

Newer and older servers accept different things, so each of these is tried from left to right:

    response_format   json_schema -> json_object -> nothing but the prompt
    name of the cap   max_completion_tokens -> max_tokens
    size of the cap   as asked -> as the refusal says, or half
    logprobs          20 alternatives a token -> 5 -> none
    system message    apart -> at the beginning of the user's
    thinking          as the model does -> `enable_thinking: false` (Qwen's hosts, outside streams)
    streaming         no -> yes, for servers that do nothing else

Any other configured parameter that a refusal names is dropped. The process remembers what it learns
for as long as it lives, so its first call is the probe. Only what one call has met with, and the
words do not explain, holds for that call alone (see `Lowered`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from podium_service.judges.endpoint.refusals import meaning
from podium_service.judges.endpoint.refusals.words import Words
from podium_service.judges.settings import LLMJudge
from podium_service.prompts.forms import FORMS, TOP_LOGPROBS
from podium_service.prompts.templates import Prompt

# By the judge's API.
_FORMATS = {
    "openai": ("json_schema", "json_object", "text"),
    "anthropic": ("text",),
    "gemini": ("json_schema", "json_object", "text"),
}
_NUM_LOGPROBS = {
    "openai": (TOP_LOGPROBS, 5, 0),
    "anthropic": (0,),
    "gemini": (TOP_LOGPROBS, 5, 0),
}
_CAP_NAMES = ("max_completion_tokens", "max_tokens")
# What some servers call a parameter that they refuse.
_OTHER_NAMES = {"reasoning_effort": ("thinking", "think_value", "reasoning")}
# So many calls must have failed with a format and succeeded without it until none has it any more.
_LEAST_PROOF = 2


@dataclass(slots=True)
class Lowered:
    """The parameters that one call leaves out beyond those its endpoint is known to refuse.

    Attributes:
        num_formats: how many of the response formats still to try are left out.
    """

    num_formats: int = 0


class Parameters:
    """The parameters that a judge's endpoints accept, as far as is known.

    Attributes:
        max_reply_tokens: the largest cap that they accept; None while it is unknown.
    """

    def __init__(self, config: LLMJudge) -> None:
        fixed = config.response_format
        # The values still to try, of which the first is sent.
        self._formats: Sequence[str] = _FORMATS[config.api] if fixed == "auto" else (fixed,)
        self._format_works = False  # whether any call with the first one was answered
        self._num_proofs = 0  # how many calls failed with it and were answered without
        self._top_logprobs: Sequence[int] = _NUM_LOGPROBS[config.api]
        self._token_parameter = "max_completion_tokens"
        self._is_cap_guessed = False  # whether its older name was taken without being asked for
        self._merges_system = False
        self.max_reply_tokens: int | None = None
        self._optional = config.model_dump(
            include={"temperature", "seed", "reasoning_effort"}, exclude_none=True
        )
        self._extra_body = dict(config.extra_body)
        self._streams = False
        self._model = config.model
        self._explanations = config.explanations

    def build(
        self, prompt: Prompt, max_tokens: int, lowered: Lowered | None = None
    ) -> dict[str, Any]:
        """Return the body of a chat-completions call."""
        messages = prompt.chat()
        parameters: dict[str, Any] = {
            "model": self._model,
            "messages": merge_system(messages) if self._merges_system else messages,
            self._token_parameter: min(max_tokens, self.max_reply_tokens or max_tokens),
            **self._optional,
            **self._extra_body,
        }
        form = FORMS[prompt.form]
        if not form.schema and self._top_logprobs[0]:
            parameters |= {"logprobs": True, "top_logprobs": self._top_logprobs[0]}
        number = min(lowered.num_formats if lowered else 0, len(self._formats) - 1)
        response_format = self._formats[number]
        if form.schema and response_format == "json_object":
            parameters["response_format"] = {"type": "json_object"}
        elif form.schema and response_format == "json_schema":
            # Not strict, because hosted endpoints compile a strict schema anew for each call's ids.
            # Guided decoding enforces it all the same, and verdicts are validated anyway.
            schema = form.schema(prompt.shown_ids, self._explanations)
            parameters["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "verdict", "strict": False, "schema": schema},
            }
        return parameters

    def learn(
        self, parameters: dict[str, Any], words: Words, *, is_sure: bool = True
    ) -> str | None:
        """Give up what a refused call had and the refusal names.

        Args:
            parameters: what was sent.
            words: the server's.
            is_sure: whether the call is at fault, by the status; else a format that has worked
                is kept.

        Returns:
            What it was; None if the refusal names nothing. The caller must compare what it would
            send now with what was refused, because what `extra_body` sets under a name of the
            table above is returned and not changed.
        """
        lower = words.text.lower()
        return (
            self._lower_cap(parameters, words)
            or self._rename_cap(parameters, words)
            or self._stop_thinking(words)
            or self._stream(parameters, words)
            or self._drop_named(lower)
            or self._give_up_logprobs(parameters, words)
            or self._merge_system(parameters, words)
            or ((is_sure or not self._format_works) and self._give_up_format(parameters, words))
            or self._give_up_any(parameters, words)
            or None
        )

    def may_lower(
        self, parameters: dict[str, Any], lowered: Lowered, words: Words | None = None
    ) -> bool:
        """Leave one more format out of a call that failed for no reason that is understood.

        Once any call with the first format was answered, the format is not the reason. After the
        formats, words that say nothing may mean the name of the cap.
        """
        number = lowered.num_formats
        may = not self._format_works and number + 1 < len(self._formats)
        if may and "response_format" in parameters:
            lowered.num_formats += 1
            return True
        if words and meaning.is_vague(words) and self._guess_old_cap(parameters):
            lowered.num_formats = 0
            return True
        return False

    def note_answer(self, parameters: dict[str, Any], lowered: Lowered) -> None:
        """Learn from an answered call whether the first format still to try is accepted."""
        if not lowered.num_formats:
            self._format_works |= "response_format" in parameters
        elif not self._format_works:
            self._num_proofs += 1
            if self._num_proofs >= _LEAST_PROOF and len(self._formats) > lowered.num_formats:
                self._step_down(lowered.num_formats)

    def _lower_cap(self, parameters: dict[str, Any], words: Words) -> str | None:
        name = next((name for name in _CAP_NAMES if name in parameters), None)
        if name is None or name in self._extra_body:
            return None
        sent = parameters[name]
        if not meaning.means_high_cap(words, sent):
            return None
        if self.max_reply_tokens is None or self.max_reply_tokens >= sent:
            self.max_reply_tokens = meaning.read_cap(words, sent)
        return f"{name} {sent}" if self.max_reply_tokens < sent else None

    def _rename_cap(self, parameters: dict[str, Any], words: Words) -> str | None:
        newer, lower = "max_completion_tokens", words.text.lower()
        if self._is_cap_guessed and newer in lower and self._token_parameter in parameters:
            self._token_parameter = newer
            return "max_tokens"
        is_refused = newer in lower or meaning.wants_old_cap(words)
        return self._take_old_cap(parameters) if is_refused else None

    def _take_old_cap(self, parameters: dict[str, Any]) -> str | None:
        if self._token_parameter not in parameters or self._token_parameter == "max_tokens":
            return None
        self._token_parameter = "max_tokens"
        return "max_completion_tokens"

    def _stop_thinking(self, words: Words) -> str | None:
        """Say that the model shall not think, where it may only do so in a stream."""
        if not meaning.forbids_thinking(words) or self._extra_body.get("enable_thinking") is False:
            return None
        self._extra_body["enable_thinking"] = False
        return "thinking"

    def _stream(self, parameters: dict[str, Any], words: Words) -> str | None:
        if "stream" in parameters or not meaning.demands_stream(words):
            return None
        if not self._streams:  # or a concurrent call has learnt it
            self._streams = True
            self._extra_body |= {"stream": True, "stream_options": {"include_usage": True}}
        return "an answer in one piece"

    def _drop_named(self, lower: str) -> str | None:
        sent = [*self._optional, *self._extra_body]
        own = [name for name in sent if _is_named(name, lower)]
        # What a refusal names may stand in extra_body under that name, which comes first.
        named = own or [
            name
            for name in sent
            if any(_is_named(other, lower) for other in _OTHER_NAMES.get(name, ()))
        ]
        for name in named[:1]:
            self._optional.pop(name, None)
            self._extra_body.pop(name, None)
            return name
        return None

    def _give_up_logprobs(self, parameters: dict[str, Any], words: Words) -> str | None:
        if "top_logprobs" not in parameters or not meaning.is_about_logprobs(words):
            return None
        sent = parameters["top_logprobs"]
        # The first one differs if the refusal of a concurrent call has been learnt from.
        if self._top_logprobs[0] and self._top_logprobs[0] == sent:
            self._top_logprobs = self._top_logprobs[1:]
        return f"top_logprobs {sent}"

    def _merge_system(self, parameters: dict[str, Any], words: Words) -> str | None:
        roles = [message["role"] for message in parameters["messages"]]
        # The mark of the prompt cache stands on the system message, so it goes with it.
        is_refused = meaning.is_about_system(words) or meaning.is_about_cache(words)
        if "system" in roles and is_refused:
            self._merges_system = True
            return "the system message"
        return None

    def _give_up_format(self, parameters: dict[str, Any], words: Words) -> str | None:
        response_format = parameters.get("response_format")
        sent = response_format.get("type") if isinstance(response_format, dict) else None
        if not sent or not meaning.is_about_format(words):
            return None
        if self._formats[0] == sent:  # differs if a concurrent call has given it up
            if len(self._formats) == 1:  # the judge's settings ask for this format
                return None
            self._step_down(1)
        return f"response_format {sent}"

    def _give_up_any(self, parameters: dict[str, Any], words: Words) -> str | None:
        """Give up what an older server does not know, for a refusal that names no parameter."""
        if meaning.is_about_format(words) or not meaning.is_about_some_parameter(words):
            return None
        return self._guess_old_cap(parameters)

    def _guess_old_cap(self, parameters: dict[str, Any]) -> str | None:
        if self._is_cap_guessed:  # once, because it may be put right once
            return None
        self._is_cap_guessed = True
        return self._take_old_cap(parameters)

    def _step_down(self, number: int) -> None:
        self._formats = self._formats[number:]
        self._format_works, self._num_proofs = False, 0


def _is_named(name: str, lower: str) -> bool:
    spelled = re.escape(name.lower()).replace("_", r"[\s_.-]?")
    return bool(re.search(rf"(?<![a-z0-9_]){spelled}(?![a-z0-9_])", lower))


def merge_system(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages whose first one of the user begins with what the system's say."""
    system = [each["content"] for each in messages if each["role"] == "system"]
    others = [dict(each) for each in messages if each["role"] != "system"]
    if system and others:
        shown = others[0]["content"]
        if isinstance(shown, list):  # because it has images
            others[0]["content"] = [{"type": "text", "text": "\n\n".join([*system, ""])}, *shown]
        else:
            others[0]["content"] = "\n\n".join([*system, shown])
    return others
