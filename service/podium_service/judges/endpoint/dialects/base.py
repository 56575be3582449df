"""What every API of an endpoint can be asked, and how it fails.

To add an API: write its `Dialect` in a file of its own, with requests made out of those of OpenAI's
chat completions and replies as `Reply`; name it in `settings.connection.API`; and enter it in
`DIALECTS` in `choice`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx2

from podium_service.prompts.reply import Reply


@dataclass(frozen=True, slots=True)
class Address:
    """The URL of an endpoint, and the parts that all requests to it share.

    Attributes:
        base_url: up to and including the API's version.
        api_key: the secret to send; None to send none.
        headers, query: sent with every request, beside the API's own.
        api_version: Azure's, for its form of addresses; None for any other endpoint.
    """

    base_url: str
    api_key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    api_version: str | None = None


class Dialect(Protocol):
    """One API at one base URL."""

    async def complete(self, parameters: dict[str, Any]) -> bytes:
        """Make one call and return the body of the answer.

        Args:
            parameters: the call as the body of one of OpenAI's chat completions. A message that
                shows images has a list of parts, of the types text and image_url, as its content.

        Raises:
            FailedAnswer: On any status but success.
            NoAnswer: If there was no answer.
        """
        ...

    def parse(self, content: bytes) -> Reply:
        """Parse the body of an answer; raises as `prompts.reply.read_completion` does."""
        ...

    async def list_models(self) -> bytes:
        """Return the body of the list of models; raises as `complete` does."""
        ...

    def parse_models(self, content: bytes) -> list[dict[str, Any]]:
        """Return the entries of a list of models, each with an `id`; raises as `parse` does."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


class FailedAnswer(Exception):
    """An answer whose status is no success."""

    def __init__(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.headers = headers
        self.content = content


class NoAnswer(Exception):
    """No answer came; `was_sent` tells whether the call may have been made all the same."""

    def __init__(self, detail: str, *, was_sent: bool) -> None:
        super().__init__(detail)
        self.was_sent = was_sent


# Without a connection nothing was sent, so nothing can have been paid.
_UNSENT = (
    httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.UnsupportedProtocol,
)  # fmt: skip


def no_answer(error: BaseException) -> NoAnswer:
    """Return the failure that an error of an HTTP client stands for, in the words of its cause."""
    causes = [error]
    while cause := causes[-1].__cause__:  # a refused connection is wrapped several times
        causes.append(cause)
    was_sent = not any(isinstance(each, _UNSENT) for each in causes)
    words = " ".join(str(causes[-1]).split())
    return NoAnswer(f"{type(causes[-1]).__name__}: {words}", was_sent=was_sent)
