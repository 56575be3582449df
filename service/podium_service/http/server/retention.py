"""Delete what the store has kept for long enough, while the service runs."""

import asyncio

import structlog

from podium_service.errors import StoreUnavailable
from podium_service.store.store import SQLStore

_EVERY_S = 3600.0
_ACCOUNT = "retention"
_DAY_S = 86_400.0

log = structlog.get_logger(__name__)


async def prune_regularly(store: SQLStore, days: float, every_s: float = _EVERY_S) -> None:
    """Delete what is older than so many days, once an hour, and a little at a time.

    One process does it for all that share the store.
    """
    while True:
        try:
            if not await store.quotas.count(_ACCOUNT, 1, every_s):
                deleted = await store.prune(days * _DAY_S)
                deleted |= await store.quotas.prune(days * _DAY_S)
                log.info("pruned", older_than_days=days, **deleted)
        except StoreUnavailable as error:
            log.warning("prune_failed", detail=str(error))
        await asyncio.sleep(every_s)
