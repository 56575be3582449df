"""Call one base URL of a judge, and track its limit of open calls, its pauses and its failures.

What is sent and read is the dialect's. Nothing is retried here: the one loop of attempts is in
`dispatch.calls`. Each failure of a dialect is mapped to an error of ours in `errors`.
"""

import asyncio
from collections.abc import Sequence
from hashlib import blake2b
from math import inf
from typing import Any

import orjson
import structlog

from podium_service.errors import JudgeError, JudgeRefused, JudgeUnavailable, VerdictInvalid
from podium_service.judges.endpoint.circuit_breaker import CircuitBreaker
from podium_service.judges.endpoint.concurrency.adaptive_limit import AdaptiveLimit
from podium_service.judges.endpoint.dialects.base import Dialect, FailedAnswer, NoAnswer
from podium_service.judges.endpoint.errors import (
    ParameterRejected,
    find_failed_status,
    map_answer,
    map_failure,
)
from podium_service.judges.endpoint.patience import Patience
from podium_service.judges.endpoint.refusals.words import read_words
from podium_service.judges.settings.secrets import find_secret
from podium_service.prompts.reply import Reply

PROBE_TIMEOUT_S = 5.0
_TRIAL_S = 1.0  # until the end of a trial is looked for again, if no call's end tells it
# So many tokens of a prompt take about as long as one of the reply: 4 on a CPU, 50 on a GPU.
_PROMPT_TOKENS_PER_REPLY_TOKEN = 8
_CHARS_PER_TOKEN = 4
_MAX_MESSAGE_CHARS = 500  # keep a server's words short enough for a log

log = structlog.get_logger(__name__)


class Endpoint:
    """One base URL of a judge, with the state that all calls to it share.

    Args:
        base_url: for errors, and to tell endpoints apart.
        dialect: the API at that URL.
        secrets: what no error may quote.
        concurrency: the bounds between which the number of active calls adapts.

    Attributes:
        num_active: how many calls hold a place here; some of them may have yet to be sent.
        paused_until: when the next call may start, in seconds on the event loop's clock, because a
            429 for one call is a 429 for all.
        out_of_credit: the server's words if its credit is used up. After the pause one call at a
            time tries whether there is credit again; the others wait for it.
        last_failure: what the last call that failed met with; "" if none failed.
    """

    def __init__(
        self,
        base_url: str,
        dialect: Dialect,
        *,
        secrets: Sequence[str] = (),
        concurrency: tuple[int, int] = (1, 256),
    ) -> None:
        self.base_url = base_url
        self.concurrency = AdaptiveLimit(*concurrency)
        self.breaker = CircuitBreaker()
        self.num_active = 0
        self.paused_until = 0.0
        self.out_of_credit: str | None = None
        self.last_failure = ""
        self._answered_at = -inf  # when an answer to a completion came last
        self._dialect = dialect
        # The longest first, because a shorter one may be a part of it.
        self._secrets = [find_secret(each) for each in sorted(secrets, key=len, reverse=True)]

    @property
    def num_free(self) -> int:
        """How many more calls may be active; negative after the limit has fallen."""
        return self.concurrency.read_open(asyncio.get_running_loop().time()) - self.num_active

    def free_place_s(self) -> float:
        """Return in how many seconds there may be a free place, if no call ends until then."""
        if self.num_free > 0:
            return self.wait_s()
        return max(self.wait_s(), self.concurrency.wait_s(asyncio.get_running_loop().time()))

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
        started_at, work = clock(), None
        self.concurrency.record_start(started_at)
        try:
            content = await self._send(parameters, patience, started_at)
            self._answered_at = clock()
            reply = self._parse(content, parameters, started_at)
            work = _estimate_work(parameters, reply)
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
        self, parameters: dict[str, Any], patience: Patience, started_at: float
    ) -> bytes:
        """Return the body of an answer whose status is a success; raise as `complete` does."""
        clock = asyncio.get_running_loop().time
        try:
            async with patience.limit(lambda: self._answered_at):
                return await self._dialect.complete(parameters)
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
        except (FailedAnswer, NoAnswer) as failure:
            status = 0
            if isinstance(failure, FailedAnswer):
                status, self._answered_at = failure.status, clock()
            # The error has no name here, because it would hold this frame, which would hold it.
            raise self._learn(
                map_failure(failure, self.base_url, self._redact), status, parameters, started_at
            ) from failure

    def _parse(self, content: bytes, parameters: dict[str, Any], started_at: float) -> Reply:
        try:
            reply = self._dialect.parse(content)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            if status := find_failed_status(content):
                raise self._learn(
                    map_answer(status, {}, content, self.base_url, self._redact),
                    status, parameters, started_at,
                ) from error  # fmt: skip
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

    def _learn(
        self, mapped: Exception, status: int, parameters: dict[str, Any], started_at: float
    ) -> Exception:
        """Learn from the failure of a call, and complete its error; status 0 is no answer."""
        if isinstance(mapped, ParameterRejected):
            mapped.parameters = parameters
            if isinstance(mapped.otherwise, JudgeUnavailable):
                mapped.otherwise.base_url = self.base_url
                mapped.otherwise.facts = {"reason": "status", "status": status}
        elif isinstance(mapped, JudgeError):
            answer = {"reason": "status", "status": status}
            mapped.facts = answer if status else {"reason": "connection"}
        if isinstance(mapped, VerdictInvalid):
            # The model has run, so it may have been paid; another reply may be readable.
            mapped.base_url, mapped.unanswered = self.base_url, True
        is_about_reply = isinstance(mapped, VerdictInvalid | JudgeRefused)
        if isinstance(mapped, JudgeError) and not is_about_reply:
            self.last_failure = str(mapped).removeprefix(self.base_url).strip()
        self._record(started_at, status, failed=isinstance(mapped, JudgeUnavailable))
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
                content = await self._dialect.list_models()
            return self._dialect.parse_models(content)
        except TimeoutError as error:
            raise JudgeUnavailable(f"no answer in {PROBE_TIMEOUT_S:.3g} s") from error
        except (FailedAnswer, NoAnswer) as failure:
            raise map_failure(failure, self.base_url, self._redact) from failure
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise JudgeUnavailable(f"{self.base_url}/models does not list models") from error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._dialect.aclose()

    def _redact(self, text: str, max_chars: int = _MAX_MESSAGE_CHARS) -> str:
        """Remove our secrets, then shorten; the other order could leave a part of one."""
        for secret in self._secrets:
            text = secret.sub("***", text)
        return text[:max_chars]


def _estimate_work(parameters: dict[str, Any], reply: Reply) -> float:
    """Return what an answer took, in tokens of a reply; guessed if the endpoint counts none."""
    tokens = reply.tokens
    prompt, completion = tokens.prompt - tokens.cached, tokens.completion
    if not (prompt or completion):
        num_chars = sum(_count_chars(message["content"]) for message in parameters["messages"])
        prompt, completion = num_chars // _CHARS_PER_TOKEN, len(reply.text) // _CHARS_PER_TOKEN
    return 1 + completion + prompt / _PROMPT_TOKENS_PER_REPLY_TOKEN


def _count_chars(content: str | list[dict[str, Any]]) -> int:
    """Count the characters of a message's text; images are left out."""
    if isinstance(content, str):
        return len(content)
    return sum(len(str(part.get("text", ""))) for part in content)
