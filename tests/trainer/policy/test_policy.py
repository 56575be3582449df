"""Logprobs of every kind of model against all its logits, one unpadded row per sample."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from podium_trainer.config import LoraConfig, ModelConfig
from podium_trainer.policy import policy as policy_module
from podium_trainer.policy.load import PolicyError, load_policy
from podium_trainer.policy.model_probes import can_share_prefixes, head_is_plain
from podium_trainer.policy.policy import Policy, chunked_logprobs
from podium_trainer.policy.samples import Sample
from tests.trainer.tiny import (
    END,
    MODELS,
    VOCAB,
    difference,
    gradients,
    naive_logprobs,
    sample,
    save_model,
    seeded,
    tiny_llama,
    tiny_policy,
)

PROMPT = [5, 9, 14, 7, 30, 11, 8, 21, 40, 13, 6, 3]
GROUP = [
    sample([*PROMPT, 12, 13, 14, END], range(12, 16)),
    sample([*PROMPT, 12, 13, 15, 16, 17, 18, 19, END], range(12, 20)),
    sample([*PROMPT, 12, END], [12, 13]),
    sample([5, 9, 14, 22, 23, END], [3, 4, 5]),
]
FLAGS = {  # whether prefixes are shared, whether logits are made in chunks
    "llama": (True, True),
    "llama, eager attention": (False, True),
    "gpt2": (True, True),
    "gpt neo, local attention": (False, True),
    "mistral, sliding window": (False, True),
    "qwen2, one sliding layer": (False, True),
    "gemma2, capped logits": (False, False),
    "granite, scaled logits": (True, False),
    "cohere, scaled logits": (True, False),
    "lfm2, convolution and attention": (False, True),
    "mamba": (False, True),
}


def packed_logprobs(policy: Policy, samples: list[Sample], max_tokens: int = 40) -> list[Tensor]:
    """The logprobs of each sample's trained tokens, by the way the trainer takes."""
    found: dict[int, Tensor] = {}
    for batch in policy.pack(samples, max_tokens):
        logprobs_N = policy.logprobs(batch)
        for number, index in enumerate(batch.samples):
            found[index] = logprobs_N[batch.sequence_N == number]
    return [found[i] for i in range(len(samples))]


def flat(pieces: list[Tensor]) -> list[float]:
    return [float(x) for piece in pieces for x in piece.detach()]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_every_kind_of_model_gives_the_logprobs_of_its_full_logits(
    name: str, temperature: float
) -> None:
    model = seeded(MODELS[name])
    policy = tiny_policy(model, temperature=temperature)
    assert (policy.shares_prefixes, policy.chunks_logits) == FLAGS[name]
    model.eval()
    expected = [naive_logprobs(model, one, temperature) for one in GROUP]
    assert flat(packed_logprobs(policy, GROUP)) == pytest.approx(flat(expected), abs=1e-5)


@pytest.mark.parametrize("name", ["llama", "gemma2, capped logits", "cohere, scaled logits"])
def test_the_probes_leave_the_model_in_the_mode_it_was_in(name: str) -> None:
    model = seeded(MODELS[name]).train()
    can_share_prefixes(model)
    head_is_plain(model)
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_a_weak_cap_on_the_logits_is_seen_in_bfloat16_too() -> None:
    make = MODELS["gemma2, capped logits"]
    model = seeded(make).to(torch.bfloat16)
    model.config.final_logit_softcapping = 30.0
    assert not head_is_plain(model)
    model.config.final_logit_softcapping = None
    assert head_is_plain(model)


class CountingHead(torch.nn.Linear):
    """An output layer that notes how many rows it got each time."""

    def __init__(self) -> None:
        super().__init__(4, 11, bias=False, dtype=torch.float64)
        self.rows: list[int] = []

    def forward(self, input: Tensor) -> Tensor:
        self.rows.append(len(input))
        return super().forward(input)


