"""What can be known to be wrong with vLLM servers, said before the model's weights are loaded."""

import math
from functools import partial

from pydantic import BaseModel, ValidationError

from podium_trainer.config import SamplerConfig
from podium_trainer.policy.samples import Request
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.vllm import sample_once
from podium_trainer.samplers.vllm_servers import Refused, Unavailable, VllmServer, VllmServers
from podium_trainer.samplers.vllm_wire import COMPLETIONS, GENERATE, Weights, neutral

PROBE = Request([1, 2, 3], 1, 1)  # any tokens will do


class Model(BaseModel):
    id: str
    max_model_len: int | None = None


class Models(BaseModel):
    data: list[Model]


class TopLogprobs(BaseModel):
    top_logprobs: list[dict[str, float]]


class TopChoice(BaseModel):
    logprobs: TopLogprobs


class TopAnswer(BaseModel):
    choices: list[TopChoice]


def open_servers(config: SamplerConfig) -> VllmServers:
    """Connect to the servers of a config and check them.

    Raises:
        SamplerError: If a server does not answer, serves another model, has no room for a
            completion, or gives logprobs of another distribution than the one sampled from.
    """
    servers = VllmServers(config.urls, model_name=config.model_name)
    try:
        servers.on_all(partial(check, config=config))
    except BaseException:
        servers.close()
        raise
    return servers


async def check(server: VllmServer, *, config: SamplerConfig) -> None:
    """Check one server; notes what it can do."""
    server.max_model_len = await served_length(server, config)
    if server.max_model_len <= config.max_tokens:
        raise SamplerError(
            f"{server.url} serves sequences of at most {server.max_model_len} tokens, which leaves"
            f" no prompt beside sampler.max_tokens {config.max_tokens}: raise --max-model-len"
        )
    settings = neutral([], config.temperature)
    weights = Weights(0, config.model_name)
    try:
        server.gives_spans = await can_generate(server, config)
        await sample_once(server, PROBE, weights, settings, {}, config.admin_timeout_s)
    except Unavailable as error:
        raise SamplerError(f"{error}: vLLM answers but does not sample, see its log") from error
    if config.temperature != 1 and not await are_processed(server, config):
        raise SamplerError(
            f"{server.url} gives the logprobs of temperature 1, not of sampler.temperature"
            f" {config.temperature:g}: start vLLM with --logprobs-mode processed_logprobs"
        )


async def served_length(server: VllmServer, config: SamplerConfig) -> int:
    """The longest sequence that the model takes."""
    try:
        answer = await server.ask(
            "/v1/models", method="GET", timeout_s=min(10.0, config.admin_timeout_s)
        )
        models = Models.model_validate_json(answer.content).data
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


async def can_generate(server: VllmServer, config: SamplerConfig) -> bool:
    """Whether /inference/v1/generate is there and says which weights drew a token."""
    body = {
        "model": config.model_name,
        "token_ids": PROBE.prompt_ids,
        "sampling_params": neutral([], 1.0) | {"max_tokens": 1},
    }
    try:
        answer = await server.ask(GENERATE, body, timeout_s=config.admin_timeout_s)
    except Refused:  # 403 without --enable-scale-out, 404 in older versions
        return False
    return b'"weight_versions":[{' in answer.content.replace(b" ", b"")


async def are_processed(server: VllmServer, config: SamplerConfig) -> bool:
    """Whether logprobs are those after the temperature.

    Between two tokens the temperature divides the difference of their logprobs, whatever they are.
    """
    plain = await spread(server, config, 1.0)
    scaled = await spread(server, config, config.temperature)
    seen, raw, processed = math.log(plain / scaled), 0.0, math.log(config.temperature)
    return abs(seen - processed) < abs(seen - raw)


async def spread(server: VllmServer, config: SamplerConfig, temperature: float) -> float:
    """How far the logprobs of the likeliest tokens are apart."""
    body = neutral([], temperature) | {
        "model": config.model_name,
        "prompt": PROBE.prompt_ids,
        "max_tokens": 1,
        "logprobs": 5,
        "return_tokens_as_token_ids": True,  # no two tokens may look alike
    }
    try:
        answer = await server.ask(COMPLETIONS, body, timeout_s=config.admin_timeout_s)
        [choice] = TopAnswer.model_validate_json(answer.content).choices
        top = sorted(choice.logprobs.top_logprobs[0].values(), reverse=True)[:5]
        return max(top[0] - top[-1], 1e-9)
    except (ValidationError, ValueError, IndexError) as error:
        raise SamplerError(
            f"{server.url}{COMPLETIONS} gives no logprobs of the likeliest tokens: is it vLLM?"
        ) from error
