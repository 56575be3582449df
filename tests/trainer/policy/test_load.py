"""Policies loaded from a folder: weights, adapters, references and refusals."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from podium_trainer.config import LoraConfig, ModelConfig
from podium_trainer.policy.load import PolicyError, check_model_path, load_policy
from podium_trainer.policy.policy import Policy
from tests.trainer.tiny import (
    END,
    GROUP,
    MODELS,
    difference,
    flatten,
    gradients,
    packed_logprobs,
    save_model,
    seeded,
    tiny_llama,
)


@pytest.mark.parametrize("dense_tokens", [1000, 0], ids=["short rows", "long rows"])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_gradient_checkpointing_gives_the_same_gradients(
    name: str, dense_tokens: int, tmp_path: Path
) -> None:
    model = seeded(MODELS[name])
    model.resize_token_embeddings(263)
    folder = save_model(tmp_path, model)
    results = []
    for checkpointing in (False, True):
        config = ModelConfig(
            path=str(folder), device="cpu", autocast=False, gradient_checkpointing=checkpointing
        )
        policy = load_policy(config, temperature=1.0)
        policy.dense_tokens = dense_tokens
        flags = [getattr(m, "gradient_checkpointing", False) for m in policy.model.modules()]
        assert any(flags) == checkpointing
        torch.cat(packed_logprobs(policy, GROUP)).sum().backward()  # type: ignore[no-untyped-call]
        results.append(gradients(policy.model))
    assert difference(results[1], results[0]) < 1e-6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_model(tmp_path / "model")


def load(folder: Path, lora: LoraConfig | None = None, **more: Any) -> Policy:
    reference = {name: more.pop(name) for name in ("needs_reference", "weights") if name in more}
    config = ModelConfig(
        **({"path": str(folder), "device": "cpu", "autocast": False, "lora": lora} | more)
    )
    return load_policy(config, temperature=1.0, **reference)


def perturb(policy: Policy) -> Policy:
    """Move the trained parameters a little, as an update would."""
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(1)), alpha=0.05)
    return policy


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2, alpha=4)], ids=["full", "lora"])
def test_a_saved_policy_loads_bit_for_bit(
    folder: Path, tmp_path: Path, lora: LoraConfig | None
) -> None:
    policy = perturb(load(folder, lora))
    policy.save(tmp_path / "weights")
    again = load(folder, lora, weights=tmp_path / "weights")
    saved, loaded = policy.model.state_dict(), again.model.state_dict()
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)
    assert len(again.parameters()) == len(policy.parameters())
    assert flatten(packed_logprobs(again, GROUP)) == flatten(packed_logprobs(policy, GROUP))
    assert (tmp_path / "weights" / "tokenizer.json").is_file()
    has_adapter = (tmp_path / "weights" / "adapter_model.safetensors").is_file()
    assert has_adapter == (lora is not None)
    assert (tmp_path / "weights" / "model.safetensors").is_file() == (lora is None)


def test_lora_trains_the_adapters_and_nothing_else(folder: Path) -> None:
    policy = load(folder, LoraConfig(rank=2))
    names = [name for name, p in policy.model.named_parameters() if p.requires_grad]
    assert names
    assert all("lora_" in name for name in names)
    assert len(names) == len(policy.parameters()) == 2 * 7 * 2  # A and B of 7 matrices in 2 layers
    torch.cat(packed_logprobs(policy, GROUP)).sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in policy.parameters())
    assert all(p.grad is None for p in policy.model.parameters() if not p.requires_grad)


def test_the_reference_of_an_adapter_is_the_model_without_it(folder: Path) -> None:
    plain = flatten(packed_logprobs(load(folder), GROUP))
    policy = perturb(load(folder, LoraConfig(rank=2), needs_reference=True))
    assert policy.reference is None
    [batch] = policy.pack(GROUP, 1000)
    current, reference = policy.logprobs(batch), policy.ref_logprobs(batch)
    assert not reference.requires_grad
    assert sorted(reference.tolist()) == pytest.approx(sorted(plain), abs=1e-5)
    assert not torch.allclose(current, reference, atol=1e-3)
    assert torch.equal(policy.logprobs(batch), current)  # the adapter is on again


def test_the_reference_of_a_full_model_is_its_frozen_start(folder: Path, tmp_path: Path) -> None:
    start = load(folder, needs_reference=True)
    assert not any(p.requires_grad for p in start.reference.parameters())
    [batch] = start.pack(GROUP, 1000)
    before = start.logprobs(batch)
    perturb(start).save(tmp_path / "weights")
    assert torch.equal(start.ref_logprobs(batch), before)
    resumed = load(folder, needs_reference=True, weights=tmp_path / "weights")
    assert torch.equal(resumed.ref_logprobs(batch), before)
    assert torch.equal(resumed.logprobs(batch), start.logprobs(batch))


def test_the_dropout_of_a_loaded_model_is_off(
    tmp_path: Path,
) -> None:
    model = seeded(MODELS["gpt2"])
    model.resize_token_embeddings(263)
    policy = load(save_model(tmp_path, model))
    assert flatten(packed_logprobs(policy, GROUP)) == flatten(packed_logprobs(policy, GROUP))
    llama = tiny_llama(vocab_size=263, attention_dropout=0.5)
    policy = load(save_model(tmp_path / "llama", llama))
    assert flatten(packed_logprobs(policy, GROUP)) == flatten(packed_logprobs(policy, GROUP))


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2)], ids=["full", "lora"])
def test_autocast_keeps_weights_and_logprobs_in_float32(
    folder: Path, lora: LoraConfig | None
) -> None:
    plain, fast = load(folder, lora), load(folder, lora, autocast=True)
    dtypes: set[torch.dtype] = set()
    base: Any = fast.base
    layer = base.get_decoder().layers[0].mlp.down_proj
    layer.register_forward_hook(lambda module, args, out: dtypes.add(out.dtype))
    with fast.autocast():
        logprobs = packed_logprobs(fast, GROUP)
    assert dtypes == {torch.bfloat16}
    assert all(each.dtype == torch.float32 for each in logprobs)
    exact = flatten(packed_logprobs(plain, GROUP))
    assert flatten(logprobs) != exact
    assert flatten(logprobs) == pytest.approx(exact, abs=0.5)
    torch.cat(logprobs).sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in fast.parameters())


def test_inference_mode_ends_with_its_block(folder: Path) -> None:
    policy = load(folder)
    with policy.inference():
        assert not policy.model.training
        assert not torch.is_grad_enabled()
    assert policy.model.training
    assert torch.is_grad_enabled()


def test_stop_tokens_come_from_tokenizer_and_generation_config(folder: Path) -> None:
    policy = load(folder)
    assert policy.chat.stop_ids == {END}
    model = tiny_llama(vocab_size=263)
    model.generation_config.eos_token_id = [0, END]
    model.save_pretrained(folder)
    assert load(folder).chat.stop_ids == {0, END}


def test_a_model_that_cannot_be_loaded_is_explained_in_one_line(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(PolicyError, match=r"^model\.path .*nowhere.* cannot be loaded: ") as caught:
        load(nowhere)
    assert "\n" not in str(caught.value)
    no_template = save_model(tmp_path / "no_template", template=None)
    with pytest.raises(PolicyError, match="no chat template: take an instruction-tuned model"):
        load(no_template)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PolicyError, match="cannot be loaded"):
        load(tmp_path / "empty")
    broken = save_model(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"half")
    with pytest.raises(PolicyError, match="cannot be loaded"):
        load(broken)


@contextmanager
def hub(status: int, headers: dict[str, str]) -> Iterator[str]:
    """Answer everything with a status and headers, as the hub does, and yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {**headers, "content-length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("name", ["nowhere", "acme/nowhere"])
def test_a_name_that_the_hub_does_not_know_is_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub(404, {"X-Error-Code": "RepoNotFound"}) as url:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        with pytest.raises(PolicyError, match=f"'{name}': .* no such model on the hub"):
            check_model_path(name)


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PolicyError, match="no such folder, and the hub cannot be reached: "):
        check_model_path("acme/nowhere")


def test_a_hub_that_fails_is_left_to_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(503, {}) as url:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        check_model_path("acme/somewhere")
