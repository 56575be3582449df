"""Send plain HTTP requests with JSON bodies, for APIs that need no client of their own."""

from collections.abc import Mapping
from typing import Any

import httpx2
import orjson

from podium_service.judges.endpoint.dialects.base import Address, FailedAnswer, no_answer


class PlainHTTP:
    """Requests below one base URL; `headers` are the API's own, which the judges file replaces."""

    def __init__(
        self, address: Address, http: httpx2.AsyncClient, headers: Mapping[str, str]
    ) -> None:
        self._http = http
        self._base_url = address.base_url.rstrip("/")
        self._query = dict(address.query)
        common = {"Content-Type": "application/json", "User-Agent": "podium"}
        self._headers = {**common, **headers, **address.headers}

    async def post(self, path: str, body: dict[str, Any]) -> bytes:
        """Return the body of the answer; raises as `Dialect.complete` does."""
        return await self._request("POST", path, orjson.dumps(body), {})

    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        """Return the body of the answer; raises as `Dialect.complete` does."""
        return await self._request("GET", path, None, query)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _request(
        self, method: str, path: str, content: bytes | None, query: Mapping[str, str]
    ) -> bytes:
        try:
            answer = await self._http.request(
                method,
                f"{self._base_url}/{path}",
                content=content,
                params={**query, **self._query},
                headers=self._headers,
            )
        except httpx2.HTTPError as error:
            raise no_answer(error) from error
        if not answer.is_success:
            raise FailedAnswer(answer.status_code, answer.headers, answer.content)
        return answer.content


def data_of(url: str) -> tuple[str, str] | None:
    """Return the media type and the base64 of a `data:` URL; None for any other URL."""
    head, comma, data = url.partition(",")
    if not comma or not head.lower().startswith("data:") or not head.lower().endswith(";base64"):
        return None
    return head[len("data:") :].partition(";")[0], data


def parts_of(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the content of a chat message as a list of parts."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
