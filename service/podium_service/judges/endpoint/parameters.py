"""Build the body of a judge call from what its endpoint accepts, and learn from its refusals.

Newer and older servers accept different parameters, so each of these is tried from left to right:

    response_format   json_schema -> json_object -> nothing but the prompt
    token cap         max_completion_tokens -> max_tokens
    logprobs          20 alternatives a token -> 5 -> none

Any other configured parameter that a 400 names is dropped. The process remembers what it learns for
as long as it lives, so its first call is the probe.
"""

import re
from collections.abc import Sequence
from typing import Any

from podium_service.judges.settings import LLMJudge
from podium_service.prompts.forms import FORMS, TOP_LOGPROBS
from podium_service.prompts.templates import Prompt

_FORMATS = ("json_schema", "json_object", "text")
_VALUE_WORDS = ("too large", "at most", "maximum")
_LOGPROBS_WORDS = ("logprobs", "logprob")
_FORMAT_WORDS = ("response_format", "json_schema", "json_object", "guided", "structured output")


class Parameters:
    """The parameters that a judge's endpoints accept, as far as is known."""

    def __init__(self, config: LLMJudge) -> None:
        fixed = config.response_format
        # The values still to try, of which the first is sent.
        self._formats: Sequence[str] = _FORMATS if fixed == "auto" else (fixed,)
        self._top_logprobs: Sequence[int] = (TOP_LOGPROBS, 5, 0)
        self._token_parameter = "max_completion_tokens"
        self._optional = config.model_dump(
            include={"temperature", "seed", "reasoning_effort"}, exclude_none=True
        )
        self._extra_body = dict(config.extra_body)
        self._model = config.model
        self._explanations = config.explanations

    def build(self, prompt: Prompt, max_tokens: int) -> dict[str, Any]:
        """Return the body of a chat-completions call."""
        parameters: dict[str, Any] = {
            "model": self._model,
            "messages": prompt.chat(),
            self._token_parameter: max_tokens,
            **self._optional,
            **self._extra_body,
        }
        form = FORMS[prompt.form]
        if not form.schema and self._top_logprobs[0]:
            parameters |= {"logprobs": True, "top_logprobs": self._top_logprobs[0]}
        if form.schema and self._formats[0] == "json_object":
            parameters["response_format"] = {"type": "json_object"}
        elif form.schema and self._formats[0] == "json_schema":
            # Not strict, because hosted endpoints compile a strict schema anew for each call's ids.
            # Guided decoding enforces it all the same, and verdicts are validated anyway.
            schema = form.schema(prompt.shown_ids, self._explanations)
            parameters["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "verdict", "strict": False, "schema": schema},
            }
        return parameters

    def learn(self, parameters: dict[str, Any], refusal: str) -> str | None:
        """Give up the parameter of a refused call that the refusal names.

        Args:
            parameters: what was sent.
            refusal: the server's words.

        Returns:
            The parameter; None if the refusal names none. The caller must compare what it would
            send now with what was refused, because what `extra_body` sets under a name of the
            table above is returned and not changed.
        """
        lower = refusal.lower()
        about_value = any(words in lower for words in _VALUE_WORDS)
        newer = "max_completion_tokens"
        if newer == self._token_parameter and newer in lower and not about_value:
            self._token_parameter = "max_tokens"
            return newer
        for name in [*self._optional, *self._extra_body]:
            if re.search(rf"(?<![a-z0-9_]){re.escape(name.lower())}(?![a-z0-9_])", lower):
                self._optional.pop(name, None)
                self._extra_body.pop(name, None)
                return name
        if "top_logprobs" in parameters and any(word in lower for word in _LOGPROBS_WORDS):
            sent = parameters["top_logprobs"]
            # The first one differs if the refusal of a concurrent call has been learnt from.
            if self._top_logprobs[0] and self._top_logprobs[0] == sent:
                self._top_logprobs = self._top_logprobs[1:]
            return f"top_logprobs {sent}"
        return self._give_up_format(parameters, lower)

    def _give_up_format(self, parameters: dict[str, Any], refusal: str) -> str | None:
        response_format = parameters.get("response_format")
        sent = response_format.get("type") if isinstance(response_format, dict) else None
        if not sent or not any(word in refusal for word in _FORMAT_WORDS):
            return None
        if self._formats[0] == sent:  # differs if a concurrent call has given it up
            if len(self._formats) == 1:  # the judge's settings ask for this format
                return None
            self._formats = self._formats[1:]
        return f"response_format {sent}"
