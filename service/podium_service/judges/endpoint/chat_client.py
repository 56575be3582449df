"""The openai client with a shorter way for its one frequent request.

`post` copies options, merges headers and parses addresses anew for each request, and the layers
below stream what is sent and read whole. All of that is the same for every chat completion of a
base URL, so it is done once here. Connections and headers are the client's own, and what aiohttp
raises becomes an error of the client's.
"""

from io import BytesIO

import aiohttp
import httpx2
import openai
import orjson
from aiohttp.payload import TOO_LARGE_BYTES_BODY

from podium_service.judges.endpoint.resolver import guarded_transport, session_of

_NO_CLOCK = aiohttp.ClientTimeout()  # by default there is one of five minutes


class ChatClient(openai.AsyncOpenAI):
    """An `AsyncOpenAI` for one base URL: no retries, no clock, no proxies, no redirects,
    and nothing from the environment."""

    def __init__(self, base_url: str, api_key: str | None, max_connections: int) -> None:
        self._transport = guarded_transport(max_connections, keepalive_s=4.0)
        http = openai.DefaultAioHttpClient(
            trust_env=False,  # no proxies from the environment
            follow_redirects=False,
            timeout=None,
            transport=self._transport,
        )
        super().__init__(
            base_url=base_url,
            api_key=api_key or "none",
            max_retries=0,
            timeout=None,  # the caller's deadline is the only clock
            http_client=http,
        )
        self._forget_environment()
        given = {**self.default_headers, **self.auth_headers}
        self._chat = http.build_request(
            "POST",
            self.base_url.copy_with(raw_path=self.base_url.raw_path + b"chat/completions"),
            headers={name: value for name, value in given.items() if isinstance(value, str)},
        )
        self._url = str(self._chat.url)
        self._headers = {k: v for k, v in self._chat.headers.items() if k != "content-length"}

    def _forget_environment(self) -> None:
        """Take back what the client has read from OPENAI_* variables and would send to any URL."""
        self.organization = self.project = self.admin_api_key = self.webhook_secret = None
        # Of the environment alone, for we give none. An upgrade may move it: a test says so then.
        self._custom_headers = {}
        self._ambient_authorizations = frozenset()

    async def complete(self, content: bytes) -> bytes:
        """One chat completion: the body of the answer, as it came.

        Raises:
            openai.APIStatusError: On any status but success.
            openai.APIConnectionError: If there was no answer.
        """
        sent = session_of(self._transport).post(
            self._url,
            # aiohttp warns of bytes that are large.
            data=content if len(content) <= TOO_LARGE_BYTES_BODY else BytesIO(content),
            headers=self._headers,
            allow_redirects=False,
            auto_decompress=False,  # a response of the client's does
            timeout=_NO_CLOCK,
        )
        try:
            async with sent as answer:
                body = await answer.read()
                if answer.status == 200 and "content-encoding" not in answer.headers:
                    return body
                response = httpx2.Response(
                    answer.status, headers=answer.raw_headers, content=body, request=self._chat
                )
        except (httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
            raise openai.APIConnectionError(request=self._chat) from error
        if not response.is_success:
            raise _status_error(response)
        return response.content


def _status_error(response: httpx2.Response) -> openai.APIStatusError:
    """As the client would make it."""
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        body = response.text.strip()
    if isinstance(body, dict):
        body = body.get("error", body)
    return openai.APIStatusError(
        f"Error code: {response.status_code}", response=response, body=body
    )
