"""Sample from vLLM servers over HTTP: token ids in, token ids and behavior logprobs out."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import anyio

from podium_trainer.policy.samples import Completion, Request
from podium_trainer.samplers import Cause, SamplingFailed
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
    NotFinite,
    parse_completions,
    parse_generate,
)
from podium_trainer.samplers.vllm_server import LostWeights, Refused, Unavailable, VllmServer
from podium_trainer.samplers.vllm_servers import VllmServers

MAX_LOST = 5  # answers to one request, because a prompt may be what ends the servers


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
        self._open_requests: Counter[str] = Counter()
        self._settings = sampling_settings(sorted(stop_ids), temperature)

    @property
    def policy_version(self) -> int:
        """The version of the push that the servers have been given, 0 before the first."""
        push = self.servers.membership.push
        return push.weights.version if push else 0

    @property
    def servers_ready(self) -> int:
        """The number of servers that may be asked for completions."""
        return self.servers.num_ready

    def has_open_requests(self, model: str) -> bool:
        """Return whether a request that asks for this model has no answer yet."""
        return self._open_requests[model] > 0

    def sample(self, requests: Sequence[Request], *, seed: int) -> list[list[Completion]]:
        """Draw the completions of each request; `seed` is not used.

        Raises:
            SamplingFailed: If a server refuses, none answers within the time limit, or a logprob is
                not finite.
            SamplerError: If too few are ready for too long.
        """
        return self.servers.run(partial(self._sample_all, requests))

    def close(self) -> None:
        """End the calls of all threads; the caller closes the servers."""
        self.servers.end_calls()

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
        membership = self.servers.membership
        ends_at = anyio.current_time() + self.timeout_s
        num_lost = 0
        while True:
            ends_at += await membership.wait_until_enough()
            server, wait_s = membership.choose()
            left_s = ends_at - anyio.current_time()
            if left_s <= wait_s:
                limit = f"no completion within sampler.timeout_s = {self.timeout_s:g} s"
                failure = f"{limit}: {server.last_failure}"
                raise SamplingFailed(failure, "unanswered") from server.last_failure
            if wait_s:
                await anyio.sleep(wait_s)
                continue  # because another server may be available by now
            try:
                completions = await self._sample_from(server, request, left_s)
            except Unavailable as error:
                num_lost += error.status is None and not error.is_unreachable
                if num_lost > MAX_LOST:
                    failure = f"{num_lost} answers were lost: {error}"
                    raise SamplingFailed(failure, "unanswered") from error
                membership.doubt(server, error)
            else:
                server.reset_backoff()
                return completions

    async def _sample_from(
        self, server: VllmServer, request: Request, left_s: float
    ) -> list[Completion]:
        weights, labels = server.weights, self.servers.membership.version_of_label
        with self._count_request(weights.model):
            return await sample_once(server, request, weights, self._settings, labels, left_s)

    @contextmanager
    def _count_request(self, model: str) -> Iterator[None]:
        """Count a request as open for its weights."""
        self._open_requests[model] += 1
        try:
            yield
        finally:
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
        LostWeights: If the server does not have the weights.
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
        is_pushed = weights.version or weights.model != server.model_name
        if error.status == 404 and is_pushed and not error.is_no_route:
            raise LostWeights(f"{error}: the server has restarted") from error
        raise
    try:
        if server.reports_versions:
            return parse_generate(response.content, request, weights, version_of_label)
        return parse_completions(response.content, request, weights)
    except ForeignWeights as error:
        raise LostWeights(f"{server.url}{path}: {error}") from error
    except Aborted as error:
        raise Unavailable(f"{server.url}{path}: {error}") from error
    except BadResponse as error:
        cause: Cause = "not_finite" if isinstance(error, NotFinite) else "refused"
        message = f"{server.url}{path} gave no completion that can be used: {error}"
        raise Refused(message, cause=cause) from error
