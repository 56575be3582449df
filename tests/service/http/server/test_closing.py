"""A response to a client that has left is dropped, and is no error."""

import asyncio
from weakref import WeakMethod

from podium_service.http.server.closing import ResponseTransport


class Handle(asyncio.Transport):
    """A transport as uvloop's: once it is closed, a write raises."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_closed:
            raise RuntimeError("the handler is closed")
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True


def test_a_write_after_the_client_has_left_is_dropped() -> None:
    handle = Handle()
    wrapped = ResponseTransport(handle, WeakMethod(handle.close))
    wrapped.write(b"in time")
    handle.close()
    wrapped.write(b"too late")
    assert handle.written == [b"in time"]
