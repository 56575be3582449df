"""The policy itself as sampler: in this process, batched, with a KV cache."""

import math
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor
from transformers import DynamicCache

from podium_trainer.policy.packing import shared_prefix_length
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Completion, Request
from podium_trainer.samplers import SamplerError

MAX_CACHE_TOKENS = 2**17  # keys and values of 135M parameters in float32: 6 GiB


class LocalSampler:
    """Samples from the weights that are being trained, so there is nothing to sync.

    Args:
        policy: the model; put into eval mode while sampling.
        temperature: divides the logits; > 0.
        max_rows: how many completions are decoded side by side.
    """

    in_lockstep = True

    def __init__(self, policy: Policy, *, temperature: float, max_rows: int = 256) -> None:
        self.policy = policy
        self.temperature = temperature
        self.max_rows = max_rows
        self.policy_version = 0

    def sample(self, requests: Sequence[Request], *, seed: int) -> list[list[Completion]]:
        """The completions of each request; the same seed, requests and weights give the same."""
        generator = torch.Generator(self.policy.device).manual_seed(seed)
        completions: list[list[Completion]] = [[] for _ in requests]
        with self.policy.inference():
            for chunk in self._chunks(requests):
                for index, completion in self._decode(requests, chunk, generator):
                    completions[index].append(completion)
        return completions

    def close(self) -> None:
        """Nothing to let go of."""

    def _chunks(self, requests: Sequence[Request]) -> Iterator[list[int]]:
        """Request indices, one per row, similar prompts together; what fits the cache at once."""
        order = sorted(range(len(requests)), key=lambda i: len(requests[i].prompt_ids))
        rows: list[int] = []
        for index in (i for i in order for _ in range(requests[i].num_completions)):
            longest = len(requests[index].prompt_ids) + requests[index].max_tokens
            is_full = len(rows) == self.max_rows or (len(rows) + 1) * longest > MAX_CACHE_TOKENS
            if rows and is_full:
                yield rows
                rows = []
            rows.append(index)
        if rows:
            yield rows

    def _decode(
        self, requests: Sequence[Request], rows: list[int], generator: torch.Generator
    ) -> list[tuple[int, Completion]]:
        """Decode one row per entry of `rows`; rows that end leave the batch."""
        prompts = list(dict.fromkeys(rows))
        cache, logits_BV, mask_BT = self._prefill([requests[i].prompt_ids for i in prompts])
        place = torch.tensor([prompts.index(i) for i in rows], device=self.policy.device)
        select_rows(cache, place)
        logits_BV, mask_BT = logits_BV[place], mask_BT[place]
        tokens: list[list[int]] = [[] for _ in rows]
        logprobs: list[list[float]] = [[] for _ in rows]
        stopped = [False] * len(rows)
        alive = list(range(len(rows)))
        while True:
            drawn_B, logprobs_B = draw(logits_BV, self.temperature, generator)
            keep = []
            for at, (row, token, logprob) in enumerate(
                zip(alive, drawn_B.tolist(), logprobs_B.tolist(), strict=True)
            ):
                tokens[row].append(token)
                logprobs[row].append(logprob)
                stopped[row] = token in self.policy.chat.stop_ids
                if not math.isfinite(logprob):
                    raise SamplerError(
                        f"the policy gives a token the logprob {logprob}: its weights are broken;"
                        " lower optimizer.lr and resume from an earlier checkpoint"
                    )
                if not stopped[row] and len(tokens[row]) < requests[rows[row]].max_tokens:
                    keep.append(at)
            if not keep:
                break
            if len(keep) < len(alive):
                kept = torch.tensor(keep, device=self.policy.device)
                alive = [alive[at] for at in keep]
                select_rows(cache, kept)
                drawn_B, mask_BT = drawn_B[kept], mask_BT[kept]
            mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(alive), 1)], dim=1)
            logits_BV = self.policy.next_logits(drawn_B[:, None], mask_BT, cache)
        version = self.policy_version
        return [
            (i, Completion(t, lp, "stop" if ended else "length", [version] * len(t)))
            for i, t, lp, ended in zip(rows, tokens, logprobs, stopped, strict=True)
        ]

    def _prefill(self, prompts: list[Sequence[int]]) -> tuple[DynamicCache, Tensor, Tensor]:
        """Run each distinct prompt once; what all of them start with, once for all."""
        # Padding between prefix and rest would reach into windows and states that go by place.
        common = common_prefix(prompts) if self.policy.shares_prefixes else 0
        cache = DynamicCache(config=self.policy.base.config)
        device = self.policy.device
        mask_P1 = torch.ones(1, common, dtype=torch.long, device=device)
        if common:
            self.policy.next_logits(torch.tensor([prompts[0][:common]]).to(device), mask_P1, cache)
            select_rows(cache, torch.zeros(len(prompts), dtype=torch.long, device=device))
        rests = [prompt[common:] for prompt in prompts]
        length = max(map(len, rests))
        pads = [length - len(rest) for rest in rests]
        ids_PT = torch.tensor([[0] * pad + list(r) for pad, r in zip(pads, rests, strict=True)])
        mask_PT = torch.tensor([[0] * pad + [1] * (length - pad) for pad in pads])
        mask_PT = torch.cat([mask_P1.expand(len(prompts), -1), mask_PT.to(device)], dim=1)
        return cache, self.policy.next_logits(ids_PT.to(device), mask_PT, cache), mask_PT


def common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts start with, their last ones left out."""
    ordered = sorted(map(list, prompts))
    shared = shared_prefix_length(ordered[0], ordered[-1])
    return min(shared, *(len(prompt) - 1 for prompt in prompts))


def select_rows(cache: DynamicCache, rows: Tensor) -> None:
    """Keep, repeat or drop rows of the cache."""
    cache.reorder_cache(cast(torch.LongTensor, rows))


def draw(
    logits_BV: Tensor, temperature: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """One token per row from softmax(logits / temperature), by inverting the cumulative sum.

    Returns:
        Token ids of shape (B,) and their logprobs, natural logarithms, of shape (B,).
    """
    logprobs_BV = torch.log_softmax(logits_BV.float() / temperature, dim=-1)
    cumulative_BV = logprobs_BV.exp().cumsum(dim=-1)
    total_B1 = cumulative_BV[:, -1:]
    uniform_B1 = torch.rand(total_B1.shape, generator=generator, device=total_B1.device)
    token_B1 = torch.searchsorted(cumulative_BV, uniform_B1 * total_B1, right=True)
    token_B1.clamp_(max=logits_BV.shape[-1] - 1)
    return token_B1[:, 0], logprobs_BV.gather(1, token_B1)[:, 0]
