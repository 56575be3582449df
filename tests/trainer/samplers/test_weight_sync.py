"""Weight syncs against fake vLLM servers: their calls in order, and the files that remain."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Completion, Request
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.vllm import VllmSampler
from podium_trainer.samplers.weight_sync import FullReload, LoraSwap
from tests.trainer.fake_vllm import NO_ROUTE, FakeVllm, fault
from tests.trainer.samplers.vllm_sampling import sampling
from tests.trainer.tiny import tiny_llama, tiny_policy

REQUEST = Request([1, 2, 3], 1, 3)
GENERATE, LOAD, UNLOAD = (
    "/inference/v1/generate",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
)
PAUSE, RELOAD, NAME, RESUME = "/pause", "/collective_rpc", "/update_weight_version", "/resume"


def lora_policy() -> Policy:
    return tiny_policy(get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules="all-linear")))


@pytest.fixture
def swap(sampler: VllmSampler, tmp_path: Path) -> LoraSwap:
    return LoraSwap(lora_policy(), sampler, tmp_path, timeout_s=5.0)


@pytest.fixture
def full(sampler: VllmSampler, tmp_path: Path) -> FullReload:
    return FullReload(tiny_policy(), sampler, tmp_path, timeout_s=5.0)


def sample_versions(sampler: VllmSampler) -> list[int]:
    """Sample a completion and return the versions of its tokens."""
    [[completion]] = sampler.sample([REQUEST], seed=0)
    return completion.policy_versions


def names_in(path: Path) -> list[str]:
    return sorted(child.name for child in path.iterdir())


def one_line(caught: Any) -> str:
    """Return an error message after checking that it is one line."""
    assert "\n" not in str(caught.value)
    return str(caught.value)


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
    done: list[list[Completion]] = []
    thread = threading.Thread(target=lambda: done.extend(sampler.sample([REQUEST], seed=0)))
    thread.start()
    while GENERATE not in fake.paths:
        time.sleep(0.01)
    swap.push(1)
    assert len(fake.adapters) == 2
    assert names_in(tmp_path) == ["version-000000", "version-000001"]
    fake.release.set()
    thread.join()
    assert done[0][0].policy_versions == [0, 0, 0]
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


def test_a_failed_swap_leaves_the_old_version_in_use(
    fake: FakeVllm, sampler: VllmSampler, swap: LoraSwap
) -> None:
    swap.push(0)
    fake.faults[LOAD].append(fault(500, "rank 64 is greater than max_lora_rank 16"))
    with pytest.raises(SamplerError, match="rank 64 is greater than max_lora_rank 16"):
        swap.push(1)
    assert sampler.policy_version == 0
    assert sample_versions(sampler) == [0, 0, 0]


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
    with good.serving(), bad.serving(), sampling(good, bad) as sampler:
        bad.faults[LOAD].append(fault(500))
        with pytest.raises(SamplerError, match=r"^1 of 2 servers: ") as caught:
            LoraSwap(lora_policy(), sampler, tmp_path, timeout_s=5.0).push(0)
    assert bad.url in one_line(caught)
    assert good.url not in str(caught.value)


def test_versions_of_a_killed_run_are_removed(sampler: VllmSampler, tmp_path: Path) -> None:
    (tmp_path / "version-000009").mkdir()
    (tmp_path / "mine").mkdir()
    LoraSwap(lora_policy(), sampler, tmp_path, timeout_s=5.0)
    assert names_in(tmp_path) == ["mine"]


def test_a_folder_that_cannot_be_written_is_reported(sampler: VllmSampler, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SamplerError, match=r"sampler\.weights_dir: cannot write"):
        LoraSwap(lora_policy(), sampler, tmp_path / "file", timeout_s=5.0).push(0)


def test_servers_pause_while_weights_change(
    fake: FakeVllm, sampler: VllmSampler, full: FullReload, tmp_path: Path
) -> None:
    full.push(0)
    assert fake.paths == [PAUSE, RELOAD, NAME, RESUME]
    assert not fake.is_paused
    full.push(1)
    assert sample_versions(sampler) == [1, 1, 1]
    assert names_in(tmp_path) == ["version-000001"]
    assert fake.reloaded == str(tmp_path / "version-000001")


def test_a_completion_across_a_reload_says_each_tokens_version(
    fake: FakeVllm, sampler: VllmSampler, full: FullReload
) -> None:
    full.push(3)
    first = fake.label
    full.push(4)
    fake.spans = [
        {"version": first, "start": 0, "end": 1},
        {"version": fake.label, "start": 1, "end": 3},
    ]
    assert sample_versions(sampler) == [3, 4, 4]


@pytest.mark.parametrize("path", [PAUSE, RELOAD, NAME])
def test_a_failed_reload_leaves_no_server_paused(
    fake: FakeVllm, sampler: VllmSampler, full: FullReload, path: str
) -> None:
    full.push(0)
    fake.faults[path].append(fault(500, "Call to collective_rpc method failed"))
    with pytest.raises(SamplerError, match="collective_rpc method failed") as caught:
        full.push(1)
    assert f"{fake.url}{path}" in one_line(caught)
    assert fake.paths[-1] == RESUME
    assert not fake.is_paused
    assert sampler.policy_version == 0


def test_one_server_that_cannot_reload_leaves_none_paused(tmp_path: Path) -> None:
    good, bad = FakeVllm(), FakeVllm()
    with good.serving(), bad.serving(), sampling(good, bad) as sampler:
        bad.faults[RELOAD].append(fault(500))
        with pytest.raises(SamplerError, match=r"^1 of 2 servers: "):
            FullReload(tiny_policy(), sampler, tmp_path, timeout_s=5.0).push(0)
        assert not good.is_paused
        assert not bad.is_paused


def test_a_reload_that_hangs_resumes_at_the_time_limit(
    fake: FakeVllm, sampler: VllmSampler, tmp_path: Path
) -> None:
    fake.faults[RELOAD].append(30.0)
    with pytest.raises(SamplerError, match=r"no answer within 2 s"):
        FullReload(tiny_policy(), sampler, tmp_path, timeout_s=2.0).push(0)
    assert not fake.is_paused


def test_a_reload_does_not_wait_for_paused_completions(
    fake: FakeVllm, sampler: VllmSampler, full: FullReload
) -> None:
    full.push(0)
    sampler.timeout_s = 60.0
    fake.faults[GENERATE].extend([30.0] * 260)
    thread = threading.Thread(target=lambda: sampler.sample([REQUEST] * 260, seed=0))
    thread.start()
    while fake.paths.count(GENERATE) < 256:
        time.sleep(0.01)
    full.push(1)
    assert sampler.policy_version == 1
    assert thread.is_alive()
    fake.release.set()
    thread.join()


def test_a_server_that_does_not_resume_is_reported(fake: FakeVllm, full: FullReload) -> None:
    fake.faults[RESUME].append(fault(500, "Failed to resume generation"))
    with pytest.raises(SamplerError, match="Failed to resume generation"):
        full.push(0)


def test_a_server_outside_dev_mode_is_reported(fake: FakeVllm, full: FullReload) -> None:
    fake.faults[PAUSE].append(NO_ROUTE)
    with pytest.raises(SamplerError, match="VLLM_SERVER_DEV_MODE=1"):
        full.push(0)


def test_a_tied_head_is_written_by_name(
    fake: FakeVllm, sampler: VllmSampler, tmp_path: Path
) -> None:
    policy = tiny_policy(tiny_llama(tie_word_embeddings=True))
    FullReload(policy, sampler, tmp_path, timeout_s=5.0).push(0)
    written = load_file(tmp_path / "version-000000" / "model.safetensors")
    assert written.keys() == policy.base.state_dict().keys()
    assert torch.equal(written["lm_head.weight"], written["model.embed_tokens.weight"])
    assert policy.model.lm_head.weight is policy.model.model.embed_tokens.weight
