"""Render a conversation to tokens by the model's own chat template.

A message must not be able to end its turn or to begin another. So the template is rendered with a
placeholder for the text of each message, and only what the template itself wrote is searched for
control tokens. Everything between two control tokens, of the template and of messages, is tokenized
together, so that honest text becomes the tokens that the model was trained on.
"""

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from podium_service.errors import ConfigError
from podium_service.judges.local.generation.language_model import LanguageModel

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{{ '<|im_start|>assistant\n' }}"
)
# Templates that strip the text of messages strip this blank from a placeholder. No text of a
# template holds it.
_BLANK = "\x1f"


class TemplateRefusal(Exception):
    """The template refuses these messages, for example two of the user in a row."""


class ChatTemplate:
    """The chat template of a model.

    Raises:
        ConfigError: If it is not a Jinja template.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        # As `transformers` sets it up, for which templates are written.
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.globals.update(raise_exception=_refuse, strftime_now=_now)
        try:
            self._template = environment.from_string(model.chat_template or CHATML)
        except jinja2.TemplateError as error:
            raise ConfigError(f"the model's chat template is no Jinja: {error}") from error
        names = {token: text for text, token in model.control_tokens.items()}
        self._special = {
            "bos_token": names.get(-1 if model.bos_token is None else model.bos_token, ""),
            "eos_token": names.get(-1 if model.eos_token is None else model.eos_token, ""),
        }
        # The longest first, because one control token may be the start of another.
        longest_first = sorted(filter(None, model.control_tokens), key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def tokenize(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Return the tokens of a conversation up to where the assistant's turn starts.

        Args:
            messages: each with `role` and `content`.

        Raises:
            TemplateRefusal: If the template refuses the messages.
        """
        tokens: list[int] = []
        text = ""
        for part, is_control in self._parts(messages):
            if is_control:
                tokens += self._model.tokenize(text) if text else []
                tokens.append(self._model.control_tokens[part])
                text = ""
            else:
                text += part
        tokens += self._model.tokenize(text) if text else []
        bos = self._model.bos_token
        if self._model.adds_bos and bos is not None and tokens[:1] != [bos]:
            tokens.insert(0, bos)
        return tokens

    def _parts(self, messages: Sequence[Mapping[str, str]]) -> Iterator[tuple[str, bool]]:
        """Yield the conversation in pieces, each with whether it is a control token."""
        mark = secrets.token_hex(16)
        shown = [
            # An empty text stays empty, because templates ask whether there is any.
            {**each, "content": each["content"] and f"{_BLANK}{mark}{index}.{_BLANK}"}
            for index, each in enumerate(messages)
        ]
        rendered = self._render(shown)
        placeholder = re.compile(rf"({_BLANK}?){mark}(\d+)\.({_BLANK}?)")
        end = 0
        for found in placeholder.finditer(rendered):
            yield from self._split_template_text(rendered[end : found.start()])
            content = messages[int(found[2])]["content"]
            content = content if found[1] else content.lstrip()
            yield content if found[3] else content.rstrip(), False
            end = found.end()
        yield from self._split_template_text(rendered[end:])

    def _render(self, messages: list[dict[str, str]]) -> str:
        try:
            return self._template.render(
                messages=messages, add_generation_prompt=True, **self._special
            )
        except jinja2.TemplateError as error:
            raise TemplateRefusal(str(error)) from error

    def _split_template_text(self, text: str) -> Iterator[tuple[str, bool]]:
        end = 0
        for found in self._control.finditer(text):
            yield text[end : found.start()], False
            yield found[0], True
            end = found.end()
        yield text[end:], False


def _refuse(message: Any) -> NoReturn:
    raise jinja2.TemplateError(str(message))


def _now(form: str) -> str:
    return datetime.now().strftime(form)
