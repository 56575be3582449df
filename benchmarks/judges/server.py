"""Judges -> OpenAI-compatible base URLs on the loopback address.

    async with serving({"sim": judge}) as base_urls:   # here, in this event loop
    with serving_apart(judges, truth) as base_urls:    # a process of its own, for CPU figures

One port for all; a judge's base URL ends in its name, and so does the model it lists. By hand:

    python -m benchmarks.judges.server SPEC.json

with `{"truth": {CASE: number}, "judges": {NAME: {"noise_sd": 1.0, ...}}}` prints
`{"base_urls": {NAME: URL}}` once it listens.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol

import orjson
import typer
import uvloop

from benchmarks.judges.http import Answer, JudgeProtocol, Route, Routes, Stats
from benchmarks.judges.reading import NothingShown
from benchmarks.judges.simulated import SimulatedJudge, by_case

MAX_MODEL_LEN = 131_072
STOP_S = 60.0


class Replies(Protocol):
    """A judge that answers chat requests; it may raise `NothingShown`, answered with a 400."""

    def reply(self, request: Mapping[str, Any], /) -> dict[str, Any]: ...


def routes_of(
    judges: Mapping[str, Replies], stats: Stats, *, max_model_len: int = MAX_MODEL_LEN
) -> Routes:
    """Return what each judge answers under its name, and `GET /stats` over all."""
    routes: dict[tuple[bytes, bytes], Route] = {
        (b"GET", b"/stats"): lambda _: (200, stats.body()),
    }
    for name, judge in judges.items():
        root = f"/{name}/v1".encode()
        routes[b"POST", root + b"/chat/completions"] = _completions(judge)
        routes[b"GET", root + b"/models"] = _models(name, max_model_len)
    return routes


def _completions(judge: Replies) -> Route:
    def answer(body: bytes) -> Answer:
        try:
            return 200, orjson.dumps(judge.reply(orjson.loads(body)))
        except (orjson.JSONDecodeError, NothingShown) as error:
            said = {"message": str(error), "type": "invalid_request_error"}
            return 400, orjson.dumps({"error": said | {"param": "messages", "code": "unreadable"}})

    return answer


def _models(name: str, max_model_len: int) -> Route:
    model = {"id": name, "object": "model", "owned_by": "podium", "max_model_len": max_model_len}
    body = orjson.dumps({"object": "list", "data": [model]})
    return lambda _: (200, body)


@asynccontextmanager
async def serving(
    judges: Mapping[str, Replies],
    *,
    delay_s: float = 0.0,
    port: int = 0,
    max_model_len: int = MAX_MODEL_LEN,
) -> AsyncIterator[dict[str, str]]:
    """Serve in the running event loop; yields each judge's base URL by name."""
    stats = Stats()
    routes = routes_of(judges, stats, max_model_len=max_model_len)
    transports: set[asyncio.Transport] = set()

    class Connection(JudgeProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            assert self.transport
            transports.add(self.transport)

        def connection_lost(self, exc: Exception | None) -> None:
            if self.transport:
                transports.discard(self.transport)
            super().connection_lost(exc)

    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(routes, stats, delay_s=delay_s), "127.0.0.1", port, backlog=1024
    )
    root = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield {name: f"{root}/{name}/v1" for name in judges}
    finally:
        server.close()
        for transport in list(transports):
            transport.abort()
        await server.wait_closed()


@contextmanager
def serving_apart(
    judges: Mapping[str, SimulatedJudge], truth: Mapping[str, float], *, delay_s: float = 0.0
) -> Iterator[dict[str, str]]:
    """Serve simulated judges from a process of their own; `truth` is by case."""
    settings = {name: judge.settings() for name, judge in judges.items()}
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "spec.json"
        spec.write_text(json.dumps({"truth": dict(truth), "judges": settings}))
        command = [sys.executable, "-m", "benchmarks.judges.server", str(spec)]
        command += ["--delay-s", str(delay_s)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            assert process.stdout
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"the judges' server ended with {process.wait()}")
            yield json.loads(line)["base_urls"]
        finally:
            process.terminate()
            process.wait(STOP_S)
            if process.stdout:
                process.stdout.close()


async def _serve(judges: Mapping[str, Replies], port: int, delay_s: float) -> None:
    async with serving(judges, port=port, delay_s=delay_s) as base_urls:
        print(json.dumps({"base_urls": base_urls}), flush=True)
        await asyncio.Event().wait()


def main(
    spec: Annotated[Path, typer.Argument(help="Judges' settings and the truth, as JSON.")],
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 0,
    delay_s: Annotated[float, typer.Option(min=0, help="Seconds until a verdict is sent.")] = 0.0,
) -> None:
    """Serve simulated judges until killed."""
    told = json.loads(spec.read_text())
    truth_of = by_case(told["truth"])
    judges = {name: SimulatedJudge(truth_of, **each) for name, each in told["judges"].items()}
    uvloop.run(_serve(judges, port, delay_s))


if __name__ == "__main__":
    typer.run(main)
