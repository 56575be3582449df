"""Parse vLLM's responses to sampling requests into completions.

A completion that was open during a full reload (weight_sync.py) has tokens of two versions. Then
/inference/v1/generate reports spans of tokens with the labels that the pushes gave the weights:

    label       run-4 ──(push 5: pause, reload, label run-5, resume)──► run-5
    tokens      [0, 2)                                                  [2, 3)
    response    weight_versions: [{version: run-4, start: 0, end: 2},
                                  {version: run-5, start: 2, end: 3}]
    versions    4, 4, 5
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import BaseModel, FiniteFloat, ValidationError

from podium_trainer.policy.samples import Completion, FinishReason, Request
from podium_trainer.samplers.vllm_requests import Weights

INVALID_LOGPROB = -9999.0  # vLLM writes it for minus infinity and for NaN


class BadResponse(ValueError):
    """A response that holds no usable completion; the message says why."""


class NotFinite(BadResponse):
    """A sampled token has a logprob that is NaN or infinite."""


class ForeignWeights(Exception):
    """Tokens come from weights that this run did not push."""


class Aborted(ValueError):
    """The server aborted a completion before it ended."""


class Span(BaseModel):
    """Tokens [start, end) of a completion come from the weights with this label."""

    version: str
    start: int
    end: int


class _TokenLogprob(BaseModel):
    token_id: int
    logprob: FiniteFloat


class _GenerateLogprobs(BaseModel):
    content: list[_TokenLogprob]


class _GenerateChoice(BaseModel):
    index: int
    finish_reason: str
    token_ids: list[int]
    logprobs: _GenerateLogprobs
    weight_versions: list[Span] | None = None


class _GenerateResponse(BaseModel):
    choices: list[_GenerateChoice]


class _CompletionsLogprobs(BaseModel):
    token_logprobs: list[FiniteFloat]


class _CompletionsChoice(BaseModel):
    index: int
    finish_reason: str
    token_ids: list[int]
    logprobs: _CompletionsLogprobs


class _CompletionsResponse(BaseModel):
    choices: list[_CompletionsChoice]


_Response = TypeVar("_Response", bound=BaseModel)
_Choice = TypeVar("_Choice", _GenerateChoice, _CompletionsChoice)


def parse_generate(
    content: bytes, request: Request, weights: Weights, version_of_label: Mapping[str, int]
) -> list[Completion]:
    """Parse the completions in a response of /inference/v1/generate.

    Args:
        content: the body of the response.
        request: the request that it answers.
        weights: the weights that were asked for.
        version_of_label: the version of each label that this run has given.

    Raises:
        BadResponse: If it does not answer the request.
        ForeignWeights: If tokens come from weights that this run did not push.
        Aborted: If the server aborted a completion.
    """
    completions = []
    for choice in sort_choices(parse_response(_GenerateResponse, content).choices, request):
        if [entry.token_id for entry in choice.logprobs.content] != choice.token_ids:
            raise BadResponse("logprobs are not those of the tokens")
        logprobs = [entry.logprob for entry in choice.logprobs.content]
        versions = [weights.version] * len(choice.token_ids)
        if weights.label is not None:
            spans = choice.weight_versions or []
            versions = expand_spans(spans, len(choice.token_ids), version_of_label)
        completions.append(
            build_completion(choice.token_ids, logprobs, choice.finish_reason, versions, request)
        )
    return completions


def parse_completions(content: bytes, request: Request, weights: Weights) -> list[Completion]:
    """Parse the completions in a response of /v1/completions.

    Raises:
        BadResponse: If it does not answer the request.
        Aborted: If the server aborted a completion.
    """
    return [
        build_completion(
            choice.token_ids,
            choice.logprobs.token_logprobs,
            choice.finish_reason,
            [weights.version] * len(choice.token_ids),
            request,
        )
        for choice in sort_choices(parse_response(_CompletionsResponse, content).choices, request)
    ]


def parse_response(kind: type[_Response], content: bytes) -> _Response:
    """Parse a body.

    Raises:
        NotFinite: If a number is NaN or infinite.
        BadResponse: If it has another form; the message names the first wrong field.
    """
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        kind_of_error = NotFinite if first["type"] == "finite_number" else BadResponse
        raise kind_of_error(f"{field or 'the body'}: {first['msg']}") from error


def sort_choices(choices: list[_Choice], request: Request) -> list[_Choice]:
    """Sort choices by index; raise BadResponse unless there is one for each completion."""
    indices = sorted(choice.index for choice in choices)
    if indices != list(range(request.num_completions)):
        raise BadResponse(f"asked for {request.num_completions} completions, got {indices}")
    return sorted(choices, key=lambda choice: choice.index)


def build_completion(
    token_ids: list[int],
    logprobs: list[float],
    finish_reason: str,
    versions: list[int],
    request: Request,
) -> Completion:
    """Build a completion of T tokens from lists of a response, after checking them.

    Raises:
        NotFinite: If a logprob stands for minus infinity or NaN.
        BadResponse: If the lists do not fit the request or each other.
        Aborted: If the server aborted the completion.
    """
    if finish_reason in ("abort", "error"):
        raise Aborted(f"a completion ended with finish_reason {finish_reason!r}")
    reasons: dict[str, FinishReason] = {"stop": "stop", "length": "length"}
    if finish_reason not in reasons:
        raise BadResponse(f"finish_reason is {finish_reason!r}, not 'stop' or 'length'")
    if not 0 < len(token_ids) <= request.max_tokens or len(logprobs) != len(token_ids):
        raise BadResponse(
            f"{len(token_ids)} tokens with {len(logprobs)} logprobs, asked for at most"
            f" {request.max_tokens}"
        )
    lowest = min(logprobs)
    if lowest <= INVALID_LOGPROB:
        raise NotFinite(f"a sampled token has logprob {lowest:g}")
    return Completion(token_ids, logprobs, reasons[finish_reason], versions)


def expand_spans(
    spans: Sequence[Span], count: int, version_of_label: Mapping[str, int]
) -> list[int]:
    """Return the version of each of `count` tokens.

    Raises:
        BadResponse: If the spans do not cover the tokens exactly once, in order.
        ForeignWeights: If a label is not one of this run's.
    """
    versions: list[int] = []
    for span in spans:
        if span.version not in version_of_label:
            raise ForeignWeights(
                f"tokens come from weights {span.version!r}, which this run did not push: the"
                " server has restarted or serves another run, too"
            )
        if span.start != len(versions):
            raise BadResponse(f"weight_versions leave a gap before token {span.start}")
        versions += [version_of_label[span.version]] * (span.end - span.start)
    if len(versions) != count:
        raise BadResponse(f"weight_versions cover {len(versions)} of {count} tokens")
    return versions
