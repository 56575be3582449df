"""The vLLM sampler against fake servers that speak vLLM's protocol over loopback."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from podium_trainer.policy.samples import Request
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.membership import NotEnoughServers
from podium_trainer.samplers.vllm_requests import COMPLETIONS, GENERATE, Weights
from tests.trainer.fake_vllm import FakeVllm, Wire, fault
from tests.trainer.samplers.vllm_sampling import sampling, use

REQUEST = Request([1, 2, 3], 2, 3)
WEIGHTS_4 = Weights(4, "policy", "run-4")


@pytest.mark.parametrize("scale_out", [True, False])
def test_tokens_and_logprobs_are_the_servers_own(scale_out: bool) -> None:
    with FakeVllm(scale_out=scale_out).serving() as fake, sampling(fake) as sampler:
        use(sampler, Weights(7, "policy"))
        [group] = sampler.sample([REQUEST], seed=0)
    assert fake.paths == [GENERATE if scale_out else COMPLETIONS]
    assert len(group) == 2
    for completion in group:
        assert completion.token_ids == [11, 12, 13]
        assert completion.logprobs == [-0.5, -1.0, -1.5]
        assert completion.policy_versions == [7, 7, 7]
        assert completion.finish_reason == "length"


@pytest.mark.parametrize("scale_out", [True, False])
def test_requests_ask_for_the_whole_distribution_and_no_seed(scale_out: bool) -> None:
    with (
        FakeVllm(scale_out=scale_out).serving() as fake,
        sampling(fake, temperature=0.7) as sampler,
    ):
        sampler.sample([REQUEST], seed=3)
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
        for weights in (WEIGHTS_4, Weights(5, "policy", "run-5")):
            fake.label = weights.label or ""
            use(sampler, weights)
            sampler.sample([REQUEST], seed=0)
    assert [body["cache_salt"] for _, body in fake.calls] == ["run-4", "run-5"]


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_server_is_asked_again(fake: FakeVllm, status: int) -> None:
    with sampling(fake) as sampler:
        fake.faults[GENERATE].append(fault(status))
        [group] = sampler.sample([REQUEST], seed=0)
    assert len(group) == 2
    assert len(fake.calls) == 2


def test_an_aborted_completion_is_asked_for_again(fake: FakeVllm) -> None:
    reasons = iter(["abort", "length", "length", "length"])
    with sampling(fake) as sampler:
        fake.spoil = lambda choice: choice | {"finish_reason": next(reasons)}
        sampler.sample([REQUEST], seed=0)
    assert len(fake.calls) == 2


def test_requests_move_from_a_dead_server_to_the_others() -> None:
    with FakeVllm().serving() as alive, ExitStack() as stack:
        dying = FakeVllm()
        with dying.serving():
            sampler = stack.enter_context(sampling(dying, alive))
        groups = sampler.sample([REQUEST] * 20, seed=0)
    assert [len(group) for group in groups] == [2] * 20
    assert len(alive.calls) == 20


def test_requests_are_shared_among_servers() -> None:
    left, right = FakeVllm(), FakeVllm()
    with left.serving(), right.serving(), sampling(left, right) as sampler:
        for fake in (left, right):
            fake.faults[GENERATE].extend([0.1] * 10)
        sampler.sample([REQUEST] * 20, seed=0)
    assert (len(left.calls), len(right.calls)) == (10, 10)


def test_sampling_without_any_server_ends_at_the_time_limit() -> None:
    with ExitStack() as stack:
        with FakeVllm().serving() as fake:
            sampler = stack.enter_context(sampling(fake, wait_s=0.6))
        started = time.monotonic()
        with pytest.raises(NotEnoughServers, match=r"0 of 1 vLLM servers ready.*connection"):
            sampler.sample([REQUEST], seed=0)
        assert time.monotonic() - started < 20


def test_sampling_from_a_hung_server_ends_at_the_time_limit(fake: FakeVllm) -> None:
    with sampling(fake, timeout_s=0.3) as sampler:
        fake.faults[GENERATE].append(30.0)
        with pytest.raises(SamplerError, match=r"timeout_s = 0\.3 s: .*no answer within"):
            sampler.sample([REQUEST], seed=0)


def test_a_refusal_is_final_and_quotes_the_server(fake: FakeVllm) -> None:
    with sampling(fake) as sampler:
        fake.faults[GENERATE].append(fault(400, "the prompt is\ntoo long"))
        with pytest.raises(SamplerError, match=r"generate answered 400: the prompt is too long$"):
            sampler.sample([REQUEST], seed=0)
    assert len(fake.calls) == 1


def test_any_number_of_threads_may_sample(fake: FakeVllm) -> None:
    with sampling(fake) as sampler, ThreadPoolExecutor(32) as threads:
        groups = list(threads.map(lambda _: sampler.sample([REQUEST], seed=0), range(64)))
    assert [len(group) for [group] in groups] == [2] * 64


SPOILED: dict[str, Callable[[Wire], Wire]] = {
    "no logprobs": lambda choice: choice | {"logprobs": None},
    "fewer logprobs than tokens": lambda choice: choice | {"token_ids": [11, 12, 13, 14]},
    "more tokens than asked for": lambda choice: change_tokens(choice, range(9), -1.0),
    "no tokens": lambda choice: change_tokens(choice, [], -1.0),
    "a logprob of minus infinity": lambda choice: change_tokens(choice, [11, 12], -9999.0),
    "an unknown finish reason": lambda choice: choice | {"finish_reason": "repetition"},
    "a choice twice": lambda choice: choice | {"index": 0},
}


def change_tokens(choice: Wire, tokens: Any, logprob: float) -> Wire:
    """Give a choice other tokens, in the forms of both endpoints."""
    content = [{"token_id": token, "logprob": logprob} for token in tokens]
    logprobs = {"content": content, "token_logprobs": [logprob] * len(content)}
    return choice | {"token_ids": list(tokens), "logprobs": logprobs}


@pytest.mark.parametrize("scale_out", [True, False])
@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_a_response_that_cannot_be_trained_on_is_an_error(
    spoil: Callable[[Wire], Wire], scale_out: bool
) -> None:
    with FakeVllm(scale_out=scale_out).serving() as fake, sampling(fake) as sampler:
        fake.spoil = spoil
        with pytest.raises(SamplerError, match="no completion that can be used") as caught:
            sampler.sample([REQUEST], seed=0)
    assert "\n" not in str(caught.value)
    assert len(fake.calls) == 1


def test_logprobs_of_other_tokens_are_an_error(fake: FakeVllm) -> None:
    with sampling(fake) as sampler:
        fake.spoil = lambda choice: choice | {"token_ids": [21, 22, 23]}
        with pytest.raises(SamplerError, match="logprobs are not those of the tokens"):
            sampler.sample([REQUEST], seed=0)


def test_a_response_of_another_form_is_an_error(fake: FakeVllm) -> None:
    with sampling(fake) as sampler:
        fake.faults[GENERATE].append((200, [1]))
        with pytest.raises(SamplerError, match="no completion that can be used"):
            sampler.sample([REQUEST], seed=0)


def test_a_completion_across_a_reload_has_both_versions(fake: FakeVllm) -> None:
    with sampling(fake) as sampler:
        use(sampler, WEIGHTS_4)
        use(sampler, Weights(5, "policy", "run-5"))
        fake.spans = [
            {"version": "run-4", "start": 0, "end": 2},
            {"version": "run-5", "start": 2, "end": 3},
        ]
        [group] = sampler.sample([REQUEST], seed=0)
    assert [completion.policy_versions for completion in group] == [[4, 4, 5]] * 2


def test_a_request_that_no_server_survives_is_an_error(fake: FakeVllm) -> None:
    with sampling(fake) as sampler:
        use(sampler, WEIGHTS_4)  # and the answers say default
        with pytest.raises(SamplerError, match=r"^6 answers were lost: .*weights 'default'"):
            sampler.sample([REQUEST], seed=0)


def test_the_key_is_sent_and_v1_in_a_url_is_not_doubled(
    fake: FakeVllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "s3cret")
    with sampling(urls=(f"{fake.url}/v1/",)) as sampler:
        sampler.sample([REQUEST], seed=0)
    assert fake.keys == {"Bearer s3cret"}
