"""LoRA swaps on fake vLLM servers: their calls in order, and the files that remain."""

import threading
import time
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model

from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Completion, Request
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.vllm import VllmSampler
from podium_trainer.samplers.weight_sync import LoraSwap
from tests.trainer.fake_vllm import NO_ROUTE, FakeVllm, fault
from tests.trainer.samplers.vllm_sampling import names_in, one_line, sample_versions, sampling
from tests.trainer.tiny import tiny_llama, tiny_policy

REQUEST = Request([1, 2, 3], 1, 3)
GENERATE = "/inference/v1/generate"
LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"


def lora_policy() -> Policy:
    return tiny_policy(get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules="all-linear")))


@pytest.fixture
def swap(sampler: VllmSampler, tmp_path: Path) -> LoraSwap:
    return LoraSwap(lora_policy(), sampler, tmp_path, timeout_s=5.0)


def test_every_version_is_an_adapter_with_its_own_name(
    fake: FakeVllm, sampler: VllmSampler, swap: LoraSwap
) -> None:
    models = []
    for version in (0, 1, 2):
        swap.push(version)
        assert sample_versions(sampler) == [version] * 3
        models.append(fake.calls[-1][1]["model"])
        assert list(fake.adapters) == [models[-1]]
    assert len(set(models)) == 3
    assert sampler.policy_version == 2


def test_the_old_adapter_is_unloaded_after_the_new_one_loads(
    fake: FakeVllm, swap: LoraSwap, tmp_path: Path
) -> None:
    swap.push(0)
    swap.push(1)
    assert fake.paths == [LOAD, LOAD, UNLOAD]
    [folder] = fake.adapters.values()
    assert names_in(tmp_path) == ["version-000001"] == [Path(folder).name]
    assert (Path(folder) / "adapter_model.safetensors").is_file()
    assert (Path(folder) / "adapter_config.json").is_file()


def test_two_runs_on_one_server_do_not_share_names(
    fake: FakeVllm, sampler: VllmSampler, swap: LoraSwap, tmp_path: Path
) -> None:
    swap.push(0)
    LoraSwap(lora_policy(), sampler, tmp_path / "second", timeout_s=5.0).push(0)
    assert len(fake.adapters) == 2


def test_an_adapter_stays_loaded_while_a_request_uses_it(
    fake: FakeVllm, sampler: VllmSampler, swap: LoraSwap, tmp_path: Path
) -> None:
    swap.push(0)
    sampler.timeout_s = 60.0
    fake.faults[GENERATE].append(60.0)
    groups: list[list[Completion]] = []
    thread = threading.Thread(target=lambda: groups.extend(sampler.sample([REQUEST], seed=0)))
    thread.start()
    while GENERATE not in fake.paths:
        time.sleep(0.01)
    swap.push(1)
    assert len(fake.adapters) == 2
    assert names_in(tmp_path) == ["version-000000", "version-000001"]
    fake.release.set()
    thread.join()
    assert groups[0][0].policy_versions == [0, 0, 0]
    swap.push(2)
    assert len(fake.adapters) == 1
    assert names_in(tmp_path) == ["version-000002"]


def test_unloading_an_adapter_twice_is_no_error(fake: FakeVllm, swap: LoraSwap) -> None:
    swap.push(0)
    fake.adapters.clear()
    swap.push(1)
    assert len(fake.adapters) == 1


def test_a_server_without_adapters_is_reported_at_the_first_push(
    fake: FakeVllm, sampler: VllmSampler, swap: LoraSwap
) -> None:
    fake.faults[LOAD].append(NO_ROUTE)
    with pytest.raises(SamplerError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING=True") as caught:
        swap.push(0)
    assert f"{fake.url}{LOAD} answered 404" in one_line(caught)


def test_a_swap_that_is_refused_says_why(fake: FakeVllm, swap: LoraSwap) -> None:
    fake.faults[LOAD].append(fault(500, "rank 64 is greater than max_lora_rank 16"))
    with pytest.raises(SamplerError, match="rank 64 is greater than max_lora_rank 16"):
        swap.push(0)


def test_a_swap_that_hangs_ends_at_the_time_limit(
    fake: FakeVllm, sampler: VllmSampler, tmp_path: Path
) -> None:
    swap = LoraSwap(lora_policy(), sampler, tmp_path, timeout_s=0.3)
    fake.faults[LOAD].append(30.0)
    started = time.monotonic()
    with pytest.raises(SamplerError, match=r"no answer within 0\.3 s.*sampler\.admin_timeout_s"):
        swap.push(0)
    assert time.monotonic() - started < 20


def test_the_failing_server_among_several_is_named(tmp_path: Path) -> None:
    good, bad = FakeVllm(), FakeVllm()
    with good.serving(), bad.serving(), sampling(good, bad, min_servers=2) as sampler:
        bad.faults[LOAD].append(fault(500))
        with pytest.raises(SamplerError, match=r"^1 of 2 servers: ") as caught:
            LoraSwap(lora_policy(), sampler, tmp_path, timeout_s=5.0).push(0)
    assert bad.url in one_line(caught)
    assert good.url not in str(caught.value)


def test_versions_of_a_killed_run_are_removed(sampler: VllmSampler, tmp_path: Path) -> None:
    (tmp_path / "version-000009").mkdir()
    (tmp_path / "other").mkdir()
    LoraSwap(lora_policy(), sampler, tmp_path, timeout_s=5.0)
    assert names_in(tmp_path) == ["other"]


def test_a_folder_that_cannot_be_written_is_reported(sampler: VllmSampler, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SamplerError, match=r"sampler\.weights_dir: cannot write"):
        LoraSwap(lora_policy(), sampler, tmp_path / "file", timeout_s=5.0).push(0)
