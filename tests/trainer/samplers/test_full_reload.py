"""Full reloads on fake vLLM servers: their calls in order, and no server left paused."""

import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from podium_trainer.policy.samples import Request
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.vllm import VllmSampler
from podium_trainer.samplers.weight_files import narrow
from podium_trainer.samplers.weight_sync import FullReload
from tests.trainer.fake_vllm import NO_ROUTE, FakeVllm, fault
from tests.trainer.samplers.vllm_sampling import names_in, one_line, sample_versions, sampling
from tests.trainer.tiny import tiny_llama, tiny_policy

REQUEST = Request([1, 2, 3], 1, 3)
GENERATE = "/inference/v1/generate"
PAUSE, RELOAD, NAME, RESUME = "/pause", "/collective_rpc", "/update_weight_version", "/resume"


@pytest.fixture
def full(sampler: VllmSampler, tmp_path: Path) -> FullReload:
    return FullReload(tiny_policy(), sampler, tmp_path, timeout_s=5.0)


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
    fake: FakeVllm, full: FullReload, path: str
) -> None:
    fake.faults[path].append(fault(500, "Call to collective_rpc method failed"))
    with pytest.raises(SamplerError, match="collective_rpc method failed") as caught:
        full.push(0)
    assert f"{fake.url}{path}" in one_line(caught)
    assert fake.paths[-1] == RESUME
    assert not fake.is_paused


def test_one_server_that_cannot_reload_leaves_none_paused(tmp_path: Path) -> None:
    good, bad = FakeVllm(), FakeVllm()
    with good.serving(), bad.serving(), sampling(good, bad, min_servers=2) as sampler:
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


def pushed_types(folder: Path) -> set[torch.dtype]:
    tensors = load_file(folder / "version-000000/model.safetensors")
    return {tensor.dtype for tensor in tensors.values()}


def test_weights_are_pushed_in_the_type_that_servers_compute_in(tmp_path: Path) -> None:
    policy = tiny_policy()
    with FakeVllm().serving() as fake, sampling(fake) as sampler:
        FullReload(policy, sampler, tmp_path, timeout_s=5.0).push(0)
        assert pushed_types(tmp_path) == {torch.float32}
        size = (tmp_path / "version-000000/model.safetensors").stat().st_size
        fake.dtype = "bfloat16"
        FullReload(policy, sampler, tmp_path, timeout_s=5.0).push(0)
        assert pushed_types(tmp_path) == {torch.bfloat16}
        assert (tmp_path / "version-000000/model.safetensors").stat().st_size < 0.6 * size
        FullReload(policy, sampler, tmp_path, timeout_s=5.0, dtype="float32").push(0)
        assert pushed_types(tmp_path) == {torch.float32}
    assert {p.dtype for p in policy.parameters()} == {torch.float32}


def test_servers_of_different_types_get_the_weights_as_they_are(tmp_path: Path) -> None:
    with FakeVllm().serving() as first, FakeVllm().serving() as second:
        first.dtype, second.dtype = "bfloat16", "float16"
        with sampling(first, second) as sampler:
            FullReload(tiny_policy(), sampler, tmp_path, timeout_s=5.0).push(0)
    assert pushed_types(tmp_path) == {torch.float32}


def test_narrowed_weights_are_rounded_and_some_stay() -> None:
    state = {
        "head.weight": torch.tensor([1 + 2**-9]),
        "gate.bias": torch.tensor([1 + 2**-9]),
        "steps": torch.tensor([3]),
        "half": torch.tensor([1.0], dtype=torch.float16),
    }
    narrowed = narrow(state, torch.bfloat16, kept=["gate.bias"])
    assert narrowed["head.weight"].tolist() == [1.0]
    assert narrowed["gate.bias"].tolist() == [1 + 2**-9]
    assert narrowed["steps"].dtype == torch.int64
    assert narrowed["half"].dtype == torch.float16
