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

from podium_service.errors import JudgeError, JudgeUnavailable, VerdictInvalid
from podium_service.judges.endpoint.adaptive_limit import AdaptiveLimit
from podium_service.judges.endpoint.chat_client import ChatClient
from podium_service.judges.endpoint.circuit_breaker import CircuitBreaker
from podium_service.judges.endpoint.errors import ParameterRejected, map_answer, map_error
from podium_service.judges.endpoint.patience import Patience
from podium_service.judges.endpoint.refusals.words import read_words
from podium_service.prompts.reply import Reply, parse_reply

PROBE_TIMEOUT_S = 5.0
_TRIAL_S = 1.0  # until the end of a trial is looked for again, if no call's end tells it
# So many tokens of a prompt take about as long as one of the reply: 4 on a CPU, 50 on a GPU.
_PROMPT_TOKENS_PER_REPLY_TOKEN = 8
_BYTES_PER_TOKEN = 4
_MAX_MESSAGE_CHARS = 500  # keep a server's words short enough for a log

log = structlog.get_logger(__name__)


class Endpoint:
    """One base URL of an OpenAI-compatible API, with the state that all calls to it share.

    Args:
        base_url: up to and including `/v1`.
        api_key: the secret to send; None to send none.
        concurrency: the bounds between which the number of active calls adapts.

    Attributes:
        num_active: how many calls hold a place here; some of them may have yet to be sent.
        paused_until: when the next call may start, in seconds on the event loop's clock, because a
            429 for one call is a 429 for all.
        out_of_credit: the server's words if its credit is used up. After the pause one call at a
            time tries whether there is credit again; the others wait for it.
        last_failure: what the last call that failed met with, for errors.
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
        self.last_failure = "a failure"
        self._answered_at = -inf  # when an answer to a completion came last
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
        trial_s = _TRIAL_S if self.is_trying_credit else 0.0
        now = asyncio.get_running_loop().time()
        return max(self.pause_s(), self.breaker.wait_s(now), trial_s)

    @property
    def is_trying_credit(self) -> bool:
        """Whether a call is finding out if there is credit again."""
        return self.out_of_credit is not None and self.num_active > 0 and self.pause_s() <= 0

    def take_place(self) -> None:
        """Count a call as active until it calls `release_place`."""
        self.num_active += 1
        self.breaker.record_start(asyncio.get_running_loop().time())

    def release_place(self, taken_at: float) -> None:
        """End a call that took its place at `taken_at` or just before."""
        self.num_active -= 1
        self.breaker.record_end(taken_at)

    @property
    def load(self) -> dict[str, int]:
        """How many calls are in flight and how many may be, for the log."""
        return {"in_flight": self.num_active, "limit": self.concurrency.limit}

    def describe_load(self) -> str:
        """Return the load in words."""
        return f"{self.num_active} in flight, limit {self.concurrency.limit}"

    async def complete(
        self, parameters: dict[str, Any], patience: Patience, late_s: float = inf
    ) -> Reply:
        """Make one chat completion.

        Args:
            parameters: the body of the call.
            patience: how long an answer is waited for.
            late_s: a call that its caller gives up after so long counts as failed, unless another
                call was answered meanwhile. Otherwise an endpoint that hangs would never be found
                out by callers with short deadlines.

        Raises:
            ParameterRejected, ContextOverflow, JudgeError: As `errors` says.
        """
        clock = asyncio.get_running_loop().time
        body, started_at, work = orjson.dumps(parameters), clock(), None
        self.concurrency.record_start(started_at)
        try:
            content = await self._send(body, parameters, patience, started_at)
            self._answered_at = clock()
            reply = self._parse(content, parameters, started_at)
            work = _estimate_work(len(body), reply)
            return reply
        except asyncio.CancelledError:
            waited_s = clock() - started_at
            if waited_s >= late_s and self._answered_at < started_at:
                self.last_failure = f"no answer in {waited_s:.3g} s"
                self._record(started_at, 0, failed=True)
            raise
        except JudgeError as error:
            after_s = round(clock() - started_at, 3)
            error.facts = {**error.facts, "after_s": after_s, **self.load}
            raise
        finally:
            self.concurrency.record_end(started_at, clock(), work)

    async def _send(
        self, body: bytes, parameters: dict[str, Any], patience: Patience, started_at: float
    ) -> bytes:
        """Return the body of an answer whose status is a success; raise as `complete` does."""
        try:
            async with patience.limit(lambda: self._answered_at):
                return await self._client.complete(body)
        except TimeoutError as error:
            load = self.describe_load()  # before it changes
            self.last_failure = f"no answer in {patience.seconds:.3g} s"
            self._record(started_at, None, failed=True)
            raise JudgeUnavailable(
                f"{self.base_url} gave {self.last_failure} ({load}): see whether it still works; "
                "if it is slow, raise timeout_s, or ask it for less at once",
                unanswered=True,
                facts={"reason": "timeout"},
            ) from error
        except openai.APIError as error:
            raise self._map_failure(error, parameters, started_at) from error

    def _parse(self, content: bytes, parameters: dict[str, Any], started_at: float) -> Reply:
        try:
            reply = parse_reply(content)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            if status := find_failed_status(content):
                mapped = map_answer(status, {}, content, self.base_url, self._redact)
                raise self._learn(mapped, status, parameters, started_at) from error
            self.last_failure = "no chat completion"
            self._record(started_at, 0, failed=True)
            message = self._redact(read_words(content).text, 100)
            # It may have been paid, because with a status of 200 the model has run.
            raise JudgeUnavailable(
                f"{self.base_url} answered no chat completion: {message!r}",
                unanswered=True,
                facts={"reason": "reply", "status": 200},
            ) from error
        self.out_of_credit = None
        self._record(started_at, 200, failed=False)
        return reply

    def _map_failure(
        self, error: openai.APIError, parameters: dict[str, Any], started_at: float
    ) -> Exception:
        """Learn from an error of the client, and return ours."""
        mapped = map_error(error, self.base_url, self._redact)
        status = 0
        if isinstance(error, openai.APIStatusError):
            status = error.status_code
            self._answered_at = asyncio.get_running_loop().time()
        return self._learn(mapped, status, parameters, started_at)

    def _learn(
        self, mapped: Exception, status: int, parameters: dict[str, Any], started_at: float
    ) -> Exception:
        """Learn from the failure of a call, and complete its error; status 0 is no answer."""
        if isinstance(mapped, ParameterRejected):
            mapped.parameters = parameters
        elif isinstance(mapped, JudgeError):
            answer = {"reason": "status", "status": status}
            mapped.facts = answer if status else {"reason": "connection"}
        if isinstance(mapped, VerdictInvalid):
            # The model has run, so it may have been paid; another reply may be readable.
            mapped.base_url, mapped.unanswered = self.base_url, True
        if failed := isinstance(mapped, JudgeUnavailable):
            self.last_failure = str(mapped).removeprefix(self.base_url).strip()
        self._record(started_at, status, failed=failed)
        return mapped

    def _record(self, started_at: float, status: int | None, *, failed: bool) -> None:
        """Learn what the end of a call tells about the endpoint; status None is a timeout."""
        now = asyncio.get_running_loop().time()
        if status in (None, 429, 503):
            self.concurrency.record_overload(started_at, now)
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


def _estimate_work(num_body_bytes: int, reply: Reply) -> float:
    """Return what an answer took, in tokens of a reply; guessed if the endpoint counts none."""
    tokens = reply.tokens
    prompt, completion = tokens.prompt - tokens.cached, tokens.completion
    if not (prompt or completion):
        prompt, completion = num_body_bytes // _BYTES_PER_TOKEN, len(reply.text) // _BYTES_PER_TOKEN
    return 1 + completion + prompt / _PROMPT_TOKENS_PER_REPLY_TOKEN


def find_failed_status(content: bytes) -> int | None:
    """Return the status of an error inside the body of a success; None if there is none.

    Routers answer 200 before the provider fails. A code that is no status is a bad gateway's.
    """
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(body, dict):
        return None
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    error = body.get("error") or (choice.get("error") if isinstance(choice, dict) else None)
    if not error:
        return None
    code = error.get("code") if isinstance(error, dict) else None
    status = int(code) if isinstance(code, int | str) and str(code).isdigit() else 0
    return status if 400 <= status <= 599 else 502
