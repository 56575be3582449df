"""Connect to the vLLM servers of a config, and refuse unfit ones before the model is loaded."""

import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from pydantic import BaseModel, Field, ValidationError

from podium_trainer.config import SamplerConfig
from podium_trainer.policy.samples import Request
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.membership import LOOK_EVERY_S
from podium_trainer.samplers.vllm import sample_once
from podium_trainer.samplers.vllm_requests import COMPLETIONS, GENERATE, Weights, sampling_settings
from podium_trainer.samplers.vllm_server import (
    QUICK_S,
    Refused,
    Unavailable,
    VllmServer,
    request_with_retry,
)
from podium_trainer.samplers.vllm_servers import VllmServers

PROBE = Request([1, 2, 3], 1, 1)  # every model has these tokens
MODELS_TIMEOUT_S = 10.0
INFO_TIMEOUT_S = 60.0  # a server looks at its whole environment before it answers


class ServedModel(BaseModel):
    """A model in a server's list."""

    id: str
    root: str | None = None
    max_model_len: int | None = None


class _Models(BaseModel):
    data: list[ServedModel]


class _ModelConfig(BaseModel):
    dtype: str


class _VllmConfig(BaseModel):
    model_config = {"protected_namespaces": ()}
    model: _ModelConfig = Field(alias="model_config")


class _ServerInfo(BaseModel):
    vllm_config: _VllmConfig


class _Paused(BaseModel):
    is_paused: bool


class _TopLogprobs(BaseModel):
    top_logprobs: list[dict[str, float]]


class _TopChoice(BaseModel):
    logprobs: _TopLogprobs


class _TopResponse(BaseModel):
    choices: list[_TopChoice]


def open_servers(
    config: SamplerConfig,
    note: Callable[[str], None] = lambda line: None,
    *,
    look_every_s: float = LOOK_EVERY_S,
) -> VllmServers:
    """Connect to the servers of a config, check them, and keep looking at them.

    Args:
        config: the sampler section of a recipe.
        note: told in one line about each server that leaves or returns.
        look_every_s: seconds between looks at a server.

    Raises:
        SamplerError: If fewer than `min_servers` answer, or one serves another model, has no room
            for a completion, or gives logprobs of another distribution than the one sampled from.
    """
    servers = VllmServers(
        config.urls,
        partial(check_server, config=config),
        model_name=config.model_name,
        min_servers=config.min_servers,
        wait_s=config.wait_s,
        note=note,
        look_every_s=look_every_s,
    )
    try:
        servers.start()
    except BaseException:
        servers.close()
        raise
    return servers


async def check_server(server: VllmServer, *, config: SamplerConfig) -> None:
    """Check one server, and set its `max_model_len`, `root` and `reports_versions`.

    Raises:
        Unavailable: If it does not answer or does not sample.
        SamplerError: If it is unfit, as `open_servers` says, or is not what it was before.
    """
    served = await read_model(server, config)
    refuse_change(server, served)
    server.max_model_len, server.root = served.max_model_len or 2**31, served.root
    if server.max_model_len <= config.max_tokens:
        raise SamplerError(
            f"{server.url} serves sequences of at most {server.max_model_len} tokens, which leaves"
            f" no prompt beside sampler.max_tokens {config.max_tokens}: raise --max-model-len"
        )
    settings = sampling_settings([], config.temperature)
    weights = Weights(0, config.model_name)
    await release(server)
    try:
        server.reports_versions = await can_report_versions(server, config)
        await sample_once(server, PROBE, weights, settings, {}, config.admin_timeout_s)
    except Unavailable as error:
        raise Unavailable(f"{error}: vLLM answers but does not sample, see its log") from error
    if config.temperature != 1 and not await gives_processed_logprobs(server, config):
        raise SamplerError(
            f"{server.url} gives the logprobs of temperature 1, not of sampler.temperature"
            f" {config.temperature:g}: start vLLM with --logprobs-mode processed_logprobs"
        )


async def release(server: VllmServer) -> None:
    """Let a server go on that a run has left paused, because it was killed in a push."""
    try:
        response = await server.request("/is_paused", method="GET", timeout_s=QUICK_S)
        is_paused = _Paused.model_validate_json(response.content).is_paused
    except (Refused, ValidationError):  # it cannot be paused at all
        return
    if is_paused:
        await end_update(server)
        await request_with_retry(server, "/resume", None, QUICK_S)


async def end_update(server: VllmServer) -> None:
    """End an update over the network that is on, without the weights that are missing.

    An update ends with the first bucket that cannot be read; vLLM has no request for it. It answers
    with an error then, and closes the connection.
    """
    with suppress(SamplerError):
        await server.request("/update_weights", {"update_info": {}}, timeout_s=QUICK_S)


def refuse_change(server: VllmServer, served: ServedModel) -> None:
    """Raise SamplerError if a server that returns serves another model, or less of it."""
    if server.root is not None and served.root != server.root:
        raise SamplerError(
            f"{server.url} has returned with the model {served.root!r}, not {server.root!r}: start"
            f" vLLM there with --model {server.root}"
        )
    if served.max_model_len and served.max_model_len < server.max_model_len:
        raise SamplerError(
            f"{server.url} has returned with --max-model-len {served.max_model_len}, less than"
            f" {server.max_model_len} before"
        )


async def read_model(server: VllmServer, config: SamplerConfig) -> ServedModel:
    """Return what a server says about the model.

    Raises:
        Unavailable: If it does not answer.
        SamplerError: If it does not serve the model.
    """
    try:
        response = await server.request(
            "/v1/models", method="GET", timeout_s=min(MODELS_TIMEOUT_S, config.admin_timeout_s)
        )
        models = _Models.model_validate_json(response.content).data
    except Unavailable as error:
        raise Unavailable(
            f"{error}: start vLLM there with --served-model-name {config.model_name}, or set"
            " sampler.urls",
            is_unreachable=error.is_unreachable,
        ) from error
    except ValidationError as error:
        raise SamplerError(f"{server.url}/v1/models lists no models: is it vLLM?") from error
    for model in models:
        if model.id == config.model_name:
            return model
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


def read_dtype(servers: VllmServers) -> str | None:
    """Return the type that the ready servers compute in, such as `bfloat16`.

    Returns:
        The name as torch has it; None if they differ, or none tells. Those with the environment
        VLLM_SERVER_DEV_MODE=1 do, which a reload of all weights needs anyway.
    """
    found = set()

    async def ask(server: VllmServer) -> None:
        path = "/server_info?config_format=json"
        response = await server.request(path, method="GET", timeout_s=INFO_TIMEOUT_S)
        with suppress(ValidationError):
            info = _ServerInfo.model_validate_json(response.content)
            found.add(info.vllm_config.model.dtype.removeprefix("torch."))

    servers.call_ready(ask)
    return found.pop() if len(found) == 1 else None