@pytest.mark.parametrize("chunk", [1, 3, 8, 20, 21, 1000])
def test_chunked_logprobs_are_those_of_a_full_log_softmax_with_its_gradients(chunk: int) -> None:
    torch.manual_seed(0)
    head, targets_T = CountingHead(), torch.randint(11, (20,))
    hidden_TD = torch.randn(20, 4, dtype=torch.float64, requires_grad=True)
    weights_T = torch.randn(20, dtype=torch.float64)

    full_TV = (hidden_TD @ head.weight.T / 0.7).log_softmax(-1)
    expected_T = full_TV[range(20), targets_T]
    expected = torch.autograd.grad((expected_T * weights_T).sum(), [hidden_TD, head.weight])
    got_T = chunked_logprobs(hidden_TD, head, targets_T, 0.7, chunk)
    got = torch.autograd.grad((got_T * weights_T).sum(), [hidden_TD, head.weight])

    assert got_T.tolist() == pytest.approx(expected_T.tolist(), abs=1e-6)
    for mine, theirs in zip(got, expected, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)
    assert max(head.rows) == min(chunk, 20)
    assert sum(head.rows) == (20 if chunk >= 20 else 40)  # forward, and again for the backward


def test_chunking_leaves_no_trace_without_gradients() -> None:
    head = CountingHead()
    with torch.no_grad():
        got = chunked_logprobs(torch.ones(7, 4, dtype=torch.float64), head, torch.arange(7), 1.0, 2)
    assert got.shape == (7,)
    assert head.rows == [2, 2, 2, 1]


def test_only_hidden_states_that_predict_a_trained_token_reach_the_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(policy_module, "LOGITS_CHUNK", 512)
    policy = tiny_policy()
    rows: list[tuple[int, ...]] = []
    policy.model.lm_head.register_forward_hook(lambda module, args, out: rows.append(out.shape))
    packed_logprobs(policy, GROUP, max_tokens=1000)
    # 4 + 8 + 2 + 3 trained tokens; 12 is shared by three samples, 13 by two.
    assert rows == [(14, VOCAB)]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_gradient_checkpointing_gives_the_same_gradients(name: str, tmp_path: Path) -> None:
    model = seeded(MODELS[name])
    model.resize_token_embeddings(263)
    folder = save_model(tmp_path, model)
    found = []
    for checkpointing in (False, True):
        config = ModelConfig(
            path=str(folder), device="cpu", autocast=False, gradient_checkpointing=checkpointing
        )
        policy = load_policy(config, temperature=1.0)
        flags = [getattr(m, "gradient_checkpointing", False) for m in policy.model.modules()]
        assert any(flags) == checkpointing
        torch.cat(packed_logprobs(policy, GROUP)).sum().backward()  # type: ignore[no-untyped-call]
        found.append(gradients(policy.model))
    assert difference(found[1], found[0]) < 1e-6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_model(tmp_path / "model")


def load(folder: Path, lora: LoraConfig | None = None, **more: Any) -> Policy:
    reference = {name: more.pop(name) for name in ("needs_reference", "weights") if name in more}
    config = ModelConfig(
        **({"path": str(folder), "device": "cpu", "autocast": False, "lora": lora} | more)
    )
    return load_policy(config, temperature=1.0, **reference)


def trained_a_little(policy: Policy) -> Policy:
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(1)), alpha=0.05)
    return policy


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2, alpha=4)], ids=["full", "lora"])
def test_a_saved_policy_loads_bit_for_bit(
    folder: Path, tmp_path: Path, lora: LoraConfig | None
) -> None:
    policy = trained_a_little(load(folder, lora))
    policy.save(tmp_path / "weights")
    again = load(folder, lora, weights=tmp_path / "weights")
    mine, theirs = policy.model.state_dict(), again.model.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert len(again.parameters()) == len(policy.parameters())
    assert flat(packed_logprobs(again, GROUP)) == flat(packed_logprobs(policy, GROUP))
    assert (tmp_path / "weights" / "tokenizer.json").is_file()
    has_adapter = (tmp_path / "weights" / "adapter_model.safetensors").is_file()
    assert has_adapter == (lora is not None)
    assert (tmp_path / "weights" / "model.safetensors").is_file() == (lora is None)


