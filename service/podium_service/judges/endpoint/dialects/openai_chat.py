"""Speak OpenAI's chat completions through the openai client, also to Azure's deployments.

Requests are not retried, because the one loop of attempts is in `dispatch.calls`, and their bodies
are not typed, because other servers take other parameters.
"""

from collections.abc import Mapping
from typing import Any

import httpx2
import openai
import orjson

from podium_service.judges.endpoint.dialects.answer_body import read_body
from podium_service.judges.endpoint.dialects.base import Address, FailedAnswer, no_answer
from podium_service.prompts.reply import Reply, read_completion

# Of a request. Left out, the client would copy or draw its defaults anew for each one.
_OPTIONS: Any = {
    "headers": {},
    "max_retries": 0,
    "timeout": None,
    "idempotency_key": "not sent",
    "security": {"bearer_auth": True},
}
_NO_KEY = "none"  # because the client wants one, and some servers want a header


class OpenAIChat:
    """Chat completions at one base URL; of Azure's `model` is the deployment."""

    def __init__(self, address: Address, model: str, http: httpx2.AsyncClient) -> None:
        shared: dict[str, Any] = {
            "api_key": address.api_key or _NO_KEY,
            "max_retries": 0,
            "timeout": None,
            "default_query": dict(address.query),
            "http_client": http,
        }
        self._client: openai.AsyncOpenAI
        if address.api_version is None:
            self._client = _Client(address.headers, base_url=address.base_url, **shared)
        else:
            where = _azure_address(address.base_url, model)
            version = address.api_version
            self._client = _AzureClient(address.headers, api_version=version, **where, **shared)

        # Whole, because the client would parse a path and merge it with its base URL in every call.
        self._url = f"{self._client.base_url}chat/completions"

    async def complete(self, parameters: dict[str, Any]) -> bytes:
        content = orjson.dumps(parameters)
        try:
            answer = await self._client.post(
                self._url, content=content, cast_to=httpx2.Response, options=_OPTIONS
            )
        except openai.APIError as error:
            raise _failure(error) from error
        return answer.content

    def parse(self, content: bytes) -> Reply:
        return read_completion(read_body(content))

    async def list_models(self) -> bytes:
        try:
            return (await self._client.get("/models", cast_to=httpx2.Response)).content
        except openai.APIError as error:
            raise _failure(error) from error

    def parse_models(self, content: bytes) -> list[dict[str, Any]]:
        body = orjson.loads(content)
        entries = body if isinstance(body, list) else body["data"]  # Together's is a list
        return [entry for entry in entries or () if isinstance(entry, dict)]

    async def aclose(self) -> None:
        await self._client.close()


class _OwnHeaders:
    """Send the headers of the judges file, and none that the environment names.

    The client would send what is in OPENAI_CUSTOM_HEADERS, OPENAI_ORG_ID and OPENAI_PROJECT_ID to
    any URL.
    """

    def __init__(self, headers: Mapping[str, str], **settings: Any) -> None:
        self._headers = dict(headers)
        super().__init__(**settings)

    @property
    def default_headers(self) -> dict[str, Any]:
        return {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": "podium",
            **self._headers,
        }


class _Client(_OwnHeaders, openai.AsyncOpenAI):
    pass


class _AzureClient(_OwnHeaders, openai.AsyncAzureOpenAI):
    pass


def _azure_address(base_url: str, model: str) -> dict[str, str]:
    """Return the client's settings for a resource, or for a deployment that the URL names."""
    if "/openai" in base_url:
        return {"base_url": base_url}
    return {"azure_endpoint": base_url, "azure_deployment": model}


def _failure(error: openai.APIError) -> Exception:
    if isinstance(error, openai.APIStatusError):
        response = error.response
        return FailedAnswer(error.status_code, response.headers, response.content)
    return no_answer(error)
