"""Pass a request on to another worker of this service, over a socket that only they share."""

import aiohttp
from fastapi import Request
from fastapi.responses import Response
from yarl import URL

from podium_service.errors import Overloaded
from podium_service.http.requests.body import read_bytes
from podium_service.http.requests.disconnect import run_while_connected

_KEPT = ("content-type", "authorization", "host")  # of a request
_RETURNED = ("content-type", "retry-after", "www-authenticate")  # of a response


class Forwarder:
    """Passes requests on, each on a connection of its own, and ends it if the caller leaves.

    Args:
        path: the Unix socket on which the other worker listens.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._session: aiohttp.ClientSession | None = None

    async def forward(self, request: Request, max_bytes: int) -> Response:
        """Return the other worker's response.

        Args:
            request: the request, whose body has not been read.
            max_bytes: the most that the body may be long.

        Raises:
            RequestError: If the body cannot be read.
            Overloaded: If the other worker dies before it answers; another one takes its place.
        """
        body = await read_bytes(request, max_bytes)
        return await run_while_connected(request, self._ask(request, bytes(body)))

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _ask(self, request: Request, body: bytes) -> Response:
        headers = {name: request.headers[name] for name in _KEPT if name in request.headers}
        headers["x-request-id"] = request.state.request_id
        query = request.scope["query_string"].decode("latin-1")
        url = URL(f"http://worker{request.scope['path']}?{query}", encoded=True)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(self._path, limit=0),
                timeout=aiohttp.ClientTimeout(total=None),
            )
        try:
            async with self._session.post(url, data=body, headers=headers) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, OSError) as error:
            raise Overloaded(
                "the worker that gathers groups has ended, and another one starts: send this again",
                retry_after_s=1.0,
            ) from error
        returned = {name: answer.headers[name] for name in _RETURNED if name in answer.headers}
        return Response(content, answer.status, returned)
