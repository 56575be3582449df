"""The model that is trained: ask it for logprobs and logits, and save it."""

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from podium_trainer.policy.chat import Chat
from podium_trainer.policy.model_probes import (
    can_share_prefixes,
    eval_mode,
    has_plain_head,
    use_tree_attention,
)
from podium_trainer.policy.packing import DENSE_TOKENS, Build, MicroBatch, pack_padded, pack_shared
from podium_trainer.policy.ranks.processes import Ranks
from podium_trainer.policy.ranks.shard import local, run, whole_tensors
from podium_trainer.policy.samples import Sample
from podium_trainer.policy.tree_attention import tree_inputs

LOGITS_CHUNK = 512  # tokens whose logits exist at once


class Policy:
    """A causal language model with its tokenizer, for training and for sampling.

    Args:
        model: a Hugging Face causal LM, with or without peft adapters.
        chat: the model's tokenizer and chat template.
        temperature: divides the logits, here as in the sampler.
        autocast: multiply matrices in bfloat16; the weights keep their type.
        reference: a frozen copy for the KL penalty; None if there is no penalty, or if switching
            the adapters off gives the reference.
        dense_tokens: the largest number of tokens in a row whose attention has a mask.
        ranks: the processes that have a share of the model; None if this one has it all.

    Attributes:
        base: the model below its adapters.
        context: the largest number of tokens in a sequence.
        shares_prefixes: whether rows can be trees (see packing.py).
        attends_by_spans: whether they can be so without a mask (see tree_attention.py).
        chunks_logits: whether logits can be computed for a chunk of hidden states at a time.
    """

    def __init__(
        self,
        model: Any,
        chat: Chat,
        *,
        temperature: float,
        autocast: bool = False,
        reference: Any = None,
        dense_tokens: int = DENSE_TOKENS,
        ranks: Ranks | None = None,
    ) -> None:
        self.model = model
        self.chat = chat
        self.temperature = temperature
        self.reference = reference
        self.ranks = ranks or Ranks()
        self.is_lora = hasattr(model, "peft_config")
        self.base: PreTrainedModel = model.get_base_model() if self.is_lora else model
        self.device = torch.device(self.base.device)
        self._autocast = autocast
        parameters = signature(self.base.forward).parameters
        self._is_recurrent = "cache_params" in parameters
        self.context = int(getattr(self.base.config, "max_position_embeddings", 0) or 2**31)
        self.dense_tokens = dense_tokens
        self.shares_prefixes = can_share_prefixes(self.base)
        models = [each for each in (self.base, reference) if each is not None]
        self.attends_by_spans = self.shares_prefixes and all(map(use_tree_attention, models))
        self.chunks_logits = has_plain_head(self.base)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return a context in which matrix products run in bfloat16, if that was asked for."""
        if not self._autocast:
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Hold the model in eval mode without gradients, with autocast if that was asked for.

        Autocast converts each weight once for all calls in the block.
        """
        with eval_mode(self.model), self.autocast():
            yield

    def next_logits(self, input_ids_BT: Tensor, mask_BT: Tensor, cache: Any) -> Tensor:
        """Compute the logits of the token after the last one of each row.

        Args:
            input_ids_BT: int64, the T newest tokens of each row.
            mask_BT: int64, 1 for tokens and 0 for padding; covers the cached tokens, too.
            cache: a transformers cache, which grows by T tokens.

        Returns:
            Tensor of shape (B, V).
        """
        num_new = input_ids_BT.shape[1]
        positions_BT = (mask_BT.cumsum(dim=1) - 1).clamp(min=0)[:, -num_new:]
        if self._is_recurrent:  # its cache is a state without positions to mask
            mask_BT = mask_BT[:, -num_new:]
        output = self.model(
            input_ids=input_ids_BT,
            attention_mask=mask_BT,
            position_ids=positions_BT,
            use_cache=True,
            logits_to_keep=1,
            **{"cache_params" if self._is_recurrent else "past_key_values": cache},
        )
        logits_BV: Tensor = output.logits[:, -1]
        return logits_BV

    def pack(self, samples: list[Sample], max_tokens: int) -> Iterator[MicroBatch]:
        """Pack samples into micro-batches in the form that this model takes, one at a time.

        Args:
            samples: any number of samples.
            max_tokens: the largest number of tokens in a micro-batch, unless one sample is longer.
        """
        return (build().to(self.device) for build in self.plan(samples, max_tokens))

    def plan(self, samples: list[Sample], max_tokens: int) -> Iterator[Build]:
        """Pack samples as `pack` does, but return what builds each micro-batch."""
        longest = max((len(sample.token_ids) for sample in samples), default=0)
        if self.attends_by_spans:
            return pack_shared(samples, max_tokens, self.dense_tokens)
        if self.shares_prefixes and longest <= self.dense_tokens:
            return pack_shared(samples, max_tokens, 2 * self.dense_tokens)
        return pack_padded(samples, max_tokens)

    def logprobs(self, batch: MicroBatch) -> Tensor:
        """Compute the logprobs (N,) of a micro-batch's trained tokens, float32 with gradient."""
        return self._logprobs(self.base, batch)

    def ref_logprobs(self, batch: MicroBatch) -> Tensor:
        """Compute the logprobs (N,) of the trained tokens under the reference, without gradient."""
        with torch.no_grad(), self.autocast():
            if self.reference is not None:
                return self._logprobs(self.reference, batch)
            with self.model.disable_adapter():
                return self._logprobs(self.base, batch)

    def _logprobs(self, model: Any, batch: MicroBatch) -> Tensor:
        """Compute the logprobs (N,) of the trained tokens under a model."""
        inputs = {
            "input_ids": batch.input_ids_BT,
            "position_ids": batch.position_ids_BT,
            "attention_mask": batch.attention_mask,
            "use_cache": False,
        }
        if batch.tree_rows is not None:
            inputs |= tree_inputs(batch.tree_rows, self.device)
        if self.chunks_logits:
            logprobs_U = run(model, decoder_logprobs, inputs, batch, self.temperature)
        else:
            logits_UV = model(**inputs).logits.flatten(0, 1)[batch.source_U]
            logprobs_U = target_logprobs(logits_UV, batch.target_U, self.temperature)
        return logprobs_U[batch.prediction_N]

    @property
    def num_parameters(self) -> int:
        """The number of parameters of the model, without adapters."""
        named = self.base.named_parameters()
        return sum(p.numel() for name, p in named if "lora_" not in name)

    def score(self, samples: list[Sample], max_tokens: int) -> tuple[Tensor, Tensor]:
        """Compute the logprobs (N,) of the trained tokens, here and by the sampler, in eval mode.

        All ranks compute all of them.
        """
        with self.ranks.lead("score", samples, max_tokens), self.inference():
            batches = list(self.pack(samples, max_tokens))
            policy_logprobs_N = torch.cat([self.logprobs(batch) for batch in batches])
        return policy_logprobs_N, torch.cat([batch.behavior_logprobs_N for batch in batches])

    @property
    def is_finite(self) -> bool:
        """Whether every parameter that is trained is a finite number, on all ranks."""
        with self.ranks.lead("is_finite"):
            is_finite = all(bool(local(p).isfinite().all()) for p in self.parameters())
            return all(self.ranks.gather(is_finite))

    def parameters(self) -> list[torch.nn.Parameter]:
        """Return the parameters that are trained."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def named_full_tensors(self) -> Generator[tuple[str, Tensor], None, None]:
        """Yield the name and the whole of each weight (of adapters' alone, if there are any).

        Tied weights come by each of their names. All ranks gather one tensor after the other, so
        that no more than one is whole at a time unless the caller keeps them. What the caller
        leaves is gathered nevertheless, because the other ranks do not know: the caller closes the
        generator. An error's traceback would keep it open while the error is dealt with.
        """
        with self.ranks.lead("gather"):
            tensors = whole_tensors(self._state())
            try:
                while pair := next(tensors, None):  # `yield from` would close it
                    yield pair
            finally:
                if self.ranks.are_many:
                    deque(tensors, maxlen=0)

    def _state(self) -> dict[str, Tensor]:
        """Return the weights that are saved, as they are kept here."""
        if self.is_lora:
            return {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        return dict(self.base.state_dict(keep_vars=True))

    def full_state(self) -> dict[str, Tensor]:
        """Return all that `named_full_tensors` yields, without gradient.

        Tied weights share their memory. If the ranks have shares of them, all is copied to the
        memory of the CPU.
        """
        if not self.ranks.are_many:
            return {name: tensor.detach() for name, tensor in self._state().items()}
        with closing(self.named_full_tensors()) as tensors:
            found = {name: tensor.cpu() for name, tensor in tensors}
        first: dict[int, str] = {}
        for name, tensor in self._state().items():
            found[name] = found[first.setdefault(id(tensor), name)]
        return found

    def save(self, folder: Path) -> None:
        """Write the weights (the adapter alone, if there is one) and the tokenizer.

        Raises:
            OSError: If they cannot be written.
        """
        try:
            self.model.save_pretrained(folder, state_dict=self.full_state())
        except SafetensorError as error:  # safetensors raises no OSError if a write fails
            raise OSError(str(error)) from error
        self.chat.tokenizer.save_pretrained(folder)


def decoder_logprobs(
    model: Any, inputs: dict[str, Any], batch: MicroBatch, temperature: float
) -> Tensor:
    """Compute the logprobs (U,) of a micro-batch's distinct predictions by decoder and head."""
    hidden_BTD = model.get_decoder()(**inputs).last_hidden_state
    hidden_UD = hidden_BTD.flatten(0, 1)[batch.source_U]
    return chunked_logprobs(hidden_UD, model.get_output_embeddings(), batch.target_U, temperature)


def target_logprobs(logits_TV: Tensor, targets_T: Tensor, temperature: float) -> Tensor:
    """Compute the logprobs (T,) of targets under softmax(logits / temperature), in float32."""
    scaled_TV = logits_TV.float() / temperature
    target_logits_T = scaled_TV.gather(1, targets_T[:, None])[:, 0]
    return target_logits_T - scaled_TV.logsumexp(dim=1)


def chunked_logprobs(
    hidden_TD: Tensor,
    head: torch.nn.Module,
    targets_T: Tensor,
    temperature: float,
    chunk: int = LOGITS_CHUNK,
) -> Tensor:
    """Compute `target_logprobs(head(hidden_TD), ...)` with few logits in memory at a time.

    More than one chunk means that each chunk's logits are computed twice, for the forward and for
    the backward pass.

    Args:
        hidden_TD: hidden states of shape (T, D).
        head: the output layer, from D to V.
        targets_T: int64, the predicted token of each hidden state.
        temperature: divides the logits.
        chunk: the largest number of tokens whose logits exist at once.

    Returns:
        Float32 tensor of shape (T,).
    """

    def compute_chunk(hidden_CD: Tensor, targets_C: Tensor) -> Tensor:
        return target_logprobs(head(hidden_CD), targets_C, temperature)

    if len(targets_T) <= chunk:
        return compute_chunk(hidden_TD, targets_T)
    chunks = zip(torch.split(hidden_TD, chunk), torch.split(targets_T, chunk), strict=True)
    return torch.cat([checkpoint(compute_chunk, h, t, use_reentrant=False) for h, t in chunks])
