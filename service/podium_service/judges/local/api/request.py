"""Read the body of a chat completion; what would change the reply and is not supported is refused.

Parameters that are not named here are ignored, as most servers do.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, FiniteFloat, ValidationError
from pydantic_core import PydanticCustomError

from podium_service.judges.local.api.errors import APIError
from podium_service.judges.local.generation.sampling import Sampling

MAX_TOP_LOGPROBS = 20
_SEED_BITS = 64


def _join_parts(content: Any) -> Any:
    """Return the text of a content that is a list of text parts; any other as it is."""
    if content is None:
        return ""
    if not isinstance(content, list):
        return content
    parts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
    if len(parts) < len(content) or any(not isinstance(part.get("text"), str) for part in parts):
        raise PydanticCustomError("content", "content must be a text, or a list of text parts")
    return "".join(part["text"] for part in parts)


def _as_list(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop or []


class Message(BaseModel):
    """One message; `developer` is the newer name of `system`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_join_parts)] = ""


class ChatRequest(BaseModel):
    """The parameters of a chat completion.

    The temperature is 0 unless set, because a judge that is asked twice should say the same.
    """

    model: str | None = None
    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[FiniteFloat, Field(ge=0, le=2)] | None = None
    top_p: Annotated[FiniteFloat, Field(gt=0, le=1)] | None = None
    seed: int | None = None
    stop: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        Field(max_length=16),
        BeforeValidator(_as_list),
    ] = []
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    n: int | None = None
    stream: bool | None = None
    response_format: Any = None
    tools: Any = None
    functions: Any = None
    logit_bias: Any = None
    presence_penalty: FiniteFloat | None = None
    frequency_penalty: FiniteFloat | None = None

    @property
    def reply_tokens(self) -> int | None:
        """Most tokens of the reply; None for all that the context has room for."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def sampling(self) -> Sampling:
        """The temperature, the cut at `top_p`, and the seed."""
        seed = None if self.seed is None else self.seed % (1 << _SEED_BITS)
        top_p = 1.0 if self.top_p is None else self.top_p
        return Sampling(self.temperature or 0.0, top_p, seed)

    @property
    def chat(self) -> list[dict[str, str]]:
        """The messages as a chat template takes them."""
        return [
            {
                "role": "system" if each.role == "developer" else each.role,
                "content": each.content,
            }
            for each in self.messages
        ]


def parse_request(body: Any) -> ChatRequest:
    """Validate a body.

    Raises:
        APIError: 400 that names the parameter at fault.
    """
    try:
        request = ChatRequest.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "the body"
        raise APIError(400, f"{name}: {first['msg']}", param=name) from error
    _refuse_unsupported(request)
    return request


def _refuse_unsupported(request: ChatRequest) -> None:
    if request.stream:
        raise APIError(400, "stream: true is not supported: leave it out", param="stream")
    if request.n not in (None, 1):
        raise APIError(400, f"n: {request.n} is not supported: ask {request.n} times", param="n")
    form = request.response_format
    kind = form.get("type") if isinstance(form, dict) else form
    if kind not in (None, "text"):
        raise APIError(
            400,
            f"response_format {kind} is not supported: describe the form in the prompt",
            param="response_format",
        )
    if request.top_logprobs is not None and not request.logprobs:
        raise APIError(400, "top_logprobs needs logprobs: true", param="top_logprobs")
    for name in ("tools", "functions", "logit_bias", "presence_penalty", "frequency_penalty"):
        if getattr(request, name):
            raise APIError(400, f"{name} is not supported: leave it out", param=name)
