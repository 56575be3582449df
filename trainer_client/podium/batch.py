"""Split many groups into requests to `POST /rank/batch`, and keep the outcome of each group."""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing

import httpx

from podium.answers import GroupReward, read_line
from podium.errors import ProtocolError, RankError, RequestRefused, Unauthorized, transport_errors
from podium.groups import TrajectoryGroup

# A little less than the service's cap, which is 64 MiB.
MAX_BATCH_BYTES = 60 * 2**20

# A connection that breaks interrupts at most this many groups.
MAX_BATCH_GROUPS = 256

Progress = Callable[[int, int], None]


class PendingGroups:
    """The groups of one `rank_many`, and the outcomes that are final.

    Args:
        groups: the groups.
        on_settled: called with the index and the outcome of each group, once.

    Attributes:
        outcomes: the final outcomes so far, by index of the group.
    """

    def __init__(
        self, groups: Sequence[TrajectoryGroup], on_settled: Callable[[int, GroupReward], None]
    ) -> None:
        self.groups = groups
        self.on_settled = on_settled
        self.outcomes: dict[int, GroupReward] = {}

    def settle(self, index: int, outcome: GroupReward) -> None:
        """Keep the final outcome of a group, and report it."""
        is_new = index not in self.outcomes
        self.outcomes[index] = outcome
        if is_new:
            self.on_settled(index, outcome)

    def encode(self) -> dict[int, bytes]:
        """Return the JSON of each group by index; settle a group that JSON cannot carry."""
        texts: dict[int, bytes] = {}
        for index, group in enumerate(self.groups):
            try:
                texts[index] = group.to_json()
            except RequestRefused as error:
                self.settle(index, GroupReward.from_error(error))
        return texts

    async def read_stream(
        self, response: httpx.Response, chunk: Sequence[int], outcomes: dict[int, GroupReward]
    ) -> None:
        """Fill `outcomes` line by line, and settle each group whose outcome is final.

        Args:
            response: the answer to a batch request, not yet read.
            chunk: the indices of the groups in that request, in its order.
            outcomes: the outcome of each group whose line has come, by index.

        Raises:
            ProtocolError: If a line cannot be understood.
            ServiceUnavailable, DeadlineExceeded: If the stream breaks.
        """
        groups = [self.groups[index] for index in chunk]
        async with aclosing(read_lines(response)) as lines:
            async for line in lines:
                position, outcome = read_line(groups, line)
                index = chunk[position]
                if index in outcomes:
                    detail = f"a second line for index {position}"
                    outcome = GroupReward.from_error(ProtocolError.about("repeated_line", detail))
                outcomes[index] = outcome
                if outcome.error is None or not outcome.error.retryable:
                    self.settle(index, outcome)


async def read_lines(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """Yield the complete lines of the answer as they come; a line without newline was cut off.

    `aiter_lines` of httpx also splits at U+2028, which a JSON string may hold.
    """
    rest = b""
    with transport_errors(response.request):
        async for piece in response.aiter_bytes():
            *lines, rest = (rest + piece).split(b"\n")
            for line in filter(bytes.strip, lines):
                yield line


def split_into_chunks(texts: dict[int, bytes]) -> Iterator[dict[int, bytes]]:
    """Yield requests under both caps; a text over the cap gets a request of its own."""
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
    """Return whether the service would refuse every other request for the same reason.

    A request of one group that is too large says nothing about the others.
    """
    if error.status == 413 and len(chunk) == 1:
        return False
    return isinstance(error, RequestRefused | Unauthorized) and not error.retryable
