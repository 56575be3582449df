"""An OpenAI-compatible server of one model.

GET /v1/models              the model and the length of its context
POST /v1/chat/completions   a reply, with log-probabilities if asked for
GET /health                 whether it serves, and how many requests are open
"""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import orjson
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from podium_service.judges.local.api.errors import APIError, context_exceeded
from podium_service.judges.local.api.request import ChatRequest, parse_request
from podium_service.judges.local.api.response import chat_completion
from podium_service.judges.local.api.slot import Slot
from podium_service.judges.local.generation.chat_template import ChatTemplate, TemplateRefusal
from podium_service.judges.local.generation.generator import Generated, Generator, Task
from podium_service.judges.local.generation.language_model import LanguageModel
from podium_service.judges.local.generation.prompt_cache import Stopped

MAX_BODY_BYTES = 16 * 1024 * 1024
_CLIENT_GONE = 499  # nginx's status for it; nobody reads it

_T = TypeVar("_T")
log = structlog.get_logger(__name__)


class JudgeServer:
    """The routes, on one model.

    Args:
        model_id: the name that clients use.
        api_key: what clients must send as a bearer token; None for anyone.

    Raises:
        ConfigError: If the model's chat template is not usable.
    """

    def __init__(self, model: LanguageModel, model_id: str, api_key: str | None = None) -> None:
        self._model = model
        self._model_id = model_id
        self._api_key = api_key
        self._template = ChatTemplate(model)
        self._generator = Generator(model)
        self._slot = Slot()
        self._created = int(time.time())

    def app(self) -> Starlette:
        """Return the ASGI app."""
        return Starlette(
            routes=[
                Route("/health", self.health),
                Route("/v1/models", self._guarded(self.models)),
                Route("/v1/chat/completions", self._guarded(self.complete), methods=["POST"]),
            ],
            exception_handlers={
                APIError: _answer_error,
                HTTPException: _answer_http_error,
                Stopped: _answer_stopped,
                Exception: _answer_bug,
            },
        )

    async def aclose(self) -> None:
        """Stop the work in progress and free the model."""
        await self._slot.aclose()
        self._model.close()

    async def health(self, _: Request) -> Response:
        """Answer that the model is loaded."""
        return _json({"status": "ok", "open_requests": self._slot.num_open})

    async def models(self, _: Request) -> Response:
        """List the one model, with its context as llama.cpp and vLLM name it."""
        tokens = self._model.context_tokens
        entry = {
            "id": self._model_id,
            "object": "model",
            "created": self._created,
            "owned_by": "podium",
            "max_model_len": tokens,
            "meta": {"n_ctx": tokens},
        }
        return _json({"object": "list", "data": [entry]})

    async def complete(self, request: Request) -> Response:
        """Generate a reply, unless the client goes before it is done."""
        asked = parse_request(await _read_json(request))
        task = await asyncio.to_thread(self._prepare, asked)
        came = began = time.perf_counter()

        def work(wanted: Callable[[], bool]) -> Generated:
            nonlocal began
            began = time.perf_counter()
            return self._generator.generate(task, wanted)

        reply = await _unless_disconnected(request, self._slot.run(work))
        if reply is None:
            return Response(status_code=_CLIENT_GONE)
        log.info(
            "chat_completion",
            prompt_tokens=len(task.prompt),
            cached_tokens=reply.reused_tokens,
            completion_tokens=reply.num_tokens,
            waited_s=round(began - came, 3),
            took_s=round(time.perf_counter() - began, 3),
        )
        body = chat_completion(
            self._model_id, reply, len(task.prompt), logprobs=bool(asked.logprobs)
        )
        return _json(body)

    def _prepare(self, asked: ChatRequest) -> Task:
        """Tokenize a request.

        Raises:
            APIError: If the model is another, or the prompt and the reply do not fit the context.
        """
        if asked.model not in (None, self._model_id):
            message = f"the model {asked.model!r} is not served here, only {self._model_id!r}"
            raise APIError(404, message, code="model_not_found", param="model")
        try:
            prompt = self._template.tokenize(asked.chat)
        except TemplateRefusal as error:
            message = f"messages: the model's chat template refuses them: {error}"
            raise APIError(400, message, param="messages") from error
        room = self._model.context_tokens - len(prompt)
        max_tokens = asked.reply_tokens or max(1, room)
        if not prompt or max_tokens > room:
            raise context_exceeded(self._model.context_tokens, len(prompt), max_tokens)
        top_logprobs = (asked.top_logprobs or 0) if asked.logprobs else None
        return Task(prompt, max_tokens, asked.sampling, asked.stop, top_logprobs)

    def _guarded(
        self, endpoint: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def checked(request: Request) -> Response:
            sent = request.headers.get("authorization", "").removeprefix("Bearer ")
            if self._api_key and not hmac.compare_digest(sent.encode(), self._api_key.encode()):
                raise APIError(401, "the API key is missing or wrong", code="invalid_api_key")
            return await endpoint(request)

        return checked


async def _unless_disconnected(request: Request, work: Awaitable[_T]) -> _T | None:
    """Await work, and cancel it when the client disconnects; then return None."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_wait_for_disconnect(request))
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        leaving.cancel()
        working.cancel()


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _read_json(request: Request) -> Any:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise APIError(413, f"the body has more than {MAX_BODY_BYTES} bytes")
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise APIError(400, f"the body is no JSON: {error}") from error
    except ClientDisconnect as error:
        raise APIError(400, "the client went before its request was read") from error


def _json(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")


async def _answer_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, APIError)
    return _json(error.body(), error.status)


async def _answer_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json(APIError(error.status_code, str(error.detail)).body(), error.status_code)


async def _answer_stopped(_: Request, error: Exception) -> Response:
    return _json(APIError(503, "the server is shutting down").body(), 503)


async def _answer_bug(_: Request, error: Exception) -> Response:
    log.error("judge_failed", error=f"{type(error).__name__}: {error}")
    return _json(APIError(500, "the model could not be evaluated; the log says why").body(), 500)
