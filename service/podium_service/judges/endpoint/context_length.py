"""Find out how many tokens a judge's context holds, where its settings do not say.

`/models` of all base URLs is read at once, by one probe that all callers share. Its result is kept.
If no endpoint can be asked, a default serves, and the next probe is made after a while.

To read one more server's answer: add the path of its number to one of the two tables below.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
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
# Where an entry of `/models` says what is served. llama.cpp's `n_ctx_train` is not among them,
# because a server may be started with less than the model was trained for.
_SERVED_PATHS = (
    ("max_model_len",),  # vLLM, SGLang
    ("meta", "n_ctx"),  # llama.cpp, of one slot
    ("loaded_context_length",),  # LM Studio
)
# Where it says what the model can take; where there are several numbers the least one holds.
_MODEL_PATHS = (
    ("context_length",),  # OpenRouter, Together
    ("top_provider", "context_length"),  # OpenRouter
    ("context_window",),  # Groq
    ("max_context_length",),  # Mistral, LM Studio
    ("max_input_tokens",),  # LiteLLM
)

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
    named = [each for each in entries if each.get("id") == model or model in _aliases(each)]
    chosen = named or (entries if len(entries) == 1 else [])
    for entry in chosen:
        served = [_read_number(entry, path) for path in _SERVED_PATHS]
        of_model = [_read_number(entry, path) for path in _MODEL_PATHS]
        for lengths in (served, of_model):
            if known := [length for length in lengths if length]:
                return min(known)
    return _UNSAID


def _aliases(entry: Mapping[str, Any]) -> Sequence[Any]:
    aliases = entry.get("aliases")
    return aliases if isinstance(aliases, list) else []


def _read_number(entry: Mapping[str, Any], path: Sequence[str]) -> int:
    """Return the positive number at a path of keys; 0 if there is none."""
    value: Any = entry
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if type(value) is int and value > 0 else _UNSAID
