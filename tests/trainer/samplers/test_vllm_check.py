"""The check of vLLM servers before a run: every unfit server is reported in one line."""

import socket

import pytest

from podium_trainer.config import SamplerConfig
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.vllm_check import open_servers
from podium_trainer.samplers.vllm_requests import GENERATE
from tests.trainer.fake_vllm import FakeVllm, fault
from tests.trainer.samplers.vllm_sampling import sampling


def check_error(config: SamplerConfig) -> str:
    """Return the one line in which the check of a config's servers ends."""
    with pytest.raises(SamplerError) as caught:
        open_servers(config).close()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def dead_url() -> str:
    """Return the URL of a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_a_missing_server_is_reported_first() -> None:
    line = check_error(SamplerConfig(kind="vllm", urls=[dead_url()]))
    assert "/v1/models" in line
    assert "start vLLM there with --served-model-name policy, or set sampler.urls" in line


def test_a_missing_server_among_several_is_named(fake: FakeVllm) -> None:
    dead = dead_url()
    line = check_error(SamplerConfig(kind="vllm", urls=[fake.url, dead], min_servers=2))
    assert line.startswith(f"1 of 2 servers: {dead}/v1/models")


def test_a_server_of_another_model_is_reported(fake: FakeVllm) -> None:
    line = check_error(SamplerConfig(kind="vllm", urls=[fake.url], model_name="actor"))
    assert "serves policy, not 'actor'" in line


def test_a_context_without_room_for_a_completion_is_reported(fake: FakeVllm) -> None:
    line = check_error(SamplerConfig(kind="vllm", urls=[fake.url], max_tokens=1024))
    assert "at most 1024 tokens" in line
    assert "--max-model-len" in line


@pytest.mark.parametrize("temperature", [0.3, 0.9, 1.5])
def test_raw_logprobs_are_reported_at_temperatures_other_than_1(temperature: float) -> None:
    with FakeVllm(raw_logprobs=True).serving() as fake:
        line = check_error(SamplerConfig(kind="vllm", urls=[fake.url], temperature=temperature))
        assert "--logprobs-mode processed_logprobs" in line
        with sampling(fake, temperature=1.0):
            pass
    with FakeVllm().serving() as fake, sampling(fake, temperature=temperature):
        pass


def test_a_server_without_logprobs_is_reported_before_the_run(fake: FakeVllm) -> None:
    fake.spoil = lambda choice: choice | {"logprobs": None}
    assert "no completion that can be used" in check_error(
        SamplerConfig(kind="vllm", urls=[fake.url])
    )


def test_a_dead_engine_is_reported_before_the_run(fake: FakeVllm) -> None:
    fake.faults[GENERATE].append(fault(500, "EngineCore encountered an issue."))
    line = check_error(SamplerConfig(kind="vllm", urls=[fake.url]))
    assert "EngineCore" in line


def test_an_unusable_url_is_reported() -> None:
    assert "sampler.urls" in check_error(SamplerConfig(kind="vllm", urls=["vllm:8001"]))


def test_the_longest_sequence_is_that_of_the_smallest_server() -> None:
    small, large = FakeVllm(max_model_len=32), FakeVllm()
    with small.serving(), large.serving(), sampling(small, large) as sampler:
        assert sampler.servers.max_model_len == 32


def test_a_server_that_a_killed_run_left_paused_goes_on() -> None:
    with FakeVllm(num_workers=1).serving() as fake:
        assert fake.transfer
        fake.is_paused = fake.transfer.is_updating = True
        with sampling(fake):
            assert not fake.is_paused
            assert not fake.transfer.is_updating
