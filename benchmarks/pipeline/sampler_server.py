"""A scripted server that speaks vLLM's protocol and takes the seconds that it is told to take.

    python -m benchmarks.pipeline.sampler_server --seconds '[0.4, 0.1]' --slots 8

prints `{"port": N}` once it listens on the loopback address. A request of one group holds one of
the slots for the seconds of its turn, so that the server has the throughput of a GPU: requests
beyond the slots wait. Tokens are random digits. A reload of all weights takes effect at once, and
`weight_versions` says so for completions that are open meanwhile.
"""

import asyncio
import itertools
import json
import math
import random
import socket
from typing import Annotated, Any

import typer
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from podium_trainer.samplers.vllm_requests import GENERATE

DIGITS = range(1, 11)  # of the tokenizer of benchmarks.from_scratch
LOGPROB = -math.log(len(DIGITS))
MODELS = {"object": "list", "data": [{"id": "policy", "root": "scripted", "max_model_len": 64}]}


class SamplerServer:
    """The state of the server.

    Args:
        seconds: how long each group takes, in the order of the requests, again and again.
        slots: the number of groups that are sampled side by side.
    """

    def __init__(self, seconds: list[float], slots: int) -> None:
        self.seconds = itertools.cycle(seconds)
        self.slots = asyncio.Semaphore(slots)
        self.label = "default"
        self.random = random.Random()  # the service would answer what it has seen from its store

    async def generate(self, request: Request) -> JSONResponse:
        """Answer a request of one group; a check of a single completion takes no time."""
        settings = (await request.json())["sampling_params"]
        count, length = settings.get("n", 1), settings["max_tokens"]
        seconds = next(self.seconds) if count > 1 else 0.0
        async with self.slots:
            first = self.label
            await asyncio.sleep(seconds)
        return JSONResponse({"choices": [self._choice(i, length, first) for i in range(count)]})

    def _choice(self, index: int, length: int, first: str) -> dict[str, Any]:
        tokens = self.random.choices(DIGITS, k=length)
        bounds = {first: (0, length)}
        if first != self.label:
            bounds = {first: (0, length // 2), self.label: (length // 2, length)}
        return {
            "index": index,
            "finish_reason": "length",
            "token_ids": tokens,
            "logprobs": {"content": [{"token_id": t, "logprob": LOGPROB} for t in tokens]},
            "weight_versions": [
                {"version": label, "start": start, "end": end}
                for label, (start, end) in bounds.items()
            ],
        }

    async def name(self, request: Request) -> JSONResponse:
        self.label = (await request.json())["new_version"]
        return JSONResponse({"success": True})

    async def info(self, request: Request) -> JSONResponse:
        return JSONResponse({"weight_version": self.label})

    @property
    def app(self) -> Starlette:
        """The routes that a run uses."""

        async def agree(request: Request) -> JSONResponse:
            return JSONResponse({"status": "done", "results": [None]})

        async def models(request: Request) -> JSONResponse:
            return JSONResponse(MODELS)

        posts = {GENERATE: self.generate, "/update_weight_version": self.name}
        posts |= dict.fromkeys(["/pause", "/collective_rpc", "/resume"], agree)
        gets = {"/v1/models": models, "/weight_info": self.info, "/health": agree}
        return Starlette(
            routes=[Route(path, handler, methods=["POST"]) for path, handler in posts.items()]
            + [Route(path, handler) for path, handler in gets.items()]
        )


def main(
    seconds: Annotated[str, typer.Option(help="A JSON list: seconds of each group.")],
    slots: Annotated[int, typer.Option(help="Groups that are sampled side by side.")],
) -> None:
    """Serve on a free port until told to end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        app = SamplerServer(json.loads(seconds), slots).app
        config = uvicorn.Config(app, log_level="critical", lifespan="off", access_log=False)
        uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    typer.run(main)
