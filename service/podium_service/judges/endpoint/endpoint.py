"""One base URL of a judge: a chat-completions call -> a `Reply`, or an error that says what to do.

Completions go straight through the connections of the openai client, `/models` through the client
itself (see `chat_client`), neither with a retry: there is one loop, in `outbound.calls`. Either
way what fails comes here as an error of openai's, and here alone it is mapped to ours.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from math import inf
from time import time
from typing import Any

import httpx2
import openai
import orjson
import structlog
from aiohttp import ClientConnectorError

from podium_service.errors import (
    JudgeQuotaExhausted,
    JudgeRateLimited,
    JudgeRejected,
    JudgeUnavailable,
)
from podium_service.judges.endpoint.adaptive_limit import AdaptiveLimit
from podium_service.judges.endpoint.chat_client import ChatClient
from podium_service.judges.endpoint.circuit_breaker import CircuitBreaker
from podium_service.prompts.reply import Reply, parse_reply

PROBE_TIMEOUT_S = 5.0
MAX_RETRY_AFTER_S = 3600.0
MAX_SAID = 500  # characters of a server's words: short enough for a log
_DECIMAL = re.compile(r"\d{1,9}(?:\.\d{1,9})?")
_OVERFLOW = ("context length", "context_length", "context window", "max_model_len")
_NO_CREDIT_CODES = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_NO_CREDIT_WORDS = ("quota", "billing")
_RATE_WORDS = ("per minute", "per second", "rate limit", "ratelimit")

log = structlog.get_logger(__name__)


class ParameterRejected(Exception):
    """A 400 that may name a parameter in what the server `said`; `outbound.calls` drops it or lets
    it stand."""

    code = "parameter_rejected"

    def __init__(self, detail: str, said: str, sent: dict[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.said = said
        self.sent = sent or {}


class ContextOverflow(Exception):
    """The endpoint counted more tokens than our estimate did."""

    code = "context_overflow"


class Endpoint:
    """One base URL, and what it can take now. `rest_until` is shared by all calls: a 429 for one is
    a 429 for all."""

    def __init__(
        self, base_url: str, api_key: str | None, *, concurrency: tuple[int, int] = (1, 256)
    ) -> None:
        """`concurrency`: the bounds between which the number of calls in flight adapts."""
        self.base_url = base_url
        self._salt = base_url.encode()
        self.concurrency = AdaptiveLimit(*concurrency)
        self.breaker = CircuitBreaker()
        self.num_active = 0
        self.paused_until = 0.0
        self.spent: JudgeQuotaExhausted | None = None  # rests because its credit is gone
        self._api_key = api_key
        self._client = ChatClient(base_url, api_key, max_connections=2 * concurrency[1])

    def affinity(self, prefix: bytes) -> bytes:
        """Of the endpoints of a judge, what begins with `prefix` is at home where it is largest: in
        every process the same one, and each as often as the others."""
        return blake2b(prefix + self._salt, digest_size=8).digest()

    def rest(self, seconds: float) -> None:
        """Let no new call start here for a while."""
        self.paused_until = max(self.paused_until, asyncio.get_running_loop().time() + seconds)

    def rest_s(self) -> float:
        """How long a new call must still wait, in seconds."""
        return max(0.0, self.paused_until - asyncio.get_running_loop().time())

    def wait_s(self) -> float:
        """How long no call may start here, in seconds; 0 if one may."""
        return max(self.rest_s(), self.breaker.wait_s(asyncio.get_running_loop().time()))

    def take(self) -> None:
        """A call takes a place here; `leave` gives it back."""
        self.num_active += 1
        self.spent = None
        self.breaker.started(asyncio.get_running_loop().time())

    def leave(self, started_at: float) -> None:
        """The call that took its place at this moment, or just before, is over."""
        self.num_active -= 1
        self.breaker.gave_up(started_at)

    async def complete(
        self, parameters: dict[str, Any], timeout_s: float, late_s: float = inf
    ) -> Reply:
        """One chat completion.

        Args:
            parameters: of the call.
            timeout_s: how long it may take.
            late_s: who is given up by its caller after so long counts as failed, too: an endpoint
                that hangs would else never be found out by callers in a hurry.

        Raises:
            ParameterRejected: On a 400 or 422.
            ContextOverflow: On a 400 that is about the context's length.
            JudgeRateLimited: On a 429; `retry_after_s` is the server's floor, if it gave one.
            JudgeQuotaExhausted: On a 429 that means "no credit".
            JudgeRejected: On any other 4xx or a redirect.
            JudgeUnavailable: On a 5xx, a lost connection, a timeout, or an answer that is no JSON.
        """
        started_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(timeout_s):
                content = await self._client.complete(orjson.dumps(parameters))
            reply = self._read(content)
        except asyncio.CancelledError:
            if asyncio.get_running_loop().time() - started_at >= late_s:
                self._learn(started_at, 0, failed=True)
            raise
        except TimeoutError as error:
            self._learn(started_at, None, failed=True)
            raise JudgeUnavailable(
                f"{self.base_url} gave no answer in {timeout_s:.3g} s", unanswered=True
            ) from error
        except openai.APIError as error:
            raise self._failed(error, parameters, started_at) from error
        except JudgeUnavailable:
            self._learn(started_at, 0, failed=True)
            raise
        self._learn(started_at, 200, failed=False)
        return reply

    def _failed(
        self, error: openai.APIError, parameters: dict[str, Any], started_at: float
    ) -> Exception:
        """Learn from an error of the client's, and map it to ours."""
        mapped = self._mapped(error)
        if isinstance(mapped, ParameterRejected):
            mapped.sent = parameters
        status = error.status_code if isinstance(error, openai.APIStatusError) else 0
        self._learn(started_at, status, failed=isinstance(mapped, JudgeUnavailable))
        return mapped

    def _learn(self, started_at: float, status: int | None, *, failed: bool) -> None:
        """What the end of a call tells about the endpoint; status None: it timed out."""
        now = asyncio.get_running_loop().time()
        if status in (None, 429, 503):
            self.concurrency.was_too_much(started_at, now)
        elif not failed:
            self.concurrency.went_well(self.num_active)
        if failed:
            if self.breaker.failed(started_at, now):
                log.warning("breaker_opened", base_url=self.base_url)
        else:
            self.breaker.went_well()

    async def models(self) -> list[dict[str, Any]]:
        """The entries of `/models`; raises as `complete` does."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                response = await self._client.get("/models", cast_to=httpx2.Response)
            data = orjson.loads(response.content)["data"]
            return [entry for entry in data if isinstance(entry, dict)]
        except TimeoutError as error:
            raise JudgeUnavailable(f"no answer in {PROBE_TIMEOUT_S:.3g} s") from error
        except openai.APIError as error:
            raise self._mapped(error) from error
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise JudgeUnavailable(f"{self.base_url}/models does not list models") from error

    async def aclose(self) -> None:
        await self._client.close()

    def _read(self, content: bytes) -> Reply:
        try:
            return parse_reply(content)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            said = self._without_key(content.decode(errors="replace"), 100)
            # A status of 200: the model has run, whatever became of its reply on the way.
            raise JudgeUnavailable(
                f"{self.base_url} answered no chat completion: {said!r}", unanswered=True
            ) from error

    def _without_key(self, text: str, at_most: int = MAX_SAID) -> str:
        """Without our key, then cut: the other way round the cut could leave a part of it."""
        return (text.replace(self._api_key, "***") if self._api_key else text)[:at_most]

    def _mapped(self, error: openai.APIError) -> Exception:
        if not isinstance(error, openai.APIStatusError):
            causes = list(_causes(error))
            said = self._without_key(f"{type(causes[-1]).__name__}: {causes[-1]}")
            # Without a connection nothing was sent, and nothing can have been paid.
            connected = not any(isinstance(each, ClientConnectorError) for each in causes)
            return JudgeUnavailable(f"{self.base_url}: {said}", unanswered=connected)
        status, said = error.status_code, self._without_key(_said(error))
        detail = f"{self.base_url} answered {status}: {said}"
        low = said.lower()
        if status in (400, 413, 422) and any(word in low for word in _OVERFLOW):
            return ContextOverflow(detail)
        if status in (400, 422):
            return ParameterRejected(detail, said)
        if status == 429:
            wait_s = retry_after_s(error.response.headers)
            if _no_credit(error.code, low, wait_s):
                return JudgeQuotaExhausted(detail)
            return JudgeRateLimited(detail, retry_after_s=wait_s)
        if status >= 500 or status in (408, 409, 425):
            return JudgeUnavailable(
                detail,
                # A gateway's patience was over; behind it the model may have run.
                unanswered=status in (408, 504, 524),
                retry_after_s=retry_after_s(error.response.headers),
            )
        return JudgeRejected(detail)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The floor that a `Retry-After` header sets, in seconds; None without a readable one."""
    value = headers.get("retry-after", "")
    if _DECIMAL.fullmatch(value):
        return min(MAX_RETRY_AFTER_S, float(value))
    try:
        seconds = parsedate_to_datetime(value).timestamp() - time()
    except (ValueError, OverflowError):
        return None
    return min(MAX_RETRY_AFTER_S, max(0.0, seconds))


def _no_credit(code: str | None, low: str, wait_s: float | None) -> bool:
    """Whether a 429 means that the money is gone. Some say "quota" of a limit per minute."""
    if code in _NO_CREDIT_CODES:
        return True
    about_rate = wait_s is not None or any(word in low for word in _RATE_WORDS)
    return not about_rate and any(word in low for word in _NO_CREDIT_WORDS)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what is behind it; the client wraps a refused connection twice, as a timeout,
    and the last one says what really happened."""
    while error is not None:
        yield error
        error = error.__cause__


def _said(error: openai.APIStatusError) -> str:
    """The server's own words and code, on one line."""
    body = error.body if isinstance(error.body, dict) else {}
    words = str(body.get("message") or error.message)
    return " ".join(f"{words} ({error.code})".split() if error.code else words.split())
