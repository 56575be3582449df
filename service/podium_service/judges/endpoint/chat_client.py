"""Send chat completions through the openai client at less cost a call than its own `post`.

`post` copies options, merges headers and parses addresses anew for each request, and the layers
below it stream bodies that are sent and read whole. All of that is equal for every chat completion
of a base URL, so it is done once here. Connections and headers are the client's own, and an error
of aiohttp becomes one of the client's.
"""

from io import BytesIO

import aiohttp
import httpx2
import openai
import orjson
from aiohttp.payload import TOO_LARGE_BYTES_BODY

from podium_service.judges.endpoint.resolver import guarded_transport

# A host that takes no connection is found out early; how long an answer may take is the caller's
# to say, so that aiohttp's five minutes must not hold.
CONNECT_TIMEOUT_S = 10.0
_TIMEOUT = aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_S)


class ChatClient(openai.AsyncOpenAI):
    """An `AsyncOpenAI` for one base URL: no retries, proxies, redirects or timeouts of answers.

    It takes nothing from the environment.
    """

    def __init__(self, base_url: str, api_key: str | None, max_connections: int) -> None:
        self._transport = guarded_transport(max_connections, keepalive_s=4.0)
        http = openai.DefaultAioHttpClient(
            trust_env=False,  # because it may name proxies
            follow_redirects=False,
            timeout=None,  # because the caller keeps the deadline
            transport=self._transport,
        )
        super().__init__(
            base_url=base_url,
            api_key=api_key or "none",
            max_retries=0,
            timeout=None,
            http_client=http,
        )
        # The client reads OPENAI_* variables and would send them to any URL. The last two hold only
        # what the environment gave; a test fails if an upgrade moves these private attributes.
        self.organization = self.project = self.admin_api_key = self.webhook_secret = None
        self._custom_headers = {}
        self._ambient_authorizations = frozenset()
        headers = {**self.default_headers, **self.auth_headers}
        self._request = http.build_request(
            "POST",
            self.base_url.copy_with(raw_path=self.base_url.raw_path + b"chat/completions"),
            headers={name: value for name, value in headers.items() if isinstance(value, str)},
        )
        self._url = str(self._request.url)
        self._headers = {k: v for k, v in self._request.headers.items() if k != "content-length"}

    async def complete(self, content: bytes) -> bytes:
        """Make one chat completion and return the body of the response as it came.

        Raises:
            openai.APIStatusError: On any status but success.
            openai.APIConnectionError: If there was no response.
        """
        if not isinstance(self._transport.client, aiohttp.ClientSession):
            # Before the first request the transport holds only a factory of its session.
            self._transport.client = self._transport.get_client()
        request = self._transport.client.post(
            self._url,
            # A large body is sent as a file, because aiohttp warns of large bytes.
            data=content if len(content) <= TOO_LARGE_BYTES_BODY else BytesIO(content),
            headers=self._headers,
            allow_redirects=False,
            auto_decompress=False,  # because the client's response decompresses
            timeout=_TIMEOUT,
        )
        try:
            async with request as answer:
                body = await answer.read()
                if answer.status == 200 and "content-encoding" not in answer.headers:
                    return body
                response = httpx2.Response(
                    answer.status, headers=answer.raw_headers, content=body, request=self._request
                )
        except (httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
            raise openai.APIConnectionError(request=self._request) from error
        if not response.is_success:
            try:
                error_body = orjson.loads(response.content)
            except orjson.JSONDecodeError:
                error_body = response.text.strip()
            message = f"Error code: {response.status_code}"
            raise self._make_status_error(message, body=error_body, response=response)
        return response.content
