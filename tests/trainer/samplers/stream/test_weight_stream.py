"""Pushes over the network to fake vLLM servers, by real groups: what arrives, in which order."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from podium_trainer.config import SamplerConfig, TrainConfig
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.stream.push import Streamed
from podium_trainer.samplers.stream.stream import WeightStream
from podium_trainer.samplers.vllm import VllmSampler
from podium_trainer.samplers.weight_sync import FullReload
from tests.trainer.fake_vllm import NO_ROUTE, FakeVllm, fault
from tests.trainer.samplers.vllm_sampling import one_line, sample_versions, sampling
from tests.trainer.tiny import seeded, tiny_llama, tiny_policy

INIT, LEAVE = "/init_weight_transfer_engine", "/shutdown_weight_transfer_engine"
START = "/start_weight_update"
UPDATE, FINISH = "/update_weights", "/finish_weight_update"
PAUSE, NAME, RESUME = "/pause", "/update_weight_version", "/resume"
GENERATE = "/inference/v1/generate"
PUSH = [PAUSE, NAME, START, UPDATE, FINISH, RESUME]


@pytest.fixture
def fake() -> Iterator[FakeVllm]:
    with FakeVllm(num_workers=2).serving() as server:
        yield server


@pytest.fixture
def stream(sampler: VllmSampler) -> Iterator[WeightStream]:
    made = WeightStream(tiny_policy(), sampler, timeout_s=5.0)
    yield made
    made.close()


def tiny_moe() -> Any:
    """Return a model whose experts transformers fuses when it loads them."""
    config = Qwen3MoeConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, num_experts=4, num_experts_per_tok=2,
        moe_intermediate_size=8, intermediate_size=16, max_position_embeddings=64,
    )  # fmt: skip
    return seeded(lambda: Qwen3MoeForCausalLM(config))


def loaded(fake: FakeVllm) -> list[dict[str, Tensor]]:
    assert fake.transfer
    return fake.transfer.loaded


def num_meetings(fake: FakeVllm) -> int:
    assert fake.transfer
    return fake.transfer.num_meetings


def test_a_push_pauses_the_server_and_names_its_weights(
    fake: FakeVllm, sampler: VllmSampler, stream: WeightStream
) -> None:
    stream.push(3)
    assert fake.paths == [INIT, *PUSH]
    assert not fake.is_paused
    assert sample_versions(sampler) == [3, 3, 3]
    fake.calls.clear()
    stream.push(4)
    assert fake.paths == PUSH
    assert sample_versions(sampler) == [4, 4, 4]


def test_a_stream_is_left_after_the_end_of_its_sampler(fake: FakeVllm) -> None:
    with sampling(fake) as sampler:
        stream = WeightStream(tiny_policy(), sampler, timeout_s=5.0)
        stream.push(0)
        sampler.close()
        with pytest.raises(SamplerError, match="the run ends"):
            sample_versions(sampler)
        stream.close()
        assert fake.paths == [INIT, *PUSH, LEAVE]
        stream.close()
        assert fake.paths == [INIT, *PUSH, LEAVE]


MODELS = {
    "llama": tiny_llama,
    "tied": lambda: tiny_llama(tie_word_embeddings=True),
    "experts": tiny_moe,
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_each_worker_gets_what_a_reload_would_read(
    fake: FakeVllm, sampler: VllmSampler, tmp_path: Path, make: Any
) -> None:
    policy = tiny_policy(make())
    FullReload(policy, sampler, tmp_path, timeout_s=5.0).push(0)
    written = load_file(tmp_path / "version-000000" / "model.safetensors")
    stream = WeightStream(policy, sampler, timeout_s=5.0, bucket_bytes=5000)
    stream.push(1)
    assert fake.paths.count(UPDATE) > 1
    assert len(loaded(fake)) == 2
    for weights in loaded(fake):
        assert weights.keys() == written.keys()
        assert all(torch.equal(weights[name], written[name]) for name in written)
    stream.close()


def test_the_policy_may_change_while_a_server_is_away(tmp_path: Path) -> None:
    fake, notes = FakeVllm(num_workers=1), list[str]()
    with fake.serving():
        pass
    with FakeVllm(num_workers=1).serving() as here, sampling(here, fake, notes=notes) as sampler:
        stream = WeightStream(tiny_policy(), sampler, timeout_s=5.0)
        stream.push(1)
        with torch.no_grad():
            for parameter in stream.policy.parameters():
                parameter.zero_()
        with fake.serving():
            ends_at = time.monotonic() + 20
            while sampler.servers.num_ready < 2:
                assert time.monotonic() < ends_at
                time.sleep(0.01)
            [weights] = loaded(fake)
            [expected] = loaded(here)
            assert all(torch.equal(weights[name], expected[name]) for name in expected)
            stream.close()


@pytest.mark.parametrize("path", PUSH[:-1])
def test_a_failed_push_ends_its_update_and_resumes(
    fake: FakeVllm, sampler: VllmSampler, stream: WeightStream, path: str
) -> None:
    stream.push(0)
    fake.faults[path].extend([fault(500, "worker failed")] * (2 if path == PAUSE else 1))
    with pytest.raises(SamplerError, match="worker failed") as caught:
        sampler.servers.run(lambda: give_again(stream, sampler))
    assert f"{fake.url}{path}" in one_line(caught)
    assert not fake.is_paused
    assert fake.transfer
    assert not fake.transfer.is_updating
    is_whole = path in (PAUSE, NAME)  # nothing was changed yet
    assert fake.label == (f"{stream.run}-0" if is_whole else "default")
    stream.push(1)
    assert sample_versions(sampler) == [1, 1, 1]


async def give_again(stream: WeightStream, sampler: VllmSampler) -> None:
    """Give the server the present push again, as its return would."""
    [server] = sampler.servers.membership.members
    push = sampler.servers.membership.push
    assert push
    await push.give(server)


def test_completions_in_flight_are_asked_anew_after_a_failure(
    fake: FakeVllm, sampler: VllmSampler, stream: WeightStream
) -> None:
    """What went on drawing would have weights of two versions."""
    stream.push(0)
    fake.faults[GENERATE].append(30.0)
    with ThreadPoolExecutor(1) as threads:
        sampled = threads.submit(sample_versions, sampler)
        while GENERATE not in fake.paths:
            time.sleep(0.01)
        fake.faults[UPDATE].append(fault(500))
        stream.push(1)
        assert sampled.result() == [1, 1, 1]
    assert fake.paths.count(GENERATE) == 2


def test_an_update_that_another_trainer_left_is_ended(
    fake: FakeVllm, sampler: VllmSampler, stream: WeightStream
) -> None:
    assert fake.transfer
    fake.transfer.is_updating = True
    stream.push(0)
    assert fake.paths == [INIT, PAUSE, NAME, START, UPDATE, *PUSH[2:]]
    assert sample_versions(sampler) == [0, 0, 0]


def test_a_server_that_restarts_joins_anew(
    fake: FakeVllm, sampler: VllmSampler, stream: WeightStream
) -> None:
    stream.push(0)
    assert fake.transfer
    fake.transfer.die()
    fake.label = "default"
    stream.push(1)
    assert num_meetings(fake) == 2
    assert sample_versions(sampler) == [1, 1, 1]


def test_a_bucket_that_hangs_ends_at_the_time_limit(fake: FakeVllm) -> None:
    notes: list[str] = []
    with sampling(fake, notes=notes, look_every_s=60.0) as sampler:
        stream = WeightStream(tiny_policy(), sampler, timeout_s=30.0)
        stream.push(0)  # the meeting may take long on a busy machine
        push = sampler.servers.membership.push
        assert isinstance(push, Streamed)
        fake.faults[UPDATE].append(30.0)
        started = time.monotonic()
        sampler.servers.adopt(replace(push, timeout_s=1.0))
        assert time.monotonic() - started < 20
        assert f"{fake.url}{UPDATE}: no answer within 1 s" in notes[-1]
        assert not fake.is_paused
        stream.close()


def test_a_server_that_misses_the_meeting_is_reported(fake: FakeVllm, sampler: VllmSampler) -> None:
    fake.faults[INIT].append((200, {}))
    with pytest.raises(SamplerError, match=r"does not meet within 0\.5 s"):
        WeightStream(tiny_policy(), sampler, timeout_s=0.5).push(0)
    assert fake.paths == [INIT]


@pytest.mark.parametrize(
    "answer",
    [NO_ROUTE, fault(500, "Weight transfer not configured."), fault(500, "Invalid init_info")],
    ids=["not in dev mode", "no flag", "another backend"],
)
def test_a_server_that_cannot_do_it_says_what_it_needs(
    fake: FakeVllm, stream: WeightStream, answer: Any
) -> None:
    fake.faults[INIT].append(answer)
    with pytest.raises(SamplerError) as caught:
        stream.push(0)
    line = one_line(caught)
    assert "VLLM_SERVER_DEV_MODE=1" in line
    assert """--weight-transfer-config '{"backend": "podium"}'""" in line
    assert "from the clone, `pip install .`" in line
    # A thread that torch keeps waiting for the workers would abort a process that ends then.
    assert "weights" not in {thread.name for thread in threading.enumerate()}


def test_a_server_without_weight_transfer_says_what_it_needs() -> None:
    with FakeVllm().serving() as fake, sampling(fake) as sampler:
        with pytest.raises(SamplerError, match=r"VLLM_SERVER_DEV_MODE=1") as caught:
            WeightStream(tiny_policy(), sampler, timeout_s=5.0).push(0)
        assert f"{fake.url}/get_world_size answered 404" in one_line(caught)


def test_a_stream_of_adapters_or_without_servers_is_refused() -> None:
    with pytest.raises(ValidationError, match="set kind: vllm"):
        SamplerConfig(kind="local", weight_sync="stream")
    recipe = {"model": {"path": "m", "lora": {}}, "task": {"name": "addition"}}
    with pytest.raises(ValidationError, match=r"lora trains adapters, which go as files"):
        TrainConfig.model_validate(recipe | {"sampler": {"kind": "vllm", "weight_sync": "stream"}})
