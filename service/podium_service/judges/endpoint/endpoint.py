"""Call one base URL of a judge, and track its limit of open calls, its pauses and its failures.

Completions go straight through the connections of the openai client, `/models` through the client
itself (see `chat_client`), and neither is retried here: the one loop of attempts is in
`dispatch.calls`. Each failure is an error of openai's first and is mapped to ours in `errors`.
"""

import asyncio
from hashlib import blake2b
from math import inf
from typing import Any

import httpx2
import openai
import orjson
import structlog

from podium_service.errors import JudgeUnavailable
from podium_service.judges.endpoint.adaptive_limit import AdaptiveLimit
from podium_service.judges.endpoint.chat_client import ChatClient
from podium_service.judges.endpoint.circuit_breaker import CircuitBreaker
from podium_service.judges.endpoint.errors import ParameterRejected, map_error
from podium_service.prompts.reply import Reply, parse_reply

PROBE_TIMEOUT_S = 5.0
_MAX_MESSAGE_CHARS = 500  # keep a server's words short enough for a log

log = structlog.get_logger(__name__)


class Endpoint:
    """One base URL of an OpenAI-compatible API, with the state that all calls to it share.

    Args:
        base_url: up to and including `/v1`.
        api_key: the secret to send; None to send none.
        concurrency: the bounds between which the number of active calls adapts.

    Attributes:
        num_active: how many calls hold a place here.
        paused_until: when the next call may start, in seconds on the event loop's clock, because a
            429 for one call is a 429 for all.
        out_of_credit: the server's words if its credit is used up.
    """

    def __init__(
        self, base_url: str, api_key: str | None, *, concurrency: tuple[int, int] = (1, 256)
    ) -> None:
        self.base_url = base_url
        self.concurrency = AdaptiveLimit(*concurrency)
        self.breaker = CircuitBreaker()
        self.num_active = 0
        self.paused_until = 0.0
        self.out_of_credit: str | None = None
        self._api_key = api_key
        self._client = ChatClient(base_url, api_key, max_connections=2 * concurrency[1])

    @property
    def num_free(self) -> int:
        """How many more calls may be active; negative after the limit has fallen."""
        return self.concurrency.limit - self.num_active

    def affinity(self, prefix: bytes) -> bytes:
        """Return how well this endpoint suits prompts that begin with `prefix`.

        Of a judge's endpoints the one with the largest affinity is the home of the prefix: the same
        one in every process, and each endpoint is home to as many prefixes.
        """
        return blake2b(prefix + self.base_url.encode(), digest_size=8).digest()

    def pause(self, seconds: float) -> None:
        """Let no new call start here for so long."""
        self.paused_until = max(self.paused_until, asyncio.get_running_loop().time() + seconds)

    def pause_s(self) -> float:
        """Return the seconds until the pause is over; 0 if it is."""
        return max(0.0, self.paused_until - asyncio.get_running_loop().time())

    def wait_s(self) -> float:
        """Return for how many seconds no call may start here; 0 if one may."""
        return max(self.pause_s(), self.breaker.wait_s(asyncio.get_running_loop().time()))

    def take_place(self) -> None:
        """Count a call as active until it calls `release_place`."""
        self.num_active += 1
        self.out_of_credit = None
        self.breaker.record_start(asyncio.get_running_loop().time())

    def release_place(self, taken_at: float) -> None:
        """End a call that took its place at `taken_at` or just before."""
        self.num_active -= 1
        self.breaker.record_end(taken_at)

    async def complete(
        self, parameters: dict[str, Any], timeout_s: float, late_s: float = inf
    ) -> Reply:
        """Make one chat completion, in `timeout_s` at most.

        A call that its caller gives up after `late_s` or more counts as failed. Otherwise an
        endpoint that hangs would never be found out by callers with short deadlines.

        Raises:
            ParameterRejected, ContextOverflow, JudgeError: As `errors` says.
        """
        started_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(timeout_s):
                content = await self._client.complete(orjson.dumps(parameters))
        except asyncio.CancelledError:
            if asyncio.get_running_loop().time() - started_at >= late_s:
                self._record(started_at, 0, failed=True)
            raise
        except TimeoutError as error:
            self._record(started_at, None, failed=True)
            raise JudgeUnavailable(
                f"{self.base_url} gave no answer in {timeout_s:.3g} s", unanswered=True
            ) from error
        except openai.APIError as error:
            raise self._map_failure(error, parameters, started_at) from error
        try:
            reply = parse_reply(content)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            self._record(started_at, 0, failed=True)
            message = self._redact(content.decode(errors="replace"), 100)
            # It may have been paid, because with a status of 200 the model has run.
            raise JudgeUnavailable(
                f"{self.base_url} answered no chat completion: {message!r}", unanswered=True
            ) from error
        self._record(started_at, 200, failed=False)
        return reply

    def _map_failure(
        self, error: openai.APIError, parameters: dict[str, Any], started_at: float
    ) -> Exception:
        """Learn from an error of the client, and return ours."""
        mapped = map_error(error, self.base_url, self._redact)
        if isinstance(mapped, ParameterRejected):
            mapped.parameters = parameters
        status = error.status_code if isinstance(error, openai.APIStatusError) else 0
        self._record(started_at, status, failed=isinstance(mapped, JudgeUnavailable))
        return mapped

    def _record(self, started_at: float, status: int | None, *, failed: bool) -> None:
        """Learn what the end of a call tells about the endpoint; status None is a timeout."""
        now = asyncio.get_running_loop().time()
        if status in (None, 429, 503):
            self.concurrency.record_overload(started_at, now)
        elif not failed:
            self.concurrency.record_success(self.num_active)
        if not failed:
            self.breaker.record_success()
        elif self.breaker.record_failure(started_at, now):
            log.warning("breaker_opened", base_url=self.base_url)

    async def models(self) -> list[dict[str, Any]]:
        """Return the entries of `/models`; raises as `complete` does."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                response = await self._client.get("/models", cast_to=httpx2.Response)
            data = orjson.loads(response.content)["data"]
            return [entry for entry in data if isinstance(entry, dict)]
        except TimeoutError as error:
            raise JudgeUnavailable(f"no answer in {PROBE_TIMEOUT_S:.3g} s") from error
        except openai.APIError as error:
            raise map_error(error, self.base_url, self._redact) from error
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise JudgeUnavailable(f"{self.base_url}/models does not list models") from error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _redact(self, text: str, max_chars: int = _MAX_MESSAGE_CHARS) -> str:
        """Remove our API key, then shorten; the other order could leave a part of the key."""
        return (text.replace(self._api_key, "***") if self._api_key else text)[:max_chars]
