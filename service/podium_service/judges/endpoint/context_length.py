"""How long a judge's context is, where its config does not say: `/models` of its base URLs ->
tokens.

All of them are asked at once, by one probe that all who wait for it share. What it learns is kept;
where none can say anything the default serves, and they are asked again after a while.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Protocol

import structlog

from podium_service.errors import (
    JudgeQuotaExhausted,
    JudgeRateLimited,
    JudgeRejected,
    JudgeUnavailable,
)
from podium_service.judges.endpoint.endpoint import ContextOverflow, ParameterRejected

DEFAULT_CONTEXT_TOKENS = 32_768
REST_S = 30.0
_UNSAID = 0  # an answer, but no length in it

log = structlog.get_logger(__name__)


class Listing(Protocol):
    """An endpoint, as far as it is needed here."""

    base_url: str

    async def models(self) -> list[dict[str, Any]]: ...


class ContextLength:
    """Of one model behind one or several endpoints.

    Args:
        judge: its name, for the log.
        model: as the endpoints list it.
        endpoints: whom to ask.
        clock: seconds.
    """

    def __init__(
        self,
        judge: str,
        model: str,
        endpoints: Sequence[Listing],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._judge = judge
        self._model = model
        self._endpoints = endpoints
        self._clock = clock
        self._known: int | None = None
        self._rests_until = float("-inf")
        self._probe: asyncio.Task[None] | None = None

    async def tokens(self) -> int:
        """The context, prompt and reply together. A caller who leaves ends no other's wait."""
        if self._known is None and self._clock() >= self._rests_until:
            if self._probe is None or self._probe.done():
                self._probe = asyncio.create_task(self._ask())
            await asyncio.shield(self._probe)
        return self._known or DEFAULT_CONTEXT_TOKENS

    async def aclose(self) -> None:
        """Ask no longer."""
        if self._probe:
            self._probe.cancel()
            await asyncio.wait([self._probe])

    async def _ask(self) -> None:
        """Learn the first length that an endpoint gives; the default if those that answer give
        none."""
        asked = [asyncio.create_task(self._length(endpoint)) for endpoint in self._endpoints]
        answered = False
        try:
            for answer in asyncio.as_completed(asked):
                length = await answer
                if length:
                    self._known = length
                    return
                answered |= length is not None
        finally:
            for each in asked:
                each.cancel()
        if answered:
            self._known = DEFAULT_CONTEXT_TOKENS
        else:
            self._rests_until = self._clock() + REST_S

    async def _length(self, endpoint: Listing) -> int | None:
        """`max_model_len` of our model; None where the endpoint cannot be asked now."""
        try:
            listed = await endpoint.models()
        except (JudgeUnavailable, JudgeRateLimited, JudgeQuotaExhausted) as error:
            about = {"base_url": endpoint.base_url, "code": error.code}
            log.warning("judge_context_unknown", judge=self._judge, **about)
            return None
        except (JudgeRejected, ParameterRejected, ContextOverflow):
            return _UNSAID  # it has no such list
        ours = (entry for entry in listed if entry.get("id") == self._model)
        length = next(ours, {}).get("max_model_len")
        return length if isinstance(length, int) and length > 0 else _UNSAID
