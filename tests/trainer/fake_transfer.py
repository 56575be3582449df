"""Take weights in a fake vLLM server, by vLLM's API of weight transfer and a real gloo group."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from podium.weights.bucket import Layout
from podium.weights.link import Link, LinkError, Meeting, join

Wire = dict[str, Any]
Answer = tuple[int, object]
DONE: Answer = (200, {"message": "done"})


def failed(reason: str) -> Answer:
    """Return what vLLM answers when a call fails in a worker."""
    return 500, {"error": {"message": reason, "type": "InternalServerError", "code": 500}}


class FakeTransfer:
    """The workers of a server, as far as they take weights.

    Args:
        name: sets the label of the server's weights.
        num_workers: how many there are, all in this process.

    Attributes:
        loaded: by worker, the weights of the last update that was finished.
        num_meetings: how often a trainer has joined.
        is_updating: whether an update is on.
    """

    def __init__(self, name: Callable[[str], None], num_workers: int = 1) -> None:
        self.num_workers = num_workers
        self.loaded: list[dict[str, Tensor]] = []
        self.num_meetings = 0
        self.is_updating = False
        self._name = name
        self._links: list[Link] = []
        self._received: list[dict[str, Tensor]] = []

    @property
    def routes(self) -> dict[str, Callable[[Wire], Awaitable[Answer]]]:
        """The calls that it answers, by their paths."""
        return {
            "/init_weight_transfer_engine": self._init,
            "/start_weight_update": self._start,
            "/update_weights": self._update,
            "/finish_weight_update": self._finish,
            "/shutdown_weight_transfer_engine": self._shutdown,
        }

    def die(self) -> None:
        """Break the links as the end of a process does."""
        self._leave()
        self.is_updating = False

    def _leave(self) -> None:
        for link in self._links:
            link.abort()
        self._links = []

    async def _init(self, body: Wire) -> Answer:
        self._leave()
        meeting = Meeting(**body["init_info"])
        assert meeting.num_ranks == 1 + self.num_workers
        ranks, cpu = range(1, meeting.num_ranks), torch.device("cpu")
        joins = [partial(join, meeting, rank, cpu) for rank in ranks]
        self._links = list(await asyncio.gather(*map(asyncio.to_thread, joins)))
        self.num_meetings += 1
        return DONE

    async def _start(self, body: Wire) -> Answer:
        if self.is_updating:
            return failed("start_weight_update called while a weight update is already active.")
        self.is_updating = True
        self._received = [{} for _ in range(self.num_workers)]
        return DONE

    async def _update(self, body: Wire) -> Answer:
        if not self.is_updating:
            return failed("start_weight_update must be called before update_weights.")
        try:
            layout = Layout(**body["update_info"])
            receives = [partial(link.receive, layout.num_bytes) for link in self._links]
            parts = await asyncio.gather(*map(asyncio.to_thread, receives))
        except (TypeError, LinkError) as error:
            self.is_updating = False
            if isinstance(error, LinkError):
                self._leave()
            return failed(str(error))
        for received, data in zip(self._received, parts, strict=True):
            received |= dict(layout.views(data))
        return DONE

    async def _finish(self, body: Wire) -> Answer:
        if not self.is_updating:
            return failed("finish_weight_update called without a matching start_weight_update.")
        self.is_updating = False
        self.loaded = self._received
        self._name(body["weight_version"])
        return DONE

    async def _shutdown(self, body: Wire) -> Answer:
        self._leave()
        return DONE
