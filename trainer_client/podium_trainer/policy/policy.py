"""The model being trained: ask it for logprobs, save it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from podium_trainer.policy.chat import Chat
from podium_trainer.policy.model_probes import can_share_prefixes, head_is_plain
from podium_trainer.policy.packing import MicroBatch, pack_padded, pack_shared
from podium_trainer.policy.samples import Sample

LOGITS_CHUNK = 512  # how many tokens' logits exist at once


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
