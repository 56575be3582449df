"""What a judge's endpoint accepts: the ladders that newer and older servers make necessary.

response_format: json_schema -> json_object -> nothing but the prompt.
token cap: max_completion_tokens -> max_tokens.
logprobs: 20 alternatives a token -> 5 -> none.
Any other configured parameter that a 400 names is dropped. What is learnt is remembered for the
life of the process, so the first call is the probe.
"""

import re
from collections.abc import Sequence
from typing import Any

from podium_service.judges.settings import LLMJudge
from podium_service.prompts.forms import FORMS, TOP_LOGPROBS
from podium_service.prompts.templates import Prompt

_FORMATS = ("json_schema", "json_object", "text")
_ABOUT_VALUE = ("too large", "at most", "maximum")
_ABOUT_LOGPROBS = ("logprobs", "logprob")
_ABOUT_FORMAT = ("response_format", "json_schema", "json_object", "guided", "structured output")


class Parameters:
    """Builds the parameters of a call, and learns from refusals."""

    def __init__(self, config: LLMJudge) -> None:
        fixed = config.response_format
        self.formats: Sequence[str] = _FORMATS if fixed == "auto" else (fixed,)
        self.token_parameter = "max_completion_tokens"
        self.top_logprobs: Sequence[int] = (TOP_LOGPROBS, 5, 0)
        optional = {
            "temperature": config.temperature,
            "seed": config.seed,
            "reasoning_effort": config.reasoning_effort,
        }
        self._optional = {name: value for name, value in optional.items() if value is not None}
        self._extra_body = dict(config.extra_body)
        self._model = config.model

    def build(self, prompt: Prompt, max_tokens: int) -> dict[str, Any]:
        """The body of a chat-completions call."""
        parameters: dict[str, Any] = {
            "model": self._model,
            "messages": prompt.chat(),
            self.token_parameter: max_tokens,
            **self._optional,
            **self._extra_body,
        }
        form = FORMS[prompt.form]
        if form.logprobs and self.top_logprobs[0]:
            parameters |= {"logprobs": True, "top_logprobs": self.top_logprobs[0]}
        if form.schema and self.formats[0] == "json_object":
            parameters["response_format"] = {"type": "json_object"}
        elif form.schema and self.formats[0] == "json_schema":
            # Not strict: hosted endpoints compile a strict schema anew for each call's ids. Servers
            # with guided decoding enforce it all the same, and verdicts are validated anyway.
            schema = {"name": "verdict", "strict": False, "schema": form.schema(prompt.shown_ids)}
            parameters["response_format"] = {"type": "json_schema", "json_schema": schema}
        return parameters

    def learn(self, sent: dict[str, Any], refusal: str) -> str | None:
        """Give up what a refused call sent and the refusal names; None if it names nothing.

        What `extra_body` holds under the name of a ladder is on no ladder: it may be named here and
        stay. Who is refused compares what would be sent now.
        """
        low = refusal.lower()
        about_value = any(words in low for words in _ABOUT_VALUE)
        newer = self.token_parameter == "max_completion_tokens"
        if newer and "max_completion_tokens" in low and not about_value:
            self.token_parameter = "max_tokens"
            return "max_completion_tokens"
        for name in [*self._optional, *self._extra_body]:
            if re.search(rf"(?<![a-z0-9_]){re.escape(name.lower())}(?![a-z0-9_])", low):
                self._optional.pop(name, None)
                self._extra_body.pop(name, None)
                return name
        if "top_logprobs" in sent and any(word in low for word in _ABOUT_LOGPROBS):
            step = self.top_logprobs[0]
            if step and step == sent["top_logprobs"]:  # else a call beside it stepped down
                self.top_logprobs = self.top_logprobs[1:]
            return f"top_logprobs {sent['top_logprobs']}"
        return self._step_down(sent, low)

    def _step_down(self, sent: dict[str, Any], low: str) -> str | None:
        asked_for = sent.get("response_format")
        sent_format = asked_for.get("type") if isinstance(asked_for, dict) else None
        if not sent_format or not any(word in low for word in _ABOUT_FORMAT):
            return None
        if self.formats[0] == sent_format:  # else a call beside this one has stepped down already
            if len(self.formats) == 1:  # configured: there is nothing to step down to
                return None
            self.formats = self.formats[1:]
        return f"response_format {sent_format}"
