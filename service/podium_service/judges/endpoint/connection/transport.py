"""Carry the requests of an httpx2 client over aiohttp, which takes a third of the time.

The openai client has such a transport, too, but gives it no resolver. So this one keeps calls away
from link-local addresses. Requests and answers are read whole, and a redirect is an answer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from ssl import SSLContext

import aiohttp
import httpx2

from podium_service.judges.endpoint.connection.direct_client import DirectClient
from podium_service.judges.endpoint.connection.network import find_proxy, trusted_certificates
from podium_service.judges.endpoint.connection.resolver import LinkLocalGuard

# A host that takes no connection is found out early; how long an answer may take is the caller's
# to say, so that aiohttp's five minutes must not hold.
CONNECT_TIMEOUT_S = 10.0
KEEPALIVE_S = 4.0
_TIMEOUT = aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_S)
_MAX_BYTES = 2**20  # aiohttp warns of larger bytes, which it would rather have as a file
# Gateways send policies and costs in headers; aiohttp would take 8 KiB of one, and 128 of them.
_MAX_HEADER_BYTES, _MAX_HEADERS = 2**16, 1024
# An error of aiohttp is the first of these that fits.
_ERRORS: list[tuple[type[Exception], type[httpx2.TransportError]]] = [
    (aiohttp.ConnectionTimeoutError, httpx2.ConnectTimeout),
    (aiohttp.ClientProxyConnectionError, httpx2.ConnectError),
    (aiohttp.ClientHttpProxyError, httpx2.ProxyError),
    (aiohttp.ClientConnectorError, httpx2.ConnectError),
    (aiohttp.InvalidURL, httpx2.UnsupportedProtocol),
    (aiohttp.ServerTimeoutError, httpx2.ReadTimeout),
    (aiohttp.ClientError, httpx2.ReadError),
    (OSError, httpx2.ReadError),
]


def open_client(base_url: str, ca_file: str | None, max_connections: int) -> httpx2.AsyncClient:
    """Return an HTTP client for one base URL: no redirects, cookies or timeouts of answers.

    Raises:
        OSError: If there are no certificates where the settings or the environment name some.
    """
    proxy = find_proxy(base_url)
    return DirectClient(AiohttpTransport(trusted_certificates(ca_file), proxy, max_connections))


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """The connections to one base URL, directly or through the proxy at `proxy`."""

    def __init__(self, certificates: SSLContext, proxy: str | None, max_connections: int) -> None:
        self._certificates = certificates
        self._proxy = proxy
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request and read the answer whole.

        Raises:
            httpx2.TransportError: If there is none; its `__cause__` is aiohttp's.
        """
        if self._session is None:
            self._session = self._open_session()
        content = request.read()
        headers = [(name.decode(), value.decode()) for name, value in request.headers.raw]
        with _mapped_errors(request):
            async with self._session.request(
                request.method,
                str(request.url),
                data=content if len(content) <= _MAX_BYTES else BytesIO(content),
                headers=headers,
                proxy=self._proxy,
                allow_redirects=False,
                auto_decompress=False,  # because the response below decompresses
                timeout=_TIMEOUT,
            ) as answer:
                body = await answer.read()
        return httpx2.Response(
            answer.status, headers=answer.raw_headers, content=body, request=request
        )

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._max_connections,
            keepalive_timeout=KEEPALIVE_S,
            ssl=self._certificates,
            resolver=LinkLocalGuard(),
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "gzip, deflate"},  # what httpx2 surely decompresses
            max_field_size=_MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
        )


@contextmanager
def _mapped_errors(request: httpx2.Request) -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, OSError) as error:
        mapped = next(ours for theirs, ours in _ERRORS if isinstance(error, theirs))
        raise mapped(str(error), request=request) from error
