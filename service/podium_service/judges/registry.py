"""The judges at work: the config file's, rebuilt when it changes, without dropping a request."""

import asyncio
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import structlog

from podium_service.errors import ConfigError, JudgeError, UnknownJudge
from podium_service.judges import judges_file
from podium_service.judges.dispatch.calls import Shared
from podium_service.judges.endpoint.endpoint import ContextOverflow, Endpoint, ParameterRejected
from podium_service.judges.judges_file import AnyJudge, Config
from podium_service.judges.llm_judge import EndpointJudge, Judge
from podium_service.judges.settings import ChecksJudge, JuryJudge, LLMJudge
from podium_service.telemetry.metrics import Metrics
from podium_service.telemetry.tracing import UNTRACED, Tracing

RELOAD_POLL_S = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Roster:
    """One reading of the file. A request keeps its roster to the end, whatever is read meanwhile.

    `llms` holds the judges that are more than their config, by name.
    """

    config: Config
    llms: dict[str, Judge]

    def chain(self, name: str | None) -> list[str]:
        """The judges to ask in turn for a request that names `name`.

        Raises:
            UnknownJudge: If the file has none of that name.
        """
        name = name or self.config.default_judge
        if name not in self.config.judges:
            known = ", ".join(self.config.judges)
            raise UnknownJudge(
                f"judge {name[:64]!r} is not configured: use one of {known}",
                fields=[{"field": "judge", "rule": f"one of {known}"}],
            )
        return self.config.chain(name)

    def num_slow(self, names: Sequence[str]) -> int:
        """How many of these judges need a share of the deadline: all but checks; at least 1."""
        kinds = (self.config.judges[name] for name in names)
        return max(1, sum(not isinstance(judge, ChecksJudge) for judge in kinds))


class JudgeRegistry:
    """Holds the current roster and replaces it when the file changes.

    Raises:
        ConfigError: From the constructor, if the file is not usable.
    """

    def __init__(
        self,
        path: Path | None,
        metrics: Metrics,
        quotas: Shared | None = None,
        tracing: Tracing = UNTRACED,
    ) -> None:
        self._path = path
        self._metrics = metrics
        self._quotas = quotas
        self._tracing = tracing
        self._retired: list[weakref.finalize[..., EndpointJudge]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._stamp = _stamp(path)
        self._live: dict[str, EndpointJudge] = {}
        self.roster = self._build(judges_file.load(path))

    def reload(self) -> None:
        """Read the file again; a bad one is refused with a log line and the old roster stays."""
        try:
            loaded = judges_file.load(self._path)
        except ConfigError as error:
            log.error("config_refused", detail=str(error))
            return
        self.roster = self._build(loaded)
        log.info("config_loaded", judges=list(loaded.judges))

    async def watch(self) -> None:
        """Reload whenever the file changes, for ever."""
        while True:
            await asyncio.sleep(RELOAD_POLL_S)
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._stamp = stamp
                self.reload()

    async def aclose(self) -> None:
        detached = (finalizer.detach() for finalizer in self._retired)
        judges = [*self._live.values(), *(found[0] for found in detached if found)]
        await asyncio.gather(*(judge.aclose() for judge in judges))
        await asyncio.gather(*self._closing)

    async def report(self) -> list[dict[str, Any]]:
        """What is configured, without secrets, and whether each judge answers now."""
        roster = self.roster
        configured = roster.config.judges.items()
        described = (self._describe(roster, name, judge) for name, judge in configured)
        return list(await asyncio.gather(*described))

    def _build(self, loaded: Config) -> Roster:
        """Judges whose settings did not change go on with what they have learnt."""
        old, self._live = self._live, {}
        for name, judge in loaded.judges.items():
            if isinstance(judge, LLMJudge):
                kept = old.get(name)
                same = kept is not None and kept.config == judge
                self._live[name] = (
                    kept
                    if kept and same
                    else EndpointJudge(name, judge, self._metrics, self._quotas, self._tracing)
                )
        live = self._live.values()
        for known in old.values():
            if known not in live:
                self._retire(known)
        for each in live:  # after the retired ones, which may have had the same endpoints
            each.report()
        return Roster(loaded, dict(self._live))

    def _retire(self, judge: EndpointJudge) -> None:
        """Close a judge once nobody can ask it any more. That is when nobody holds it: rosters of
        requests do, and those who wait for what another request has asked it."""
        judge.retire()
        # Where it was in a cycle, the collector may find it in any thread.
        in_loop = asyncio.get_running_loop().call_soon_threadsafe
        finalizer = weakref.finalize(judge, in_loop, self._close, judge.endpoints)
        finalizer.atexit = False
        self._retired = [each for each in self._retired if each.alive] + [finalizer]

    def _close(self, endpoints: Sequence[Endpoint]) -> None:
        for endpoint in endpoints:
            task = asyncio.create_task(endpoint.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _describe(self, roster: Roster, name: str, judge: AnyJudge) -> dict[str, Any]:
        settings = judge.model_dump(mode="json", exclude_none=True, by_alias=True)
        described = {"name": name, "default": name == roster.config.default_judge, **settings}
        if isinstance(judge, ChecksJudge):
            return {**described, "answers": True, "endpoints": []}
        if isinstance(judge, LLMJudge) and judge.method != "auto":
            described["passes"] = judge.passes_for(judge.method).model_dump(exclude_none=True)
        names = judge.members if isinstance(judge, JuryJudge) else [name]
        asked = [self._live[each].endpoints for each in names if each in self._live]
        probed = [await _probe_all(endpoints) for endpoints in asked]
        answering = sum(any(each["answers"] for each in endpoints) for endpoints in probed)
        needed = judge.needed if isinstance(judge, JuryJudge) else 1
        return {
            **described,
            "answers": answering >= needed,
            "endpoints": [endpoint for endpoints in probed for endpoint in endpoints],
        }


async def _probe_all(endpoints: Sequence[Endpoint]) -> list[dict[str, Any]]:
    return list(await asyncio.gather(*(_probe(endpoint) for endpoint in endpoints)))


async def _probe(endpoint: Endpoint) -> dict[str, Any]:
    started = perf_counter()
    try:
        listed = await endpoint.models()
    except (JudgeError, ParameterRejected, ContextOverflow) as error:
        return {"base_url": endpoint.base_url, "answers": False, "detail": str(error)}
    return {
        "base_url": endpoint.base_url,
        "answers": True,
        "latency_ms": round(1000 * (perf_counter() - started), 1),
        "models": [str(entry.get("id")) for entry in listed][:20],
    }


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """Changes when the file does; None while there is none."""
    try:
        stat = path.stat() if path else None
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino) if stat else None
