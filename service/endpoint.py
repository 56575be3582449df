"""One base URL of a judge: a chat-completions call -> a `Reply`, or an error that says what to do.

The openai client does the HTTP, without retries of its own: there is one loop, in `judge.py`. Every
error of the client is mapped here and nowhere else.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

import httpx2
import openai
import orjson

from service.errors import (
    JudgeError,
    JudgeQuotaExhausted,
    JudgeRateLimited,
    JudgeRejected,
    JudgeUnavailable,
)
from service.resolver import guarded_transport

PROBE_TIMEOUT_S = 5.0
MAX_RETRY_AFTER_S = 3600.0
_DECIMAL = re.compile(r"\d{1,9}(?:\.\d{1,9})?")
_OVERFLOW = ("context length", "context_length", "context window", "max_model_len")
_NO_CREDIT_CODES = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_NO_CREDIT_WORDS = ("quota", "billing")
_RATE_WORDS = ("per minute", "per second", "rate limit", "ratelimit")


class ParameterRejected(Exception):
    """A 400 that may name a parameter in what the server `said`; `judge.py` drops the parameter or
    lets it stand."""

    def __init__(self, detail: str, said: str) -> None:
        super().__init__(detail)
        self.said = said


class ContextOverflow(Exception):
    """The endpoint counted more tokens than our estimate did."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the endpoint says it counted; `cached` is a part of `prompt`."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """One chat completion, as far as a judge needs it.

    `logprobs` holds an object per token of the text, as the endpoint gave it; None if it did not.
    """

    text: str
    finish_reason: str | None
    refusal: str | None
    tokens: Tokens
    model: str
    logprobs: list[Any] | None = None


class Endpoint:
    """One base URL. `rest_until` is shared by all calls: a 429 for one is a 429 for all."""

    def __init__(self, base_url: str, api_key: str | None, max_connections: int) -> None:
        self.base_url = base_url
        self._api_key = api_key
        self.in_flight = 0
        self.rest_until = 0.0
        self.spent: JudgeQuotaExhausted | None = None  # rests because its credit is gone
        self._client = openai.AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or "none",
            max_retries=0,
            timeout=None,  # the caller's deadline is the only clock
            http_client=openai.DefaultAioHttpClient(
                trust_env=False,  # no proxies from the environment
                follow_redirects=False,
                timeout=None,
                transport=guarded_transport(max_connections, keepalive_s=4.0),
            ),
        )

    def rest(self, seconds: float) -> None:
        """Let no new call start here for a while."""
        self.rest_until = max(self.rest_until, asyncio.get_running_loop().time() + seconds)

    def rest_s(self) -> float:
        """How long a new call must still wait, in seconds."""
        return max(0.0, self.rest_until - asyncio.get_running_loop().time())

    async def complete(self, parameters: dict[str, Any], timeout_s: float) -> Reply:
        """One chat completion.

        The client's `post` instead of its `chat.completions.create`: the same client, keys and
        errors, without building typed objects that nobody reads. That halves the CPU of a call.

        Raises:
            ParameterRejected: On a 400 or 422.
            ContextOverflow: On a 400 that is about the context's length.
            JudgeRateLimited: On a 429; `retry_after_s` is the server's floor, if it gave one.
            JudgeQuotaExhausted: On a 429 that means "no credit".
            JudgeRejected: On any other 4xx or a redirect.
            JudgeUnavailable: On a 5xx, a lost connection, a timeout, or an answer that is no JSON.
        """
        self.in_flight += 1
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._client.post(
                    "/chat/completions",
                    content=orjson.dumps(parameters),
                    cast_to=httpx2.Response,
                )
            return self._reply(response.content)
        except TimeoutError as error:
            raise JudgeUnavailable(
                f"{self.base_url} gave no answer in {timeout_s:.3g} s"
            ) from error
        except openai.APIError as error:
            raise self._mapped(error) from error
        finally:
            self.in_flight -= 1

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

    def _reply(self, content: bytes) -> Reply:
        try:
            return _reply(content)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            said = self._without_key(content[:1000].decode(errors="replace"))[:100]
            raise JudgeUnavailable(
                f"{self.base_url} answered no chat completion: {said!r}"
            ) from error

    def _without_key(self, text: str) -> str:
        return text.replace(self._api_key, "***") if self._api_key else text

    def _mapped(self, error: openai.APIError) -> Exception:
        if not isinstance(error, openai.APIStatusError):
            cause = _deepest(error)
            return JudgeUnavailable(f"{self.base_url}: {type(cause).__name__}: {cause}")
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
        return _unexpected(status)(detail)


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


def _deepest(error: BaseException) -> BaseException:
    """What really happened: the client wraps a refused connection twice, as a timeout."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _unexpected(status: int) -> type[JudgeError]:
    return JudgeUnavailable if status >= 500 or status in (408, 409, 425) else JudgeRejected


def _said(error: openai.APIStatusError) -> str:
    """The server's own words and code, on one line, short enough for a log."""
    body = error.body if isinstance(error.body, dict) else {}
    words = str(body.get("message") or error.message)
    return " ".join(f"{words} ({error.code})".split() if error.code else words.split())[:500]


def _count(value: Any) -> int:
    """Tokens, as servers give them: missing, null or nonsense counts as none."""
    return max(0, int(value or 0))


def _reply(content: bytes) -> Reply:
    body = orjson.loads(content)
    choice = body["choices"][0]
    message = choice["message"]
    usage = body.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    logprobs = (choice.get("logprobs") or {}).get("content")
    prompt_tokens = _count(usage.get("prompt_tokens"))
    return Reply(
        text=str(message.get("content") or thoughts or ""),
        finish_reason=choice.get("finish_reason"),
        refusal=str(message["refusal"]) if message.get("refusal") else None,
        tokens=Tokens(
            prompt=prompt_tokens,
            cached=min(prompt_tokens, _count(details.get("cached_tokens"))),
            completion=_count(usage.get("completion_tokens")),
        ),
        model=str(body.get("model") or ""),
        logprobs=logprobs if isinstance(logprobs, list) else None,
    )
