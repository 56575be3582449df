"""Sample from vLLM servers over HTTP: token ids in, token ids and behavior logprobs out."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import anyio

from podium_trainer.policy.samples import Completion, Request
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.vllm_requests import (
    COMPLETIONS,
    GENERATE,
    Weights,
    completions_body,
    generate_body,
    sampling_settings,
)
from podium_trainer.samplers.vllm_responses import (
    Aborted,
    BadResponse,
    ForeignWeights,
    parse_completions,
    parse_generate,
)
from podium_trainer.samplers.vllm_server import Refused, Unavailable, VllmServer
from podium_trainer.samplers.vllm_servers import VllmServers


class VllmSampler:
    """Shares requests out among servers; while one backs off after a failure, others are asked.

    No seed is sent, because a server that batches requests cannot promise equal draws anyway.

    Args:
        servers: checked servers, which the caller closes.
        stop_ids: tokens that end a completion.
        temperature: divides the logits; > 0.
        timeout_s: the limit of one request in seconds, with all attempts and waits.
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
        self._version_of_label: dict[str, int] = {}
        self._open_requests: Counter[str] = Counter()
        self._settings = sampling_settings(sorted(stop_ids), temperature)

    def use(self, weights: Weights) -> None:
        """Ask for these weights from now on; open requests keep those that they asked for."""
        if weights.label is not None:
            self._version_of_label[weights.label] = weights.version
        self.weights = weights
        self.policy_version = weights.version

    def has_open_requests(self, model: str) -> bool:
        """Return whether a request that asks for this model has no answer yet."""
        return self._open_requests[model] > 0

    def sample(self, requests: Sequence[Request], *, seed: int) -> list[list[Completion]]:
        """Draw the completions of each request; `seed` is not used.

        Raises:
            SamplerError: If a server refuses, or no server answers within the time limit.
        """
        return self.servers.run(partial(self._sample_all, requests))

    def close(self) -> None:
        """Do nothing, because the caller closes the servers."""

    async def _sample_all(self, requests: Sequence[Request]) -> list[list[Completion]]:
        results: dict[int, list[Completion]] = {}

        async def sample_one(index: int, request: Request) -> None:
            results[index] = await self._sample(request)

        try:
            async with anyio.create_task_group() as tasks:
                for index, request in enumerate(requests):
                    tasks.start_soon(sample_one, index, request)
        except ExceptionGroup as failures:  # the caller gets the first, which ended the others
            raise failures.exceptions[0] from None
        return [results[index] for index in range(len(requests))]

    async def _sample(self, request: Request) -> list[Completion]:
        """Ask for one request's completions, elsewhere or later if a server is unavailable."""
        ends_at = anyio.current_time() + self.timeout_s
        while True:
            server, wait_s = self.servers.choose()
            left_s = ends_at - anyio.current_time()
            if left_s <= wait_s:
                limit = f"no completion within sampler.timeout_s = {self.timeout_s:g} s"
                raise SamplerError(f"{limit}: {server.last_error}") from server.last_error
            if wait_s:
                await anyio.sleep(wait_s)
                continue  # because another server may be available by now
            try:
                completions = await self._sample_from(server, request, left_s)
            except Unavailable as error:
                server.back_off(error)
            else:
                server.reset_backoff()
                return completions

    async def _sample_from(
        self, server: VllmServer, request: Request, left_s: float
    ) -> list[Completion]:
        weights = self.weights
        with self._count_request(server, weights.model):
            return await sample_once(
                server, request, weights, self._settings, self._version_of_label, left_s
            )

    @contextmanager
    def _count_request(self, server: VllmServer, model: str) -> Iterator[None]:
        """Count a request as open, for its server and for its weights."""
        server.open_requests += 1
        self._open_requests[model] += 1
        try:
            yield
        finally:
            server.open_requests -= 1
            self._open_requests[model] -= 1


async def sample_once(
    server: VllmServer,
    request: Request,
    weights: Weights,
    settings: dict[str, object],
    version_of_label: dict[str, int],
    timeout_s: float,
) -> list[Completion]:
    """Ask one server once for the completions of one request.

    Args:
        server: a checked server.
        request: the prompt.
        weights: the weights to ask for.
        settings: those of `sampling_settings`.
        version_of_label: the version of each label that this run has given.
        timeout_s: the limit in seconds.

    Raises:
        Unavailable: If another attempt may do better.
        Refused: If another attempt would not.
    """
    path = GENERATE if server.reports_versions else COMPLETIONS
    body = generate_body if server.reports_versions else completions_body
    try:
        response = await server.request(
            path, body(request, weights, settings), timeout_s=timeout_s, is_sampling=True
        )
    except Refused as error:
        if error.status == 404 and weights.version and not error.is_no_route:
            reason = "the server has restarted and gets new weights with the next version"
            raise Unavailable(f"{error}: {reason}") from error
        raise
    try:
        if server.reports_versions:
            return parse_generate(response.content, request, weights, version_of_label)
        return parse_completions(response.content, request, weights)
    except (Aborted, ForeignWeights) as error:
        raise Unavailable(f"{server.url}{path}: {error}") from error
    except BadResponse as error:
        raise Refused(f"{server.url}{path} gave no completion that can be used: {error}") from error
