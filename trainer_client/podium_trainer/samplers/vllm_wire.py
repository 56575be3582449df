"""Requests to vLLM and its answers → `Completion`s. Token ids in, token ids and logprobs out.

Two endpoints give the same: /inference/v1/generate (a server with --enable-scale-out) also says
which weights drew which token; /v1/completions is on every server. What a server's
generation_config sets is overruled: nothing may bend the distribution that the loss assumes, and a
completion ends at the policy's stop tokens and no others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, FiniteFloat, ValidationError

from podium_trainer.policy.samples import Completion, FinishReason, Request

GENERATE, COMPLETIONS = "/inference/v1/generate", "/v1/completions"
LEAST_LOGPROB = -9999.0  # what vLLM writes for minus infinity and for NaN


class BadAnswer(ValueError):
    """An answer that is no completion; says what is wrong with it."""


class ForeignWeights(Exception):
    """Tokens come from weights that this run did not push."""


class Aborted(ValueError):
    """The server gave a completion up before it ended."""


@dataclass(frozen=True)
class Weights:
    """What the servers sample from.

    Attributes:
        version: the policy version.
        model: the name to ask for: the model's, or an adapter's.
        label: the servers' own name for these weights; None where they have none, as for adapters.
    """

    version: int
    model: str
    label: str | None = None


def neutral(stop_ids: Sequence[int], temperature: float) -> dict[str, object]:
    """Sampling settings: the whole distribution at one temperature, the chosen tokens' logprobs."""
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
    """For /inference/v1/generate. The salt keeps prefixes computed by other weights out."""
    return {
        "model": weights.model,
        "token_ids": list(request.prompt_ids),
        "cache_salt": weights.label or weights.model,
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
    """The same for /v1/completions."""
    return {
        **settings,
        "model": weights.model,
        "prompt": list(request.prompt_ids),
        "cache_salt": weights.label or weights.model,
        "n": request.num_completions,
        "max_tokens": request.max_tokens,
        "return_token_ids": True,
    }


class Span(BaseModel):
    """Tokens [start, end) of a completion come from the weights of this label."""

    version: str
    start: int
    end: int


class Chosen(BaseModel):
    token_id: int
    logprob: FiniteFloat


class Content(BaseModel):
    content: list[Chosen]


class GenerateChoice(BaseModel):
    index: int
    finish_reason: str
    token_ids: list[int]
    logprobs: Content
    weight_versions: list[Span] | None = None


class GenerateAnswer(BaseModel):
    choices: list[GenerateChoice]


class TokenLogprobs(BaseModel):
    token_logprobs: list[FiniteFloat]


class CompletionsChoice(BaseModel):
    index: int
    finish_reason: str
    token_ids: list[int]
    logprobs: TokenLogprobs


class CompletionsAnswer(BaseModel):
    choices: list[CompletionsChoice]


_Answer = TypeVar("_Answer", bound=BaseModel)
_Choice = TypeVar("_Choice", GenerateChoice, CompletionsChoice)


def read_generate(
    content: bytes, request: Request, weights: Weights, labels: Mapping[str, int]
) -> list[Completion]:
    """The completions in an answer of /inference/v1/generate.

    Args:
        labels: the version of each label that this run has given.

    Raises:
        BadAnswer: If it is not what was asked for, or comes from weights that this run did not
            push.
        Aborted: If a completion was given up.
    """
    completions = []
    for choice in in_order(parsed(GenerateAnswer, content).choices, request):
        if [entry.token_id for entry in choice.logprobs.content] != choice.token_ids:
            raise BadAnswer("logprobs are not those of the tokens")
        logprobs = [entry.logprob for entry in choice.logprobs.content]
        versions = [weights.version] * len(choice.token_ids)
        if weights.label is not None:
            versions = versions_of(choice.weight_versions or [], len(choice.token_ids), labels)
        completions.append(
            completion(choice.token_ids, logprobs, choice.finish_reason, versions, request)
        )
    return completions


def read_completions(content: bytes, request: Request, weights: Weights) -> list[Completion]:
    """The completions in an answer of /v1/completions; all of the version that was asked for.

    Raises:
        BadAnswer: If it is not what was asked for.
        Aborted: If a completion was given up.
    """
    return [
        completion(
            choice.token_ids,
            choice.logprobs.token_logprobs,
            choice.finish_reason,
            [weights.version] * len(choice.token_ids),
            request,
        )
        for choice in in_order(parsed(CompletionsAnswer, content).choices, request)
    ]


def parsed(kind: type[_Answer], content: bytes) -> _Answer:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BadAnswer(f"{place or 'the body'}: {first['msg']}") from error


def in_order(choices: list[_Choice], request: Request) -> list[_Choice]:
    indices = sorted(choice.index for choice in choices)
    if indices != list(range(request.num_completions)):
        raise BadAnswer(f"asked for {request.num_completions} completions, got {indices}")
    return sorted(choices, key=lambda choice: choice.index)


def completion(
    token_ids: list[int],
    logprobs: list[float],
    finish_reason: str,
    versions: list[int],
    request: Request,
) -> Completion:
    """One checked completion."""
    if finish_reason in ("abort", "error"):
        raise Aborted(f"a completion ended with finish_reason {finish_reason!r}")
    reasons: dict[str, FinishReason] = {"stop": "stop", "length": "length"}
    if finish_reason not in reasons:
        raise BadAnswer(f"finish_reason is {finish_reason!r}, not 'stop' or 'length'")
    if not 0 < len(token_ids) <= request.max_tokens or len(logprobs) != len(token_ids):
        raise BadAnswer(
            f"{len(token_ids)} tokens with {len(logprobs)} logprobs, asked for at most"
            f" {request.max_tokens}"
        )
    worst = min(logprobs)
    if worst <= LEAST_LOGPROB:
        raise BadAnswer(f"a sampled token has logprob {worst:g}")
    return Completion(token_ids, logprobs, reasons[finish_reason], versions)


def versions_of(spans: Sequence[Span], count: int, labels: Mapping[str, int]) -> list[int]:
    """The version of each of `count` tokens."""
    versions: list[int] = []
    for span in spans:
        if span.version not in labels:
            raise ForeignWeights(
                f"tokens come from weights {span.version!r}, which this run did not push: the"
                " server restarted or serves another run, too; go on with --resume"
            )
        if span.start != len(versions):
            raise BadAnswer(f"weight_versions leave a gap before token {span.start}")
        versions += [labels[span.version]] * (span.end - span.start)
    if len(versions) != count:
        raise BadAnswer(f"weight_versions cover {len(versions)} of {count} tokens")
    return versions
