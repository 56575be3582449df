"""Connect to the vLLM servers of a config, and refuse unfit ones before the model is loaded."""

import math
from functools import partial

from pydantic import BaseModel, ValidationError

from podium_trainer.config import SamplerConfig
from podium_trainer.policy.samples import Request
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.vllm import sample_once
from podium_trainer.samplers.vllm_requests import COMPLETIONS, GENERATE, Weights, sampling_settings
from podium_trainer.samplers.vllm_server import Refused, Unavailable, VllmServer
from podium_trainer.samplers.vllm_servers import VllmServers

PROBE = Request([1, 2, 3], 1, 1)  # every model has these tokens
MODELS_TIMEOUT_S = 10.0


class _Model(BaseModel):
    id: str
    max_model_len: int | None = None


class _Models(BaseModel):
    data: list[_Model]


class _TopLogprobs(BaseModel):
    top_logprobs: list[dict[str, float]]


class _TopChoice(BaseModel):
    logprobs: _TopLogprobs


class _TopResponse(BaseModel):
    choices: list[_TopChoice]


def open_servers(config: SamplerConfig) -> VllmServers:
    """Connect to the servers of a config and check them.

    Raises:
        SamplerError: If a server does not answer, serves another model, has no room for a
            completion, or gives logprobs of another distribution than the one sampled from.
    """
    servers = VllmServers(config.urls, model_name=config.model_name)
    try:
        servers.call_all(partial(check_server, config=config))
    except BaseException:
        servers.close()
        raise
    return servers


async def check_server(server: VllmServer, *, config: SamplerConfig) -> None:
    """Check one server, and set its `max_model_len` and `reports_versions`.

    Raises:
        SamplerError: As `open_servers`.
    """
    server.max_model_len = await read_max_model_len(server, config)
    if server.max_model_len <= config.max_tokens:
        raise SamplerError(
            f"{server.url} serves sequences of at most {server.max_model_len} tokens, which leaves"
            f" no prompt beside sampler.max_tokens {config.max_tokens}: raise --max-model-len"
        )
    settings = sampling_settings([], config.temperature)
    weights = Weights(0, config.model_name)
    try:
        server.reports_versions = await can_report_versions(server, config)
        await sample_once(server, PROBE, weights, settings, {}, config.admin_timeout_s)
    except Unavailable as error:
        raise SamplerError(f"{error}: vLLM answers but does not sample, see its log") from error
    if config.temperature != 1 and not await gives_processed_logprobs(server, config):
        raise SamplerError(
            f"{server.url} gives the logprobs of temperature 1, not of sampler.temperature"
            f" {config.temperature:g}: start vLLM with --logprobs-mode processed_logprobs"
        )


async def read_max_model_len(server: VllmServer, config: SamplerConfig) -> int:
    """Return the largest number of tokens in a sequence of the model.

    Raises:
        SamplerError: If the server does not answer or does not serve the model.
    """
    try:
        response = await server.request(
            "/v1/models", method="GET", timeout_s=min(MODELS_TIMEOUT_S, config.admin_timeout_s)
        )
        models = _Models.model_validate_json(response.content).data
    except Unavailable as error:
        raise SamplerError(
            f"{error}: start vLLM there with --served-model-name {config.model_name}, or set"
            " sampler.urls"
        ) from error
    except ValidationError as error:
        raise SamplerError(f"{server.url}/v1/models lists no models: is it vLLM?") from error
    for model in models:
        if model.id == config.model_name:
            return model.max_model_len or 2**31
    raise SamplerError(
        f"{server.url} serves {', '.join(model.id for model in models) or 'nothing'}, not"
        f" {config.model_name!r}: start vLLM with --served-model-name {config.model_name}, or set"
        " sampler.model_name"
    )


async def can_report_versions(server: VllmServer, config: SamplerConfig) -> bool:
    """Return whether /inference/v1/generate exists and says which weights drew a token."""
    body = {
        "model": config.model_name,
        "token_ids": PROBE.prompt_ids,
        "sampling_params": sampling_settings([], 1.0) | {"max_tokens": 1},
    }
    try:
        response = await server.request(GENERATE, body, timeout_s=config.admin_timeout_s)
    except Refused:  # 403 without --enable-scale-out, 404 in older versions
        return False
    return b'"weight_versions":[{' in response.content.replace(b" ", b"")


async def gives_processed_logprobs(server: VllmServer, config: SamplerConfig) -> bool:
    """Return whether the server applies the temperature to its logprobs.

    The temperature divides the difference of two tokens' logprobs, whatever the logprobs are.
    """
    range_at_1 = await measure_logprob_range(server, config, 1.0)
    range_at_t = await measure_logprob_range(server, config, config.temperature)
    measured, processed = math.log(range_at_1 / range_at_t), math.log(config.temperature)
    return abs(measured - processed) < abs(measured)  # raw logprobs would measure 0


async def measure_logprob_range(
    server: VllmServer, config: SamplerConfig, temperature: float
) -> float:
    """Return the difference between the highest and the fifth logprob of a token, in nats."""
    body = sampling_settings([], temperature) | {
        "model": config.model_name,
        "prompt": PROBE.prompt_ids,
        "max_tokens": 1,
        "logprobs": 5,
        # Without it two tokens with equal text would be one entry.
        "return_tokens_as_token_ids": True,
    }
    try:
        response = await server.request(COMPLETIONS, body, timeout_s=config.admin_timeout_s)
        [choice] = _TopResponse.model_validate_json(response.content).choices
        top = sorted(choice.logprobs.top_logprobs[0].values(), reverse=True)[:5]
        return max(top[0] - top[-1], 1e-9)
    except (ValidationError, ValueError, IndexError) as error:
        raise SamplerError(
            f"{server.url}{COMPLETIONS} gives no logprobs of the likeliest tokens: is it vLLM?"
        ) from error
