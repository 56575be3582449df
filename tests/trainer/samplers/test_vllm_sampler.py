"""The sampler against a server that speaks vLLM's protocol over loopback."""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from podium_trainer.config import SamplerConfig
from podium_trainer.policy.samples import Request
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.vllm import VllmSampler
from podium_trainer.samplers.vllm_check import open_servers
from podium_trainer.samplers.vllm_wire import (
    COMPLETIONS,
    GENERATE,
    BadAnswer,
    Span,
    Weights,
    versions_of,
)
from tests.trainer.fake_vllm import FakeVllm, Wire, fault

ASK = Request([1, 2, 3], 2, 3)
LABELLED = Weights(4, "policy", "run-4")


@pytest.fixture
def fake() -> Iterator[FakeVllm]:
    with FakeVllm().serving() as served:
        yield served


@contextmanager
def sampling(
    *fakes: FakeVllm, urls: tuple[str, ...] = (), **settings: Any
) -> Iterator[VllmSampler]:
    """A sampler of checked servers; the calls made while checking are forgotten."""
    settings = {"max_tokens": 8, "timeout_s": 5.0, "admin_timeout_s": 5.0} | settings
    config = SamplerConfig(kind="vllm", urls=[*urls, *(fake.url for fake in fakes)], **settings)
    with open_servers(config) as servers:
        for fake in fakes:
            fake.calls.clear()
        yield VllmSampler(
            servers, stop_ids=[2, 0], temperature=config.temperature, timeout_s=config.timeout_s
        )