def test_lora_trains_the_adapters_and_nothing_else(folder: Path) -> None:
    policy = load(folder, LoraConfig(rank=2))
    names = [name for name, p in policy.model.named_parameters() if p.requires_grad]
    assert names
    assert all("lora_" in name for name in names)
    assert len(names) == len(policy.parameters()) == 2 * 7 * 2  # A and B, 7 matrices, 2 layers
    torch.cat(packed_logprobs(policy, GROUP)).sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in policy.parameters())
    assert all(p.grad is None for p in policy.model.parameters() if not p.requires_grad)


def test_the_reference_of_an_adapter_is_the_model_without_it(folder: Path) -> None:
    plain = flat(packed_logprobs(load(folder), GROUP))
    policy = trained_a_little(load(folder, LoraConfig(rank=2), needs_reference=True))
    assert policy.reference is None
    [batch] = policy.pack(GROUP, 1000)
    current, reference = policy.logprobs(batch), policy.ref_logprobs(batch)
    assert not reference.requires_grad
    assert sorted(reference.tolist()) == pytest.approx(sorted(plain), abs=1e-5)
    assert not torch.allclose(current, reference, atol=1e-3)
    assert torch.equal(policy.logprobs(batch), current)  # the adapter is on again


def test_the_reference_of_a_full_model_is_a_frozen_copy_of_the_start(
    folder: Path, tmp_path: Path
) -> None:
    start = load(folder, needs_reference=True)
    assert not any(p.requires_grad for p in start.reference.parameters())
    [batch] = start.pack(GROUP, 1000)
    before = start.logprobs(batch)
    trained_a_little(start).save(tmp_path / "weights")
    assert torch.equal(start.ref_logprobs(batch), before)
    resumed = load(folder, needs_reference=True, weights=tmp_path / "weights")
    assert torch.equal(resumed.ref_logprobs(batch), before)
    assert torch.equal(resumed.logprobs(batch), start.logprobs(batch))


def test_a_models_dropout_is_off_so_that_the_policy_is_what_was_sampled_from(
    tmp_path: Path,
) -> None:
    model = seeded(MODELS["gpt2"])
    model.resize_token_embeddings(263)
    policy = load(save_model(tmp_path, model))
    assert flat(packed_logprobs(policy, GROUP)) == flat(packed_logprobs(policy, GROUP))
    llama = tiny_llama(vocab_size=263, attention_dropout=0.5)
    policy = load(save_model(tmp_path / "llama", llama))
    assert flat(packed_logprobs(policy, GROUP)) == flat(packed_logprobs(policy, GROUP))


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2)], ids=["full", "lora"])
def test_autocast_computes_in_bfloat16_and_keeps_weights_and_logprobs_in_float32(
    folder: Path, lora: LoraConfig | None
) -> None:
    plain, fast = load(folder, lora), load(folder, lora, autocast=True)
    kinds: set[torch.dtype] = set()
    base: Any = fast.base
    layer = base.get_decoder().layers[0].mlp.down_proj
    layer.register_forward_hook(lambda module, args, out: kinds.add(out.dtype))
    with fast.autocast():
        got = packed_logprobs(fast, GROUP)
    assert kinds == {torch.bfloat16}
    assert all(piece.dtype == torch.float32 for piece in got)
    exact = flat(packed_logprobs(plain, GROUP))
    assert flat(got) != exact
    assert flat(got) == pytest.approx(exact, abs=0.5)
    torch.cat(got).sum().backward()  # type: ignore[no-untyped-call]
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


def test_what_cannot_be_loaded_is_said_in_one_line(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(PolicyError, match=r"^model\.path .*nowhere.* cannot be loaded: ") as caught:
        load(nowhere)
    assert "\n" not in str(caught.value)
    silent = save_model(tmp_path / "silent", template=None)
    with pytest.raises(PolicyError, match="no chat template: take an instruction-tuned model"):
        load(silent)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PolicyError, match="cannot be loaded"):
        load(tmp_path / "empty")
    broken = save_model(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"half")
    with pytest.raises(PolicyError, match="cannot be loaded"):
        load(broken)
