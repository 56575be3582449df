"""Turn chat messages into tokens and tokens into text, by the model's own chat template.

Sampled tokens are never encoded again from their text: the next prompt of a conversation is its old
tokens plus the tokens of whatever the template adds.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError

from podium_trainer.policy import reasoning
from podium_trainer.policy.reasoning import Turn, find_opening, split_thoughts
from podium_trainer.policy.template_limits import find_limits
from podium_trainer.policy.tool_calls import FORMATS, ToolCall, ToolFormat

Message = Mapping[str, Any]
TAIL_TOKENS = 32  # of a prompt, more than any opening mark has


class ChatError(Exception):
    """The chat template refuses a conversation; one line with the reason and the remedy."""


class Chat:
    """A tokenizer and its chat template.

    Args:
        tokenizer: a Hugging Face tokenizer with a chat template.
        stop_ids: tokens that end a completion besides the tokenizer's own end token.
        tool_format: a name in `tool_calls.FORMATS`; None guesses it from the template's text.
        reasoning_format: a name in `reasoning.FORMATS`; None guesses likewise.
        template_kwargs: more variables of the template, such as `enable_thinking`.

    Raises:
        ValueError: If the tokenizer has no chat template or no end token, or the template does not
            use one of the variables.
    """

    def __init__(
        self,
        tokenizer: Any,
        stop_ids: Sequence[int] = (),
        tool_format: str | None = None,
        reasoning_format: str | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        if not tokenizer.chat_template:
            raise ValueError(
                "the model's tokenizer has no chat template: take an instruction-tuned model"
                " or put a chat_template.jinja into its folder"
            )
        self.tokenizer = tokenizer
        ends = {tokenizer.eos_token_id, *stop_ids} - {None}
        if not ends:
            raise ValueError(
                "the model names no end token, so that completions would never stop: set"
                " eos_token_id in its generation_config.json"
            )
        self.stop_ids: frozenset[int] = frozenset(ends)
        self.control_tokens: list[str] = [w for w in tokenizer.all_special_tokens if len(w) > 1]
        template = str(tokenizer.chat_template)
        self.template_shows_tools = "tools" in template
        self.takes_objects = bool(re.search(r"arguments\W*\|\s*tojson", template))
        self.tool_format: ToolFormat = FORMATS[tool_format or guess_tool_format(template)]
        self.reasoning_format = reasoning.FORMATS[
            reasoning_format or reasoning.guess_reasoning_format(template)
        ]
        self.template_kwargs = dict(template_kwargs or {})
        for name in self.template_kwargs:
            if not re.search(rf"\b{re.escape(name)}\b", template):
                raise ValueError(
                    f"its chat template does not use {name!r} of model.chat_template_kwargs:"
                    " check the name, or leave it out"
                )
        self.limits = find_limits(self._apply, has_tools=self.template_shows_tools)

    def render(self, messages: Sequence[Message], tools: Sequence[Message] | None) -> str:
        """Render the text of a prompt, up to where the assistant's turn begins.

        Raises:
            ChatError: If the template refuses the messages.
        """
        if not self.template_shows_tools:
            messages = [self._write_calls_as_text(message) for message in messages]
            if tools:
                description = self.tool_format.describe_tools(tools)
                messages, tools = add_to_system_message(messages, description), None
        elif self.takes_objects:
            messages = [read_arguments(message) for message in messages]
        try:
            return self._apply(self.limits.fit(messages), True, tools) + self.limits.opening
        except TemplateSyntaxError as error:
            raise ChatError(
                f"the model's chat template is not valid in line {error.lineno}: {error}: repair"
                " chat_template.jinja in the model's folder, or take another model"
            ) from error
        except TemplateError as error:
            raise ChatError(
                f"the model's chat template takes no such messages ({error}): change the task's"
                " prompts, or take another model"
            ) from error

    def _apply(
        self, messages: Sequence[Message], begins: bool, tools: Sequence[Message] | None = None
    ) -> str:
        text: str = self.tokenizer.apply_chat_template(
            list(messages),
            tools=tools,
            add_generation_prompt=begins,
            tokenize=False,
            **self.template_kwargs,
        )
        return text

    def _write_calls_as_text(self, message: Message) -> Message:
        """Move a message's tool calls into its text, for a template that would leave them out."""
        if not message.get("tool_calls"):
            return message
        calls = [
            ToolCall.from_json(call["function"]["name"], call["function"]["arguments"])
            for call in message["tool_calls"]
        ]
        content = f"{message.get('content') or ''}{self.tool_format.write(calls)}"
        return {"role": message["role"], "content": content}

    def encode(self, text: str) -> list[int]:
        """Encode rendered text; no special tokens are added, because the template wrote them."""
        token_ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return token_ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """Decode tokens, special ones included."""
        text: str = self.tokenizer.decode(token_ids, skip_special_tokens=False)
        return text

    def decode_completion(self, token_ids: Sequence[int]) -> str:
        """Decode a completion without its stop token."""
        return self.decode(token_ids[:-1] if token_ids[-1] in self.stop_ids else token_ids)

    def read_turn(
        self, prompt_ids: Sequence[int], completion_ids: Sequence[int]
    ) -> tuple[str, Turn]:
        """Read what a completion says, and what it thinks before.

        Returns:
            The text of the message that the template is given for it, and the thoughts and answer.
            Where the prompt opened the thought, the message begins with that mark, so that the
            template's next prompt can repeat the tokens of this one.
        """
        tail = self.decode(prompt_ids[-TAIL_TOKENS:])
        opening = find_opening(tail, self.reasoning_format)
        text = self.decode_completion(completion_ids)
        turn = split_thoughts(text, self.reasoning_format, is_open=bool(opening))
        return opening + text, turn

    def break_control_tokens(self, text: str) -> str:
        """Put a space into every control token in a text, so that a tool cannot end a turn."""
        for token in self.control_tokens:
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    def encode_continuation(
        self, conversation_ids: Sequence[int], rendered: str
    ) -> list[int] | None:
        """Encode what the next prompt adds to a conversation's tokens.

        Args:
            conversation_ids: all tokens up to and with the last sampled one.
            rendered: the text of the next prompt.

        Returns:
            The added tokens; None if the prompt does not start with the conversation's text, which
            happens where a template rewrites earlier turns.
        """
        text = self.decode(conversation_ids)
        return self.encode(rendered[len(text) :]) if rendered.startswith(text) else None


def guess_tool_format(template: str) -> str:
    """Guess the name of the tool call format from a chat template; Hermes if nothing tells."""
    return "llama3_json" if "<|python_tag|>" in template or "ipython" in template else "hermes"


def read_arguments(message: Message) -> Message:
    """Return a message whose tool calls have arguments as objects, as `tojson` wants them.

    OpenAI messages have them as texts.
    """
    if not message.get("tool_calls"):
        return message
    calls = []
    for call in message["tool_calls"]:
        function = call["function"]
        try:
            arguments = json.loads(function["arguments"])
        except (TypeError, ValueError):  # an object already, or no JSON
            arguments = function["arguments"]
        calls.append({**call, "function": {**function, "arguments": arguments}})
    return {**message, "tool_calls": calls}


def add_to_system_message(messages: Sequence[Message], text: str) -> list[Message]:
    """Append a text to the system message, or put a system message in front."""
    if messages and messages[0]["role"] == "system":
        system = {**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}
        return [system, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]