def refused(config: SamplerConfig) -> str:
    """The one line that the check of a config's servers ends in."""
    with pytest.raises(SamplerError) as caught:
        open_servers(config).close()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def dead_url() -> str:
    """Where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize("scale_out", [True, False])
def test_tokens_and_logprobs_are_the_servers_own(scale_out: bool) -> None:
    with FakeVllm(scale_out=scale_out).serving() as fake, sampling(fake) as sampler:
        sampler.use(Weights(7, "policy"))
        [group] = sampler.sample([ASK], seed=0)
    assert fake.paths == [GENERATE if scale_out else COMPLETIONS]
    assert len(group) == 2
    for completion in group:
        assert completion.token_ids == [11, 12, 13]
        assert completion.logprobs == [-0.5, -1.0, -1.5]
        assert completion.policy_versions == [7, 7, 7]
        assert completion.finish_reason == "length"


@pytest.mark.parametrize("scale_out", [True, False])
def test_the_whole_distribution_is_asked_for_and_no_seed(scale_out: bool) -> None:
    with (
        FakeVllm(scale_out=scale_out).serving() as fake,
        sampling(fake, temperature=0.7) as sampler,
    ):
        sampler.sample([ASK], seed=3)
    [(_, body)] = fake.calls
    settings = body["sampling_params"] if scale_out else body
    neutral = {
        "temperature": 0.7, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0,
        "presence_penalty": 0.0, "frequency_penalty": 0.0, "min_tokens": 0, "ignore_eos": True,
        "stop_token_ids": [0, 2], "logprobs": 0, "n": 2, "max_tokens": 3,
    }  # fmt: skip
    assert {name: settings[name] for name in neutral} == neutral
    assert "seed" not in settings
    assert body["token_ids" if scale_out else "prompt"] == [1, 2, 3]


def test_each_version_has_a_prefix_cache_of_its_own(fake: FakeVllm) -> None:
    with sampling(fake) as sampler:
        for weights in (LABELLED, Weights(5, "policy", "run-5")):
            fake.label = weights.label or ""
            sampler.use(weights)
            sampler.sample([ASK], seed=0)
    assert [body["cache_salt"] for _, body in fake.calls] == ["run-4", "run-5"]


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_server_is_asked_again(fake: FakeVllm, status: int) -> None:
    with sampling(fake) as sampler:
        fake.faults[GENERATE].append(fault(status))
        [group] = sampler.sample([ASK], seed=0)
    assert len(group) == 2
    assert len(fake.calls) == 2


def test_an_aborted_completion_is_asked_for_again(fake: FakeVllm) -> None:
    reasons = iter(["abort", "length", "length", "length"])
    with sampling(fake) as sampler:
        fake.spoil = lambda choice: choice | {"finish_reason": next(reasons)}
        sampler.sample([ASK], seed=0)
    assert len(fake.calls) == 2


def test_a_server_that_dies_is_left_for_the_others() -> None:
    with FakeVllm().serving() as alive, ExitStack() as stack:
        dying = FakeVllm()
        with dying.serving():
            sampler = stack.enter_context(sampling(dying, alive))
        groups = sampler.sample([ASK] * 20, seed=0)
    assert [len(group) for group in groups] == [2] * 20
    assert len(alive.calls) == 20


def test_requests_are_shared_out() -> None:
    left, right = FakeVllm(), FakeVllm()
    with left.serving(), right.serving(), sampling(left, right) as sampler:
        for fake in (left, right):
            fake.faults[GENERATE].extend([0.1] * 10)
        sampler.sample([ASK] * 20, seed=0)
    assert (len(left.calls), len(right.calls)) == (10, 10)


def test_when_no_server_answers_the_time_limit_ends_it() -> None:
    with ExitStack() as stack:
        with FakeVllm().serving() as fake:
            sampler = stack.enter_context(sampling(fake, timeout_s=0.6))
        started = time.monotonic()
        with pytest.raises(SamplerError, match=r"sampler\.timeout_s = 0\.6 s: http.*connection"):
            sampler.sample([ASK], seed=0)
        assert time.monotonic() - started < 20


def test_a_server_that_hangs_ends_at_the_time_limit(fake: FakeVllm) -> None:
    with sampling(fake, timeout_s=0.3) as sampler:
        fake.faults[GENERATE].append(30.0)
        with pytest.raises(SamplerError, match=r"timeout_s = 0\.3 s: .*no answer within"):
            sampler.sample([ASK], seed=0)


def test_a_refusal_is_final_and_in_the_servers_words(fake: FakeVllm) -> None:
    with sampling(fake) as sampler:
        fake.faults[GENERATE].append(fault(400, "the prompt is\ntoo long"))
        with pytest.raises(SamplerError, match=r"generate answered 400: the prompt is too long$"):
            sampler.sample([ASK], seed=0)
    assert len(fake.calls) == 1


def test_any_number_of_threads_may_sample(fake: FakeVllm) -> None:
    with sampling(fake) as sampler, ThreadPoolExecutor(32) as threads:
        groups = list(threads.map(lambda _: sampler.sample([ASK], seed=0), range(64)))
    assert [len(group) for [group] in groups] == [2] * 64


SPOILT: dict[str, Callable[[Wire], Wire]] = {
    "no logprobs": lambda choice: choice | {"logprobs": None},
    "fewer logprobs than tokens": lambda choice: choice | {"token_ids": [11, 12, 13, 14]},
    "more tokens than asked for": lambda choice: spoilt(choice, range(9), -1.0),
    "no tokens": lambda choice: spoilt(choice, [], -1.0),
    "a logprob of minus infinity": lambda choice: spoilt(choice, [11, 12], -9999.0),
    "an unknown finish reason": lambda choice: choice | {"finish_reason": "repetition"},
    "a choice twice": lambda choice: choice | {"index": 0},
}


def spoilt(choice: Wire, tokens: Any, logprob: float) -> Wire:
    """The choice with other tokens, in both endpoints' forms."""
    content = [{"token_id": token, "logprob": logprob} for token in tokens]
    logprobs = {"content": content, "token_logprobs": [logprob] * len(content)}
    return choice | {"token_ids": list(tokens), "logprobs": logprobs}


@pytest.mark.parametrize("scale_out", [True, False])
@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_an_answer_that_cannot_be_trained_on_is_an_error(
    spoil: Callable[[Wire], Wire], scale_out: bool
) -> None:
    with FakeVllm(scale_out=scale_out).serving() as fake, sampling(fake) as sampler:
        fake.spoil = spoil
        with pytest.raises(SamplerError, match="no completion that can be used") as caught:
            sampler.sample([ASK], seed=0)
    assert "\n" not in str(caught.value)
    assert len(fake.calls) == 1


def test_logprobs_of_other_tokens_are_an_error(fake: FakeVllm) -> None:
    with sampling(fake) as sampler:
        fake.spoil = lambda choice: choice | {"token_ids": [21, 22, 23]}
        with pytest.raises(SamplerError, match="logprobs are not those of the tokens"):
            sampler.sample([ASK], seed=0)


def test_an_answer_of_another_form_is_an_error(fake: FakeVllm) -> None:
    with sampling(fake) as sampler:
        fake.faults[GENERATE].append((200, [1]))
        with pytest.raises(SamplerError, match="no completion that can be used"):
            sampler.sample([ASK], seed=0)


