"""The model being trained: load it, ask it for logprobs, save it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from trainer_client.batching import MicroBatch, pack_padded, pack_shared
from trainer_client.chat import Chat
from trainer_client.config import ModelConfig
from trainer_client.samples import Sample

LOGITS_CHUNK = 512  # how many tokens' logits exist at once


class PolicyError(Exception):
    """The model cannot be used; one line that says why and what to do."""


class Policy:
    """A causal language model with its tokenizer, for training and for sampling.

    Args:
        model: a Hugging Face causal LM; with peft adapters or without.
        chat: its tokenizer and chat template.
        temperature: divides the logits, here as in the sampler.
        autocast: bfloat16 for matrix products; weights stay as they are.
        reference: a frozen copy for the KL penalty; None where there is none, or where switching
            the adapters off gives it.
    """

    def __init__(
        self,
        model: Any,
        chat: Chat,
        *,
        temperature: float,
        autocast: bool = False,
        reference: Any = None,
    ) -> None:
        self.model = model
        self.chat = chat
        self.temperature = temperature
        self.reference = reference
        self.is_lora = hasattr(model, "peft_config")
        self.base: PreTrainedModel = model.get_base_model() if self.is_lora else model
        self.device = torch.device(self.base.device)
        self._autocast = autocast
        takes = signature(self.base.forward).parameters
        self._cache_argument = "cache_params" if "cache_params" in takes else "past_key_values"
        self.context = int(getattr(self.base.config, "max_position_embeddings", 0) or 2**31)
        self.shares_prefixes = can_share_prefixes(self.base)
        self.chunks_logits = head_is_plain(self.base)

    def autocast(self) -> AbstractContextManager[Any]:
        """Where matrix products run in bfloat16, if that was asked for."""
        if not self._autocast:
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Eval mode, no gradients; each weight is cast once for all calls in the block."""
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad(), self.autocast():
                yield
        finally:
            self.model.train(was_training)

    def next_logits(self, input_ids_BT: Tensor, mask_BT: Tensor, cache: Any) -> Tensor:
        """Logits (B, V) of the token after the last of each row; the cache grows by T."""
        new = input_ids_BT.shape[1]
        positions_BT = (mask_BT.cumsum(dim=1) - 1).clamp(min=0)[:, -new:]
        if self._cache_argument == "cache_params":  # recurrent: the past is a state, not masked
            mask_BT = mask_BT[:, -new:]
        output = self.model(
            input_ids=input_ids_BT,
            attention_mask=mask_BT,
            position_ids=positions_BT,
            use_cache=True,
            logits_to_keep=1,
            **{self._cache_argument: cache},
        )
        logits: Tensor = output.logits[:, -1]
        return logits

    def pack(self, samples: list[Sample], max_tokens: int) -> Iterator[MicroBatch]:
        """Micro-batches in the form that this model takes, each made when it is needed."""
        pack = pack_shared if self.shares_prefixes else pack_padded
        return (batch.to(self.device) for batch in pack(samples, max_tokens))

    def logprobs(self, batch: MicroBatch) -> Tensor:
        """Logprobs (N,) of the trained tokens of a micro-batch at the sampling temperature."""
        return self._logprobs(self.base, batch)

    def ref_logprobs(self, batch: MicroBatch) -> Tensor:
        """The same under the reference: the frozen copy, or the model with its adapters off."""
        with torch.no_grad(), self.autocast():
            if self.reference is not None:
                return self._logprobs(self.reference, batch)
            with self.model.disable_adapter():
                return self._logprobs(self.base, batch)

    def _logprobs(self, model: Any, batch: MicroBatch) -> Tensor:
        inputs = {
            "input_ids": batch.input_ids_BT,
            "position_ids": batch.position_ids_BT,
            "attention_mask": batch.mask,
            "use_cache": False,
        }
        if self.chunks_logits:
            hidden_BTD = model.get_decoder()(**inputs).last_hidden_state
            hidden_UD = hidden_BTD.flatten(0, 1)[batch.source_U]
            logprobs_U = chunked_logprobs(
                hidden_UD, model.get_output_embeddings(), batch.target_U, self.temperature
            )
        else:
            logits_UV = model(**inputs).logits.flatten(0, 1)[batch.source_U]
            logprobs_U = target_logprobs(logits_UV, batch.target_U, self.temperature)
        return logprobs_U[batch.prediction_N]

    def parameters(self) -> list[torch.nn.Parameter]:
        """What is trained."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def save(self, folder: Path) -> None:
        """Write the weights (the adapter alone, if there is one) and the tokenizer.

        Raises:
            OSError: If they cannot be written.
        """
        try:
            self.model.save_pretrained(folder)
        except SafetensorError as error:  # its I/O errors are no OSErrors
            raise OSError(str(error)) from error
        self.chat.tokenizer.save_pretrained(folder)


def target_logprobs(logits_TV: Tensor, targets_T: Tensor, temperature: float) -> Tensor:
    """Logprobs (T,) of the targets under softmax(logits / temperature), in float32."""
    scaled_TV = logits_TV.float() / temperature
    chosen_T = scaled_TV.gather(1, targets_T[:, None])[:, 0]
    return chosen_T - scaled_TV.logsumexp(dim=1)


def chunked_logprobs(
    hidden_TD: Tensor,
    head: torch.nn.Module,
    targets_T: Tensor,
    temperature: float,
    chunk: int = LOGITS_CHUNK,
) -> Tensor:
    """`target_logprobs(head(hidden), targets)`, with at most `chunk` x V logits at a time.

    Each chunk's logits are made again for the backward pass, unless there is one chunk only.
    """

    def one(hidden_CD: Tensor, targets_C: Tensor) -> Tensor:
        return target_logprobs(head(hidden_CD), targets_C, temperature)

    if len(targets_T) <= chunk:
        return one(hidden_TD, targets_T)
    pieces = zip(torch.split(hidden_TD, chunk), torch.split(targets_T, chunk), strict=True)
    return torch.cat([checkpoint(one, h, t, use_reentrant=False) for h, t in pieces])


def can_share_prefixes(model: Any) -> bool:
    """Whether a tree mask gives what rows of their own give: tried, on tokens of no meaning."""
    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"} or getattr(model.config, "sliding_window", None):
        return False
    a, b = [1, 2, 3, 4, 5], [1, 2, 3, 5, 4]
    tree_TT = torch.ones(7, 7, dtype=torch.bool).tril()
    tree_TT[5:, 3:5] = False
    try:
        with evaluating(model):
            tree = model.get_decoder()(
                input_ids=torch.tensor([[*a, 5, 4]], device=model.device),
                position_ids=torch.tensor([[0, 1, 2, 3, 4, 3, 4]], device=model.device),
                attention_mask=tree_TT[None, None].to(model.device),
                use_cache=False,
            ).last_hidden_state[0]
            plain = model.get_decoder()(
                input_ids=torch.tensor([a, b], device=model.device), use_cache=False
            ).last_hidden_state
    except (RuntimeError, ValueError, TypeError, AttributeError):
        return False
    return same(tree[:5], plain[0]) and same(tree[[0, 1, 2, 5, 6]], plain[1])


def head_is_plain(model: Any) -> bool:
    """Whether logits are the head applied to the decoder's output, without scaling or capping."""
    try:
        with evaluating(model):
            ids = torch.tensor([[1, 2, 3]], device=model.device)
            hidden = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
            by_hand = model.get_output_embeddings()(hidden)
            logits = model(input_ids=ids, use_cache=False).logits
            return same(by_hand, logits, tolerance=1e-6)  # no rounding: it is the same product
    except (TypeError, AttributeError):
        return False


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def same(left: Tensor, right: Tensor, tolerance: float | None = None) -> bool:
    """Equal up to the rounding of their type, or a share of the largest entry."""
    if tolerance is None:
        tolerance = 1e-3 if left.dtype == torch.float32 else 5e-2
    scale = max(1.0, float(right.float().abs().max()))
    return bool((left.float() - right.float()).abs().max() <= tolerance * scale)


