"""Look up the judges of the judges file; they are rebuilt when it changes.

No change drops a request: a request keeps the `Roster` that it started with, and a judge that the
file no longer names is closed once no request holds it.
"""

import asyncio
import difflib
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, time
from typing import Any
from urllib.parse import urlsplit

import structlog

from podium_service.errors import ConfigError, JudgeError, UnknownJudge
from podium_service.judges import judges_file
from podium_service.judges.endpoint.context_length import means
from podium_service.judges.endpoint.endpoint import Endpoint
from podium_service.judges.endpoint.errors import ContextOverflow, ParameterRejected
from podium_service.judges.judges_file import Config
from podium_service.judges.llm_judge import EndpointJudge
from podium_service.judges.settings import ChecksJudge, JuryJudge, LLMJudge
from podium_service.judges.settings.secrets import dump_without_secrets
from podium_service.store.quotas.quota_service import QuotaService
from podium_service.telemetry.metrics import Metrics
from podium_service.telemetry.tracing import UNTRACED, Tracing

RELOAD_POLL_S = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Roster:
    """The judges of one reading of the file; `llms` are those that call endpoints, by name."""

    config: Config
    llms: dict[str, EndpointJudge]

    def chain(self, name: str | None) -> list[str]:
        """Return the judges to ask in turn for a request that names `name`, or the default."""
        name = name or self.config.default_judge
        if name not in self.config.judges:
            names = ", ".join(self.config.judges)
            raise UnknownJudge(
                f"judge {name[:64]!r} is not configured: use one of {names}",
                fields=[{"field": "judge", "rule": f"one of {names}"}],
            )
        return self.config.chain(name)

    def num_slow(self, names: Sequence[str]) -> int:
        """Count the judges that need a share of the deadline: all but checks, and at least 1."""
        kinds = (self.config.judges[name] for name in names)
        return max(1, sum(not isinstance(judge, ChecksJudge) for judge in kinds))


@dataclass(frozen=True)
class Refusal:
    """The reason why the file is not in use as it is now; `at` is in seconds since the epoch."""

    at: float
    detail: str


