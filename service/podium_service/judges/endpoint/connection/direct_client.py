"""An HTTP client that does for a request what a judge needs, and nothing else.

`httpx2.AsyncClient` parses each address several times, merges headers, and looks for redirects,
cookies, hooks and credentials in a `.netrc`. That takes half as long as the request itself.
"""

from functools import lru_cache
from typing import Any

import httpx2

_parse_url = lru_cache(maxsize=256)(httpx2.URL)


class DirectClient(httpx2.AsyncClient):
    """A client whose requests go to a transport as they are; a redirect is an answer.

    The transport adds the headers that only it can know, and returns answers that have been read.
    """

    def __init__(self, transport: httpx2.AsyncBaseTransport) -> None:
        super().__init__(
            transport=transport,
            timeout=None,  # because the caller keeps the deadline
            trust_env=False,  # because the transport has read what counts
        )
        self._direct = transport

    def build_request(
        self,
        method: str,
        url: httpx2.URL | str,
        *,
        content: Any = None,
        params: Any = None,
        headers: Any = None,
        **_: Any,
    ) -> httpx2.Request:
        """Return a request with a body of bytes, or with none."""
        address = _parse_url(url) if isinstance(url, str) else url
        body = httpx2.ByteStream(content or b"")
        return httpx2.Request(method, address, params=params or None, headers=headers, stream=body)

    async def send(self, request: httpx2.Request, **_: Any) -> httpx2.Response:
        """Send a request; raises as the transport does."""
        return await self._direct.handle_async_request(request)
