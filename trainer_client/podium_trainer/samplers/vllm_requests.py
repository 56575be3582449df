"""Write sampling requests to vLLM.

Two endpoints give token ids with logprobs:

    /v1/completions           every server has it; a completion has the version that was asked for
    /inference/v1/generate    servers with --enable-scale-out; the response says which weights drew
                              which token (see vllm_responses.py)

The generation_config of a server is overruled: nothing may change the distribution that the loss
assumes, and a completion ends at the policy's stop tokens and no others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from podium_trainer.policy.samples import Request

GENERATE, COMPLETIONS = "/inference/v1/generate", "/v1/completions"


@dataclass(frozen=True)
class Weights:
    """Weights that the servers sample from.

    Attributes:
        version: the policy version.
        model: the name to ask for: the model's, or an adapter's.
        label: the name that the servers report for tokens of these weights; None for adapters,
            which have no label.
    """

    version: int
    model: str
    label: str | None = None

    @property
    def name(self) -> str:
        """The name that no other weights have, of this run or another."""
        return self.label or self.model


def sampling_settings(stop_ids: Sequence[int], temperature: float) -> dict[str, object]:
    """Ask for the whole distribution at one temperature, with the drawn tokens' logprobs."""
    return {
        "temperature": temperature,
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "min_tokens": 0,
        "ignore_eos": True,  # the end token is one of the stop tokens
        "stop_token_ids": list(stop_ids),
        "logprobs": 0,
    }


def generate_body(
    request: Request, weights: Weights, settings: Mapping[str, object]
) -> dict[str, object]:
    """Write a request to /inference/v1/generate.

    The salt keeps the server from reusing prefixes that other weights computed.
    """
    return {
        "model": weights.model,
        "token_ids": list(request.prompt_ids),
        "cache_salt": weights.name,
        "sampling_params": {
            **settings,
            "n": request.num_completions,
            "max_tokens": request.max_tokens,
            "detokenize": False,
        },
    }


def completions_body(
    request: Request, weights: Weights, settings: Mapping[str, object]
) -> dict[str, object]:
    """Write a request to /v1/completions, with the salt of `generate_body`."""
    return {
        **settings,
        "model": weights.model,
        "prompt": list(request.prompt_ids),
        "cache_salt": weights.name,
        "n": request.num_completions,
        "max_tokens": request.max_tokens,
        "return_token_ids": True,
    }
