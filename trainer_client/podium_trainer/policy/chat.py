"""Chat messages ↔ tokens, by the model's own template. Sampled tokens are never made again."""

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

from podium_trainer.policy.tool_calls import FORMATS, ToolCall, ToolFormat

Message = Mapping[str, Any]


class ChatError(Exception):
    """The chat template refuses a conversation; one line that says why and what to do."""


class Chat:
    """A tokenizer and its chat template.

    Args:
        tokenizer: a Hugging Face tokenizer with a chat template.
        stop_ids: tokens that end a completion besides the tokenizer's own end token.
        tool_format: a name in `tool_calls.FORMATS`; None picks it by the template's text.

    Raises:
        ValueError: If the tokenizer has no chat template or no end token.
    """

    def __init__(
        self, tokenizer: Any, stop_ids: Sequence[int] = (), tool_format: str | None = None
    ) -> None:
        if not tokenizer.chat_template:
            raise ValueError(
                "the model's tokenizer has no chat template: take an instruction-tuned model"
                " or put a chat_template.jinja into its folder"
            )
        self.tokenizer = tokenizer
        ends = {tokenizer.eos_token_id, *stop_ids} - {None}
        if not ends:
            raise ValueError("the model names no end token (eos_token_id): completions never stop")
        self.stop_ids: frozenset[int] = frozenset(ends)
        self.control_words: list[str] = [w for w in tokenizer.all_special_tokens if len(w) > 1]
        template = str(tokenizer.chat_template)
        self.template_shows_tools = "tools" in template
        self.tool_format: ToolFormat = FORMATS[tool_format or guess_format(template)]

    def render(self, messages: Sequence[Message], tools: Sequence[Message] | None) -> str:
        """The prompt's text up to where the assistant speaks."""
        if not self.template_shows_tools:
            messages = [self._with_calls_written(message) for message in messages]
            if tools:
                messages, tools = with_tools_told(messages, self.tool_format.tell(tools)), None
        try:
            text: str = self.tokenizer.apply_chat_template(
                list(messages), tools=tools, add_generation_prompt=True, tokenize=False
            )
        except TemplateError as error:
            raise ChatError(
                f"the model's chat template takes no such messages ({error}): change the task's"
                " prompts, or take another model"
            ) from error
        return text

    def _with_calls_written(self, message: Message) -> Message:
        """The message with its tool calls as text, for a template that would leave them out."""
        if not message.get("tool_calls"):
            return message
        calls = [
            ToolCall.from_json(call["function"]["name"], call["function"]["arguments"])
            for call in message["tool_calls"]
        ]
        content = f"{message.get('content') or ''}{self.tool_format.write(calls)}"
        return {"role": message["role"], "content": content}

    def encode(self, text: str) -> list[int]:
        """Tokens of text that came from the template, so none are added."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def defused(self, text: str) -> str:
        """Foreign text in which no control token of the model is left: a tool cannot end a turn."""
        for word in self.control_words:
            text = text.replace(word, f"{word[0]} {word[1:]}")
        return text

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, special ones included."""
        text: str = self.tokenizer.decode(token_ids, skip_special_tokens=False)
        return text

    def completion_text(self, token_ids: Sequence[int]) -> str:
        """What the model said: the text without its stop token."""
        return self.decode(token_ids[:-1] if token_ids[-1] in self.stop_ids else token_ids)

    def continuation(self, so_far: Sequence[int], rendered: str) -> list[int] | None:
        """The tokens that lead from a conversation's tokens to its next prompt.

        Args:
            so_far: all tokens up to and with the last sampled one.
            rendered: the next prompt's text.

        Returns:
            The tokens of what the prompt adds; None if the prompt does not start with the text of
            `so_far`, which happens where a template rewrites earlier turns.
        """
        text = self.decode(so_far)
        return self.encode(rendered[len(text) :]) if rendered.startswith(text) else None


def guess_format(template: str) -> str:
    """The tool call format that a chat template speaks of; Hermes' where it speaks of none."""
    return "llama3_json" if "<|python_tag|>" in template or "ipython" in template else "hermes"


def with_tools_told(messages: Sequence[Message], words: str) -> list[Message]:
    """The messages with the tools described in the system message, for templates without tools."""
    if messages and messages[0]["role"] == "system":
        system = {**messages[0], "content": f"{messages[0]['content']}\n\n{words}"}
        return [system, *messages[1:]]
    return [{"role": "system", "content": words}, *messages]