class JudgeRegistry:
    """The current roster, which is replaced when the file changes.

    Attributes:
        path: of the file; None for the embedded default.
        loaded_at: when the roster's config was read, in seconds since the epoch.
        refusal: why a newer state of the file is not in use; None if the newest is.
    """

    def __init__(
        self,
        path: Path | None,
        metrics: Metrics,
        quotas: QuotaService | None = None,
        tracing: Tracing = UNTRACED,
    ) -> None:
        """Read the file, or raise ConfigError."""
        self.path = path
        self._metrics = metrics
        self._quotas = quotas
        self._tracing = tracing
        self._retired: list[weakref.finalize[..., EndpointJudge]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._stamp = _read_stamp(path)
        self.refusal: Refusal | None = None
        self.loaded_at = time()
        self.roster = self._build(judges_file.load(path), {})

    def reload(self) -> None:
        """Read the file again, or log why it is refused and keep the old roster."""
        try:
            config = judges_file.load(self.path)
        except ConfigError as error:
            self.refusal = Refusal(time(), str(error))
            log.error("config_refused", detail=str(error))
            return
        self.use(config)
        log.info("config_loaded", judges=list(config.judges))

    def use(self, config: Config) -> None:
        """Replace the roster by that of a config; unchanged judges keep their state."""
        self.roster = self._build(config, self.roster.llms)
        self.loaded_at, self.refusal = time(), None

    async def watch(self) -> None:
        """Reload the file whenever it changes, until cancelled."""
        while True:
            await asyncio.sleep(RELOAD_POLL_S)
            stamp = _read_stamp(self.path)
            if stamp != self._stamp:
                self._stamp = stamp
                self.reload()

    async def aclose(self) -> None:
        """Close all judges, retired ones included."""
        detached = (finalizer.detach() for finalizer in self._retired)
        judges = [*self.roster.llms.values(), *(parts[0] for parts in detached if parts)]
        await asyncio.gather(*(judge.aclose() for judge in judges))
        await asyncio.gather(*self._closing)

    async def describe(self) -> list[dict[str, Any]]:
        """Return each judge's settings, without secrets, and whether it answers now."""
        config = self.roster.config
        described = (self._describe(config, name) for name in config.judges)
        return list(await asyncio.gather(*described))

    def _build(self, config: Config, old: dict[str, EndpointJudge]) -> Roster:
        """Return the roster of a config; old judges with unchanged settings keep their state."""
        llms: dict[str, EndpointJudge] = {}
        for name, settings in config.judges.items():
            if isinstance(settings, LLMJudge):
                judge = old.get(name)
                if judge is None or judge.config != settings:
                    services = (self._metrics, self._quotas, self._tracing)
                    judge = EndpointJudge(name, settings, *services)
                    for url in settings.completed_urls:
                        log.warning("base_url_completed", judge=name, base_url=url)
                llms[name] = judge
        for judge in old.values():
            if judge not in llms.values():
                self._retire(judge)
        # After the retired ones, because their gauges may be those of the same endpoint.
        for judge in llms.values():
            judge.queues.report()
        return Roster(config, llms)

    def _retire(self, judge: EndpointJudge) -> None:
        """Close a judge once it is garbage, because until then a request may still ask it.

        Rosters hold it, and requests that wait for an answer which another request asked it for.
        """
        judge.queues.retire()
        # Thread-safe, because the collector may free a judge in a cycle from any thread.
        in_loop = asyncio.get_running_loop().call_soon_threadsafe
        finalizer = weakref.finalize(judge, in_loop, self._close, judge.endpoints)
        finalizer.atexit = False
        self._retired = [each for each in self._retired if each.alive] + [finalizer]

    def _close(self, endpoints: Sequence[Endpoint]) -> None:
        for endpoint in endpoints:
            task = asyncio.create_task(endpoint.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _describe(self, config: Config, name: str) -> dict[str, Any]:
        judge = config.judges[name]
        is_default = name == config.default_judge
        description = {"name": name, "default": is_default, **dump_without_secrets(judge)}
        if isinstance(judge, ChecksJudge):
            return {**description, "answers": True, "endpoints": []}
        if isinstance(judge, LLMJudge) and judge.method != "auto":
            description["passes"] = judge.passes_for(judge.method).model_dump(exclude_none=True)
        names = judge.members if isinstance(judge, JuryJudge) else [name]
        llms = [self.roster.llms[each] for each in names if each in self.roster.llms]
        probes = [
            await asyncio.gather(*(_probe(each, llm.config) for each in llm.endpoints))
            for llm in llms
        ]
        num_answering = sum(any(each["answers"] for each in probed) for probed in probes)
        needed = judge.needed if isinstance(judge, JuryJudge) else 1
        return {
            **description,
            "answers": num_answering >= needed,
            "endpoints": [endpoint for probed in probes for endpoint in probed],
        }


async def _probe(endpoint: Endpoint, config: LLMJudge) -> dict[str, Any]:
    """Ask an endpoint for its models and return whether it answered, and whether it has ours."""
    started, url, model = perf_counter(), endpoint.base_url, config.model
    path = url.rpartition("/")[2]
    added = f" (/{path} was added to the URL)" if url in config.completed_urls else ""
    try:
        listed = await endpoint.models()
    except (JudgeError, ParameterRejected, ContextOverflow) as error:
        return {"base_url": url, "answers": False, "detail": f"{error}{added}"}
    names = [str(entry.get("id")) for entry in listed]
    probed = {
        "base_url": url,
        "answers": True,
        "latency_ms": round(1000 * (perf_counter() - started), 1),
        "models": names[:20],
        "lists_model": lists_model(url, model, listed),
    }
    if not probed["lists_model"]:
        near = difflib.get_close_matches(model, names, n=1) or names[:5]
        detail = f"{url} does not list the model {model}: it lists {', '.join(near)}"
        return {**probed, "detail": f"{detail}{added}"}
    return {**probed, "detail": f"{url}{added}"} if added else probed


def lists_model(base_url: str, model: str, entries: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a server's list of models has a model, as far as the list tells.

    llama.cpp calls its only model by a path and answers to every name, and Azure lists models where
    requests name deployments.
    """
    is_azure = (urlsplit(base_url).hostname or "").endswith(".azure.com")
    if not entries or is_azure or any(each.get("owned_by") == "llamacpp" for each in entries):
        return True
    names = [str(name) for each in entries for name in (each.get("id"), *_aliases(each))]
    return any(means(model, name) for name in names)


def _aliases(entry: Mapping[str, Any]) -> Sequence[Any]:
    aliases = entry.get("aliases")
    return aliases if isinstance(aliases, list) else []


def _read_stamp(path: Path | None) -> tuple[int, int, int] | None:
    """Return a value that changes when the file does; None while there is no file."""
    try:
        stat = path.stat() if path else None
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino) if stat else None
