"""Everything that ranks, opened together: judges, store, ranker, metrics and tracing."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from starlette.datastructures import State

from podium_service.http.access.api_key import count_request
from podium_service.http.requests.body_memory import MemoryBudget
from podium_service.http.requests.forwarding import Forwarder
from podium_service.judges.registry import JudgeRegistry
from podium_service.ranking.deadline import Deadline
from podium_service.ranking.gathering.rendezvous import Rendezvous
from podium_service.ranking.pipeline import Ranker
from podium_service.schemas import Ranking, RankRequest
from podium_service.store.store import SQLStore, open_store
from podium_service.telemetry.metrics import Metrics
from podium_service.telemetry.tracing import UNTRACED, Tracing


@dataclass(eq=False)
class Service:
    """The parts that the routes need.

    Attributes:
        body_memory: the memory that the bodies of all requests share.
        rendezvous: the groups whose members come one by one.
        gatherer: another worker, which gathers all groups of this service; None if it is this one.
        draining: set when the server is about to stop; readiness is off from then on.
    """

    ranker: Ranker
    store: SQLStore
    metrics: Metrics
    tracing: Tracing = UNTRACED
    body_memory: MemoryBudget = field(default_factory=MemoryBudget)
    rendezvous: Rendezvous = field(default_factory=Rendezvous)
    gatherer: Forwarder | None = None
    draining: bool = False

    async def rank(self, group: RankRequest, state: State) -> Ranking:
        """Count and rank one group for a client; its deadline starts now.

        Args:
            group: it; its body has been read.
            state: of the client's request: the key, and the context that pays.

        Raises:
            PodiumError: If the key has reached a limit, or the group could not be ranked.
        """
        deadline = Deadline.after(group.deadline_s)
        await count_request(state.key, self.store.quotas, self.metrics, deadline)
        return await self.ranker.rank(group, deadline, state.request_context)


def is_set(name: str) -> bool:
    """Return whether a switch of the environment is on; an empty one and `0` are off."""
    return os.environ.get(name, "").strip().lower() not in ("", "0", "false", "no", "off")


@asynccontextmanager
async def open_service(
    config: Path | None,
    store_url: str,
    tracing: Tracing = UNTRACED,
    *,
    gatherer: str | None = None,
    keep_texts: bool | None = None,
) -> AsyncIterator[Service]:
    """Open the judges, the store and the ranker, for a server or for use in this process.

    Args:
        config: the judges file; None for the embedded default.
        store_url: the store.
        tracing: where traces go.
        gatherer: the socket of the worker that gathers groups; None if it is this process.
        keep_texts: whether the store keeps what trajectories and judges say; None: unless the
            environment's PODIUM_NO_TEXTS says that it must not.

    Raises:
        ConfigError: If the judges file or the store is not usable.
    """
    metrics = Metrics()
    kept = not is_set("PODIUM_NO_TEXTS") if keep_texts is None else keep_texts
    async with open_store(store_url, keep_texts=kept) as store:
        judges = JudgeRegistry(config, metrics, store.quotas, tracing)
        try:
            service = Service(Ranker(judges, store, metrics, tracing), store, metrics, tracing)
            async with AsyncExitStack() as stack:
                stack.push_async_callback(service.rendezvous.aclose)
                if gatherer is not None:
                    service.gatherer = Forwarder(gatherer)
                    stack.push_async_callback(service.gatherer.aclose)
                yield service
        finally:
            await judges.aclose()
