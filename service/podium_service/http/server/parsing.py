"""Parse the bytes of a connection as HTTP/1.1 requests; anything else is a RequestError."""

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from podium_service.errors import HeadersTooLarge, MalformedRequest, PodiumError

MAX_HEAD_BYTES = 65_536


class ParsingProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which ignores wishes to upgrade, and raises typed errors."""

    def parse(self, data: bytes) -> None:
        """Feed the parser, whose callbacks are the `on_...` methods.

        Raises:
            PodiumError: If the data is not HTTP/1.1, or a callback raised it.
        """
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            except httptools.HttpParserError as error:
                if isinstance(error.__context__, PodiumError):  # raised by a callback
                    raise error.__context__ from None
                raise MalformedRequest("this is not HTTP/1.1 as it is written") from None

    def _head_without_upgrade(self) -> bytes:
        """Return the head just read without its `Upgrade` header.

        The server speaks only HTTP/1.1 and may ignore the wish to upgrade. The parser cannot: it
        takes all that follows, even the body, for another protocol.
        """
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])


def require_short_head(num_bytes: int) -> None:
    if num_bytes > MAX_HEAD_BYTES:
        raise HeadersTooLarge(
            "the request's head, trailers or chunk extensions go on: at most "
            f"{MAX_HEAD_BYTES} bytes"
        )