def test_a_completion_across_a_swap_has_both_versions(fake: FakeVllm) -> None:
    with sampling(fake) as sampler:
        sampler.use(LABELLED)
        sampler.use(Weights(5, "policy", "run-5"))
        fake.spans = [
            {"version": "run-4", "start": 0, "end": 2},
            {"version": "run-5", "start": 2, "end": 3},
        ]
        [group] = sampler.sample([ASK], seed=0)
    assert [completion.policy_versions for completion in group] == [[4, 4, 5]] * 2


def test_weights_that_another_run_pushed_are_an_error(fake: FakeVllm) -> None:
    with sampling(fake) as sampler:
        sampler.use(LABELLED)
        fake.label = "other-9"
        with pytest.raises(SamplerError, match="weights 'other-9', which this run did not push"):
            sampler.sample([ASK], seed=0)


@pytest.mark.parametrize(
    "places", [[], [(0, 2)], [(1, 3)], [(0, 1), (2, 3)], [(0, 2), (1, 3)], [(0, 4)]]
)
def test_spans_that_do_not_cover_the_tokens_are_an_error(places: list[tuple[int, int]]) -> None:
    spans = [Span(version="a", start=start, end=end) for start, end in places]
    with pytest.raises(BadAnswer, match="weight_versions"):
        versions_of(spans, 3, {"a": 1})


def test_no_server_is_told_before_anything_else() -> None:
    line = refused(SamplerConfig(kind="vllm", urls=[dead_url()]))
    assert "/v1/models" in line
    assert "start vLLM there with --served-model-name policy, or set sampler.urls" in line


def test_the_one_server_of_several_that_is_missing_is_named(fake: FakeVllm) -> None:
    dead = dead_url()
    line = refused(SamplerConfig(kind="vllm", urls=[fake.url, dead]))
    assert line.startswith(f"1 of 2 servers: {dead}/v1/models")


def test_another_model_is_told(fake: FakeVllm) -> None:
    line = refused(SamplerConfig(kind="vllm", urls=[fake.url], model_name="actor"))
    assert "serves policy, not 'actor'" in line


def test_a_context_without_room_for_a_completion_is_told(fake: FakeVllm) -> None:
    line = refused(SamplerConfig(kind="vllm", urls=[fake.url], max_tokens=1024))
    assert "at most 1024 tokens" in line
    assert "--max-model-len" in line


@pytest.mark.parametrize("temperature", [0.3, 0.9, 1.5])
def test_raw_logprobs_are_told_at_any_temperature_but_one(temperature: float) -> None:
    with FakeVllm(raw_logprobs=True).serving() as fake:
        line = refused(SamplerConfig(kind="vllm", urls=[fake.url], temperature=temperature))
        assert "--logprobs-mode processed_logprobs" in line
        with sampling(fake, temperature=1.0):
            pass
    with FakeVllm().serving() as fake, sampling(fake, temperature=temperature):
        pass


def test_a_server_that_gives_no_logprobs_is_told_before_the_run(fake: FakeVllm) -> None:
    fake.spoil = lambda choice: choice | {"logprobs": None}
    assert "no completion that can be used" in refused(SamplerConfig(kind="vllm", urls=[fake.url]))


def test_an_engine_that_is_down_is_told_before_the_run(fake: FakeVllm) -> None:
    fake.faults[GENERATE].append(fault(500, "EngineCore encountered an issue."))
    line = refused(SamplerConfig(kind="vllm", urls=[fake.url]))
    assert "EngineCore" in line


def test_the_key_is_sent_and_the_v1_of_a_url_is_not_doubled(
    fake: FakeVllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "s3cret")
    with sampling(urls=(f"{fake.url}/v1/",)) as sampler:
        sampler.sample([ASK], seed=0)
    assert fake.keys == {"Bearer s3cret"}


def test_a_url_that_cannot_be_used_is_told() -> None:
    assert "sampler.urls" in refused(SamplerConfig(kind="vllm", urls=["vllm:8001"]))


def test_the_longest_sequence_is_that_of_the_smallest_server() -> None:
    small, large = FakeVllm(max_model_len=32), FakeVllm()
    with small.serving(), large.serving(), sampling(small, large) as sampler:
        assert sampler.servers.max_model_len == 32