def check_model_path(path: str) -> None:
    """Say early that a model's folder is not there; a hub's name is left to transformers.

    Raises:
        PolicyError: If the path is no folder with a config.json, and cannot be a hub's name either.
    """
    folder = Path(path)
    if folder.exists():
        if not (folder / "config.json").is_file():
            raise PolicyError(f"model.path {path!r} holds no config.json: name a model's folder")
    elif path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise PolicyError(
            f"model.path {path!r}: there is no such folder; `python -m trainer_client.smollm2 DIR`"
            " fetches a small model"
        )


def load_policy(
    config: ModelConfig,
    *,
    temperature: float,
    needs_reference: bool = False,
    weights: Path | None = None,
) -> Policy:
    """Load a policy as the config says.

    Args:
        config: the model section.
        temperature: of training and sampling.
        needs_reference: whether the loss has a KL penalty.
        weights: a checkpoint's weights in place of the model's own (or a fresh adapter's).

    Raises:
        PolicyError: If the folder holds no causal LM that transformers can load, or its tokenizer
            has no chat template.
    """
    device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    is_full = config.lora is None
    path = str(weights) if weights and is_full else config.path
    try:
        model = read_model(path, config).to(device)
        tokenizer = AutoTokenizer.from_pretrained(config.path)
        stops = model.generation_config.eos_token_id
        chat = Chat(tokenizer, stops if isinstance(stops, list) else [stops], config.tool_format)
        reference = None
        if needs_reference and is_full:
            reference = read_model(config.path, config).to(device).eval().requires_grad_(False)
        if not is_full:
            model = with_adapter(model, config, weights)
    except (AssertionError, RuntimeError) as error:  # torch without that device
        reason = str(error).strip().splitlines()[0]
        raise PolicyError(f"model.device {config.device!r} cannot be used: {reason}") from error
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise PolicyError(f"model.path {path!r} cannot be loaded: {reason}") from error
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    model.train()
    autocast = config.autocast if config.autocast is not None else fast_bfloat16(device)
    return Policy(model, chat, temperature=temperature, autocast=autocast, reference=reference)


def read_model(path: str, config: ModelConfig) -> Any:
    """The model without its dropout: the policy is trained as the distribution it is sampled as."""
    settings = AutoConfig.from_pretrained(path)
    for name, value in list(vars(settings).items()):
        if "drop" in name and isinstance(value, float):
            setattr(settings, name, 0.0)
    dtype = getattr(torch, config.dtype)
    return AutoModelForCausalLM.from_pretrained(path, config=settings, dtype=dtype)


def with_adapter(model: Any, config: ModelConfig, weights: Path | None) -> Any:
    """The model with an adapter, fresh or from a checkpoint, which alone is trained."""
    from peft import LoraConfig, PeftModel, get_peft_model  # half a second that few runs need

    if weights is not None:
        return PeftModel.from_pretrained(model, weights, is_trainable=True)
    lora = config.lora
    assert lora is not None
    settings = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,  # the sampler has none, and ratios compare the two
        target_modules=lora.targets,
    )
    return get_peft_model(model, settings)


def fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products are faster than float32's here: GPUs, and CPUs with AMX or
    AVX512-BF16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return device.type == "cpu" and bool(supported())
