"""vLLM servers as sampler: token ids in, token ids and behavior logprobs out, over HTTP."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import anyio

from podium_trainer.policy.samples import Completion, Request
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.vllm_servers import Refused, Unavailable, VllmServer, VllmServers
from podium_trainer.samplers.vllm_wire import (
    COMPLETIONS,
    GENERATE,
    Aborted,
    BadAnswer,
    ForeignWeights,
    Weights,
    completions_body,
    generate_body,
    neutral,
    read_completions,
    read_generate,
)


class VllmSampler:
    """Shares requests out among the servers; one that fails rests while others are asked.

    No seed is sent: a server that batches cannot promise the same draws anyway.

    Args:
        servers: checked ones; closing them is up to their owner.
        stop_ids: tokens that end a completion.
        temperature: divides the logits; > 0.
        timeout_s: the limit of one request, all attempts and waits included.
    """

    in_lockstep = False

    def __init__(
        self,
        servers: VllmServers,
        *,
        stop_ids: Sequence[int],
        temperature: float,
        timeout_s: float,
    ) -> None:
        self.servers = servers
        self.timeout_s = timeout_s
        self.weights = Weights(0, servers.model_name)
        self.policy_version = 0
        self._labels: dict[str, int] = {}
        self._in_use: Counter[str] = Counter()
        self._settings = neutral(sorted(stop_ids), temperature)

    def use(self, weights: Weights) -> None:
        """Ask for these weights from now on; what is in flight goes on as it was asked for."""
        if weights.label is not None:
            self._labels[weights.label] = weights.version
        self.weights = weights
        self.policy_version = weights.version

    def is_using(self, model: str) -> bool:
        """Whether a request that asks for this model has no answer yet."""
        return self._in_use[model] > 0

    def sample(self, requests: Sequence[Request], *, seed: int) -> list[list[Completion]]:
        """The completions of each request; `seed` is not used.

        Raises:
            SamplerError: If a server refuses, or no server answers within the time limit.
        """
        return self.servers.wait_for(partial(self._sample_all, requests))

    def close(self) -> None:
        """Nothing to let go of: the servers' owner closes them."""

    async def _sample_all(self, requests: Sequence[Request]) -> list[list[Completion]]:
        done: dict[int, list[Completion]] = {}

        async def one(index: int, request: Request) -> None:
            done[index] = await self._sample(request)

        try:
            async with anyio.create_task_group() as tasks:
                for index, request in enumerate(requests):
                    tasks.start_soon(one, index, request)
        except ExceptionGroup as failures:  # the first stands for all
            raise failures.exceptions[0] from None
        return [done[index] for index in range(len(requests))]

    async def _sample(self, request: Request) -> list[Completion]:
        """One request, asked again elsewhere or later for as long as that may help."""
        ends_at = anyio.current_time() + self.timeout_s
        while True:
            server, wait_s = self.servers.choose()
            left_s = ends_at - anyio.current_time()
            if left_s <= wait_s:
                limit = f"no completion within sampler.timeout_s = {self.timeout_s:g} s"
                raise SamplerError(f"{limit}: {server.trouble}") from server.trouble
            if wait_s:
                await anyio.sleep(wait_s)
                continue  # another may be free by now
            try:
                completions = await self._sample_from(server, request, left_s)
            except Unavailable as error:
                server.rest(error)
            else:
                server.did_well()
                return completions

    async def _sample_from(
        self, server: VllmServer, request: Request, left_s: float
    ) -> list[Completion]:
        weights = self.weights
        with self._counted(server, weights.model):
            return await sample_once(server, request, weights, self._settings, self._labels, left_s)

    @contextmanager
    def _counted(self, server: VllmServer, model: str) -> Iterator[None]:
        server.in_flight += 1
        self._in_use[model] += 1
        try:
            yield
        finally:
            server.in_flight -= 1
            self._in_use[model] -= 1


async def sample_once(
    server: VllmServer,
    request: Request,
    weights: Weights,
    settings: dict[str, object],
    labels: dict[str, int],
    timeout_s: float,
) -> list[Completion]:
    """One attempt at one server.

    Raises:
        Unavailable: If another attempt may do better.
        Refused: If it would not.
    """
    path = GENERATE if server.gives_spans else COMPLETIONS
    body = generate_body if server.gives_spans else completions_body
    try:
        response = await server.ask(
            path, body(request, weights, settings), timeout_s=timeout_s, is_sampling=True
        )
    except Refused as error:
        if error.status == 404 and weights.version and not error.is_no_route:
            lost = "the server has restarted and gets new weights with the next version"
            raise Unavailable(f"{error}: {lost}") from error
        raise
    try:
        if server.gives_spans:
            return read_generate(response.content, request, weights, labels)
        return read_completions(response.content, request, weights)
    except (Aborted, ForeignWeights) as error:
        raise Unavailable(f"{server.url}{path}: {error}") from error
    except BadAnswer as error:
        raise Refused(f"{server.url}{path} gave no completion that can be used: {error}") from error
