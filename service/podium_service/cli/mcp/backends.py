"""Rank for `podium mcp`: in this process, or by a running service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import anyio

from podium.client import AsyncRankClient
from podium_service.cli.commands.store import read_replay
from podium_service.cli.remote import (
    client_errors,
    client_group,
    judges_remotely,
    ranking_remotely,
)
from podium_service.errors import InvalidRequest, NotFound
from podium_service.evaluation.stored.explain import Words, explain_calls
from podium_service.http.requests.body import validate
from podium_service.http.service import Service, open_service
from podium_service.schemas import RankRequest


class Backend(Protocol):
    """The operations that the tools need; every method raises a PodiumError or a RankError."""

    async def rank(self, group: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        """Return the ranking of a group, as JSON values."""

    async def read(self, ranking_id: str) -> dict[str, Any]:
        """Return a past ranking, as JSON values."""

    async def explain(self, ranking_id: str) -> list[Words]:
        """Ask the judge why it ranked as it did."""

    async def judges(self) -> list[dict[str, Any]]:
        """Return the judges as `GET /judges` lists them."""

    def page(self, ranking_id: str) -> str | None:
        """Return the address of a ranking's page; None if no service shows it."""


class LocalBackend:
    """Rank in this process, with a judges file and a store."""

    def __init__(self, service: Service, store_url: str) -> None:
        self._service = service
        self._store_url = store_url

    async def rank(self, group: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        request = validate(RankRequest, {**group, "deadline_s": deadline_s})
        return (await self._service.ranker.rank(request)).model_dump()

    async def read(self, ranking_id: str) -> dict[str, Any]:
        past = await read_replay(self._service.store, ranking_id, self._store_url)
        if past.detail.ranking is None:
            raise NotFound(f"group {ranking_id!r} could not be ranked: {past.detail.summary.code}")
        return past.detail.ranking.model_dump()

    async def explain(self, ranking_id: str) -> list[Words]:
        service = self._service
        past = await read_replay(service.store, ranking_id, self._store_url)
        judges, quotas = service.ranker.judges, service.store.quotas
        return await explain_calls(judges, service.metrics, past, quotas=quotas)

    async def judges(self) -> list[dict[str, Any]]:
        return await self._service.ranker.judges.describe()

    def page(self, ranking_id: str) -> str | None:
        return None


class RemoteBackend:
    """Rank by a running service."""

    def __init__(self, url: str, api_key: str | None) -> None:
        self._url, self._key = url, api_key
        with client_errors():
            self._client = AsyncRankClient(url, api_key=api_key)

    async def rank(self, group: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        validate(RankRequest, group)
        outcome = await self._client.rank(client_group(group), deadline_s=deadline_s)
        assert outcome.ranking is not None
        return outcome.ranking.model_dump()

    async def read(self, ranking_id: str) -> dict[str, Any]:
        return await anyio.to_thread.run_sync(ranking_remotely, self._url, self._key, ranking_id)

    async def explain(self, ranking_id: str) -> list[Words]:
        raise InvalidRequest(
            "ask_judge: a service has no route for it: run podium explain where its store is"
        )

    async def judges(self) -> list[dict[str, Any]]:
        return await anyio.to_thread.run_sync(judges_remotely, self._url, self._key)

    def page(self, ranking_id: str) -> str | None:
        return self._client.page(ranking=ranking_id)


@asynccontextmanager
async def open_backend(
    service: str | None, api_key: str | None, config: Path | None, store: str
) -> AsyncIterator[Backend]:
    """Open the backend that the options of the command name.

    Raises:
        ConfigError: If the URL, the judges file or the store is not usable.
    """
    if service:
        yield RemoteBackend(service, api_key)
        return
    async with open_service(config, store) as opened:
        yield LocalBackend(opened, store)
