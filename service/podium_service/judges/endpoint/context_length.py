"""Find out how many tokens a judge's context holds, where its settings do not say.

`/models` of all base URLs is read at once, by one probe that all callers share. Its result is kept.
If no endpoint can be asked, a default serves, and the next probe is made after a while.

To read one more server's answer: add the name of its number to one of the two tables below.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from time import monotonic
from typing import Any

import structlog

from podium_service.errors import JudgeRejected
from podium_service.judges.endpoint.endpoint import Endpoint
from podium_service.judges.endpoint.errors import (
    ENDPOINT_FAILURES,
    ContextOverflow,
    ParameterRejected,
)

DEFAULT_CONTEXT_TOKENS = 32_768
RETRY_S = 30.0
_UNSAID = 0  # stands for an answer that names no length
# Names under which an entry of `/models`, or an object inside it, says what is served. They are
# letters only, so that `max_model_len` and `maxModelLen` are one. llama.cpp's `n_ctx_train` is not
# among them, because a server may be started with less than the model was trained for.
_SERVED = frozenset(
    (
        "maxmodellen",  # vLLM, SGLang
        "nctx",  # llama.cpp, of one slot
        "loadedcontextlength",  # LM Studio
        "maxtotaltokens",  # TGI
        "maxcontextlen",
    )
)
# Where it says what the model can take; where there are several numbers the least one holds.
_OF_MODEL = frozenset(
    (
        "contextlength",  # OpenRouter, Together, DeepInfra
        "contextwindow",  # Groq
        "contextsize",
        "contexttokens",
        "contextlen",
        "maxcontextlength",  # Mistral, LM Studio
        "maxcontextwindow",
        "maxcontextwindowtokens",  # GitHub Copilot
        "maxcontexttokens",
        "maxcontextsize",
        "availablecontexttokens",  # Venice
        "maxinputtokens",  # LiteLLM, Anthropic, GitHub Models
        "inputtokenlimit",  # Gemini
        "maxprompttokens",
        "maxseqlen",
        "maxsequencelength",
        "maxpositionembeddings",
        "maxinputlength",
        "contextwindowsize",
        "contextwindowtokens",
        "maxcontext",
        "context",  # models.dev's limits
        "ctxlen",
        "numctx",
    )
)
_MAX_DEPTH = 4  # of the objects inside an entry
_OF_ANOTHER = ("pricing", "default_parameters")
_DATE = re.compile(r"[-@]\d{4}-?\d{2}-?\d{2}")

log = structlog.get_logger(__name__)


class ContextLength:
    """The context of one model behind one or several endpoints; `judge` is for the log."""

    def __init__(
        self,
        judge: str,
        model: str,
        endpoints: Sequence[Endpoint],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._judge = judge
        self._model = model
        self._endpoints = endpoints
        self._clock = clock
        self._tokens: int | None = None
        self._retry_at = float("-inf")
        self._probe: asyncio.Task[None] | None = None

    async def get_tokens(self) -> int:
        """Return how many tokens the context holds, prompt and reply together.

        A caller that is cancelled does not cancel the probe, because others may wait for it.
        """
        if self._tokens is None and self._clock() >= self._retry_at:
            if self._probe is None or self._probe.done():
                self._probe = asyncio.create_task(self._probe_endpoints())
            await asyncio.shield(self._probe)
        return self._tokens or DEFAULT_CONTEXT_TOKENS

    async def aclose(self) -> None:
        """Cancel the probe, if one is running."""
        if self._probe:
            self._probe.cancel()
            await asyncio.wait([self._probe])

    async def _probe_endpoints(self) -> None:
        """Keep the first length, or the default if the endpoints that answer give none."""
        probes = [asyncio.create_task(self._read_length(each)) for each in self._endpoints]
        answered = False
        try:
            for probe in asyncio.as_completed(probes):
                length = await probe
                if length:
                    self._tokens = length
                    return
                answered |= length is not None
        finally:
            for each in probes:
                each.cancel()
        if answered:
            self._tokens = DEFAULT_CONTEXT_TOKENS
        else:
            self._retry_at = self._clock() + RETRY_S

    async def _read_length(self, endpoint: Endpoint) -> int | None:
        """Return the model's context in tokens; None if the endpoint cannot be asked now."""
        try:
            entries = await endpoint.models()
        except ENDPOINT_FAILURES as error:
            about = {"judge": self._judge, "base_url": endpoint.base_url, "code": error.code}
            log.warning("judge_context_unknown", **about)
            return None
        except (JudgeRejected, ParameterRejected, ContextOverflow):
            return _UNSAID  # because such a server has no list of models
        return find_length(self._model, entries)


def find_length(model: str, entries: Sequence[Mapping[str, Any]]) -> int:
    """Return the context of a model in tokens, from the entries of `/models`; 0 if they are silent.

    The only model of a server is meant by any name, because llama.cpp serves one model, calls it by
    the path of its file, and answers to every name.
    """
    named = [each for each in entries if model.removeprefix("models/") in _list_names(each)]
    related = [each for each in entries if any(means(model, name) for name in _list_names(each))]
    for entry in named or related or (entries if len(entries) == 1 else ()):
        numbers = list(_list_numbers(entry))
        for names in (_SERVED, _OF_MODEL):
            if known := [number for name, number in numbers if name in names]:
                return min(known)
    return _UNSAID


def means(model: str, listed: str) -> bool:
    """Return whether a request for `model` gets what is listed under a name.

    `llama3` is Ollama's `llama3:latest`, `x/y:free` a variant of OpenRouter's `x/y`, `gemini-pro`
    Google's `models/gemini-pro`, `claude-haiku-4-5` Anthropic's of some date, and a LiteLLM proxy
    lists patterns such as `openai/*`.
    """
    whole = (model, f"{model}:latest", f"models/{model}", model.partition(":")[0])
    if listed in whole or ("*" in listed and fnmatchcase(model, listed)):
        return True
    undated = model.removesuffix("-latest")
    return listed.startswith(undated) and bool(_DATE.fullmatch(listed[len(undated) :]))


def _list_names(entry: Mapping[str, Any]) -> list[str]:
    """Return the names of a model; Gemini's begin with `models/`."""
    aliases = entry.get("aliases")
    names = [*map(entry.get, ("id", "name", "model")), *(aliases if type(aliases) is list else ())]
    return [name.removeprefix("models/") for name in names if isinstance(name, str)]


def _list_numbers(value: Any, depth: int = 0) -> Iterator[tuple[str, int]]:
    """List the positive numbers in an entry, each with the letters of its name."""
    for each in value if isinstance(value, list) and depth <= _MAX_DEPTH else ():
        yield from _list_numbers(each, depth + 1)  # Hugging Face's providers of one model
    if not isinstance(value, Mapping) or depth > _MAX_DEPTH:
        return
    for name, each in value.items():
        if isinstance(each, str) and each.isdecimal():
            each = int(each[:12])
        elif isinstance(each, float) and each.is_integer():  # as JavaScript may write it
            each = int(each)
        if type(each) is int and each > 0:
            yield re.sub("[^a-z]", "", str(name).lower()), each
        elif name not in _OF_ANOTHER:
            yield from _list_numbers(each, depth + 1)
