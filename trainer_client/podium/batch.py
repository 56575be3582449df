"""Many groups as requests to `POST /rank/batch`, and what has become of each."""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing

import httpx

from podium.errors import ProtocolError, RankError, RequestRefused, Unauthorized, transport_errors
from podium.types import GroupReward, TrajectoryGroup, read_line

MAX_BATCH_BYTES = 60 * 2**20  # the service takes 64 MiB
MAX_BATCH_GROUPS = 256  # what one broken connection can interrupt

Progress = Callable[[int, int], None]


class Board:
    """The groups of one `rank_many`, and what has become of each so far."""

    def __init__(self, groups: Sequence[TrajectoryGroup], on_progress: Progress | None) -> None:
        self.groups = groups
        self.on_progress = on_progress
        self.done: dict[int, GroupReward] = {}

    def settle(self, index: int, answer: GroupReward) -> None:
        """Keep a group's last word and tell whoever watches."""
        is_news = index not in self.done
        self.done[index] = answer
        if is_news and self.on_progress is not None:
            self.on_progress(len(self.done), len(self.groups))

    def encode(self) -> dict[int, bytes]:
        """Every group's JSON by index; a group that has none is settled."""
        texts: dict[int, bytes] = {}
        for index, group in enumerate(self.groups):
            try:
                texts[index] = group.to_json()
            except RequestRefused as error:
                self.settle(index, GroupReward.failed(error))
        return texts

    async def listen(
        self, response: httpx.Response, chunk: Sequence[int], heard: dict[int, GroupReward]
    ) -> None:
        """Fill `heard` line by line; settle each group whose line is final.

        Raises:
            ProtocolError: If a line cannot be understood.
            ServiceUnavailable, DeadlineExceeded: If the stream breaks.
        """
        asked = [self.groups[index] for index in chunk]
        async with aclosing(lines_of(response)) as lines:
            async for line in lines:
                place, answer = read_line(asked, line)
                index = chunk[place]
                if index in heard:
                    detail = f"a second line for index {place}"
                    answer = GroupReward.failed(ProtocolError.about("repeated_line", detail))
                heard[index] = answer
                if answer.error is None or not answer.error.retryable:
                    self.settle(index, answer)


async def lines_of(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The whole lines of the answer as they come; one that lacks its newline was cut off.

    httpx's own `aiter_lines` also splits at U+2028 and the like, which JSON strings may hold.
    """
    rest = b""
    with transport_errors():
        async for piece in response.aiter_bytes():
            *lines, rest = (rest + piece).split(b"\n")
            for line in filter(bytes.strip, lines):
                yield line


def chunks(texts: dict[int, bytes]) -> Iterator[dict[int, bytes]]:
    """Split into requests under both caps; a text over the cap gets a request of its own."""
    chunk: dict[int, bytes] = {}
    size = 0
    for index, text in texts.items():
        if chunk and (size + len(text) > MAX_BATCH_BYTES or len(chunk) == MAX_BATCH_GROUPS):
            yield chunk
            chunk, size = {}, 0
        chunk[index] = text
        size += len(text) + 1
    if chunk:
        yield chunk


def refuses_all(error: RankError, chunk: dict[int, bytes]) -> bool:
    """Whether every other request would be refused, too: not if one large group is at fault."""
    if error.status == 413 and len(chunk) == 1:
        return False
    return isinstance(error, RequestRefused | Unauthorized) and not error.retryable
