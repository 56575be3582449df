"""Everything that ranks, opened together: judges, store, ranker, metrics and tracing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from podium_service.http.body_memory import MemoryBudget
from podium_service.judges.registry import JudgeRegistry
from podium_service.ranking.pipeline import Ranker
from podium_service.store.store import SQLStore, open_store
from podium_service.telemetry.metrics import Metrics
from podium_service.telemetry.tracing import UNTRACED, Tracing


@dataclass(eq=False)
class Service:
    """The parts that the routes need.

    Attributes:
        body_memory: the memory that the bodies of all requests share.
        draining: set when the server is about to stop; readiness is off from then on.
    """

    ranker: Ranker
    store: SQLStore
    metrics: Metrics
    tracing: Tracing = UNTRACED
    body_memory: MemoryBudget = field(default_factory=MemoryBudget)
    draining: bool = False


@asynccontextmanager
async def open_service(
    config: Path | None, store_url: str, tracing: Tracing = UNTRACED
) -> AsyncIterator[Service]:
    """Open the judges, the store and the ranker, for a server or for use in this process.

    Raises:
        ConfigError: If the judges file or the store is not usable.
    """
    metrics = Metrics()
    async with open_store(store_url) as store:
        judges = JudgeRegistry(config, metrics, store.quotas, tracing)
        try:
            yield Service(Ranker(judges, store, metrics, tracing), store, metrics, tracing)
        finally:
            await judges.aclose()
