"""Sample from the policy itself: in this process, in batches, with a KV cache."""

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import cast

import torch
from torch import Tensor
from transformers import DynamicCache

from podium_trainer.policy.packing import shared_prefix_length
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Completion, Request
from podium_trainer.samplers import SamplingFailed

MAX_CACHE_TOKENS = 2**17  # keys and values of a 135M model in float32: 6 GiB


class LocalSampler:
    """Samples from the weights that are being trained, so that there is nothing to sync.

    Args:
        policy: the model, which is put into eval mode while sampling.
        temperature: divides the logits; > 0.
        max_rows: the largest number of completions that are decoded side by side.
    """

    in_lockstep = True
    servers_ready = None

    def __init__(self, policy: Policy, *, temperature: float, max_rows: int = 256) -> None:
        self.policy = policy
        self.temperature = temperature
        self.max_rows = max_rows
        self.policy_version = 0

    def sample(self, requests: Sequence[Request], *, seed: int) -> list[list[Completion]]:
        """Draw the completions of each request.

        Equal requests, weights and seeds give equal completions.

        Raises:
            SamplingFailed: If a logprob is not finite.
        """
        generator = torch.Generator(self.policy.device).manual_seed(seed)
        completions: list[list[Completion]] = [[] for _ in requests]
        with self.policy.inference():
            for rows in self._split_into_batches(requests):
                for index, completion in self._decode(requests, rows, generator):
                    completions[index].append(completion)
        return completions

    def close(self) -> None:
        """Do nothing, because there are no connections."""

    def _split_into_batches(self, requests: Sequence[Request]) -> Iterator[list[int]]:
        """Yield the request index of each row of a batch that fits the cache.

        Requests with prompts of similar length are put together.
        """
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
        """Decode one completion a row; rows that end leave the batch.

        Args:
            requests: all requests.
            rows: the request index of each row.
            generator: draws the tokens.

        Returns:
            For each row its request index and its completion.
        """
        prompts = list(dict.fromkeys(rows))
        cache, logits_BV, mask_BT = self._prefill([requests[i].prompt_ids for i in prompts])
        prompt_B = torch.tensor([prompts.index(i) for i in rows], device=self.policy.device)
        select_rows(cache, prompt_B)
        logits_BV, mask_BT = logits_BV[prompt_B], mask_BT[prompt_B]
        token_ids: list[list[int]] = [[] for _ in rows]
        logprobs: list[list[float]] = [[] for _ in rows]
        is_stopped = [False] * len(rows)
        active = list(range(len(rows)))  # the rows that are still in the batch
        while True:
            token_B, logprob_B = draw(logits_BV, self.temperature, generator)
            remaining = []  # their positions in the batch
            for at, (row, token_id, logprob) in enumerate(
                zip(active, token_B.tolist(), logprob_B.tolist(), strict=True)
            ):
                token_ids[row].append(token_id)
                logprobs[row].append(logprob)
                is_stopped[row] = token_id in self.policy.chat.stop_ids
                if not math.isfinite(logprob):
                    raise SamplingFailed(
                        f"the policy gives a token the logprob {logprob}: its weights are broken;"
                        " lower optimizer.lr and add --resume --accept-changes",
                        "not_finite",
                    )
                if not is_stopped[row] and len(token_ids[row]) < requests[rows[row]].max_tokens:
                    remaining.append(at)
            if not remaining:
                break
            if len(remaining) < len(active):
                remaining_B = torch.tensor(remaining, device=self.policy.device)
                active = [active[at] for at in remaining]
                select_rows(cache, remaining_B)
                token_B, mask_BT = token_B[remaining_B], mask_BT[remaining_B]
            mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(active), 1)], dim=1)
            logits_BV = self.policy.next_logits(token_B[:, None], mask_BT, cache)
        version = self.policy_version
        return [
            (i, Completion(ids, lps, "stop" if stopped else "length", [version] * len(ids)))
            for i, ids, lps, stopped in zip(rows, token_ids, logprobs, is_stopped, strict=True)
        ]

    def _prefill(self, prompts: list[Sequence[int]]) -> tuple[DynamicCache, Tensor, Tensor]:
        """Run each of P distinct prompts once, and their common prefix once for all of them.

        Returns:
            The cache; the logits (P, V) of the first completion token; the attention mask (P, T).
        """
        # Where layers see windows or keep states, padding between the prefix and the rest of a
        # prompt would count as tokens, so such a model shares no prefix.
        common = common_prefix_length(prompts) if self.policy.shares_prefixes else 0
        cache = DynamicCache(config=self.policy.base.config)
        device = self.policy.device
        prefix_mask_1T = torch.ones(1, common, dtype=torch.long, device=device)
        if common:
            prefix_ids_1T = torch.tensor([prompts[0][:common]]).to(device)
            self.policy.next_logits(prefix_ids_1T, prefix_mask_1T, cache)
            select_rows(cache, torch.zeros(len(prompts), dtype=torch.long, device=device))
        rests = [prompt[common:] for prompt in prompts]
        length = max(map(len, rests))
        pads = [length - len(rest) for rest in rests]
        ids_PT = torch.tensor([[0] * pad + list(r) for pad, r in zip(pads, rests, strict=True)])
        mask_PT = torch.tensor([[0] * pad + [1] * (length - pad) for pad in pads])
        mask_PT = torch.cat([prefix_mask_1T.expand(len(prompts), -1), mask_PT.to(device)], dim=1)
        return cache, self.policy.next_logits(ids_PT.to(device), mask_PT, cache), mask_PT


def common_prefix_length(prompts: Sequence[Sequence[int]]) -> int:
    """Count the leading tokens that all prompts share, without the last token of any."""
    ordered = sorted(map(list, prompts))
    shared = shared_prefix_length(ordered[0], ordered[-1])
    return min(shared, *(len(prompt) - 1 for prompt in prompts))


def select_rows(cache: DynamicCache, rows: Tensor) -> None:
    """Replace the cache's rows by those with these indices, which may repeat."""
    cache.reorder_cache(cast(torch.LongTensor, rows))


class CopiedWeights:
    """Copies the policy's weights into a sampler's own, where several ranks share the policy.

    Args:
        policy: the model that is trained.
        sampler: its policy is another one, with the same model whole.
    """

    def __init__(self, policy: Policy, sampler: LocalSampler) -> None:
        self.policy = policy
        self.sampler = sampler

    @torch.no_grad()
    def push(self, version: int) -> None:
        """Copy the weights, and set the version."""
        own = self.sampler.policy.model.state_dict()
        with closing(self.policy.named_full_tensors()) as tensors:
            for name, tensor in tensors:
                own[name].copy_(tensor)
        self.sampler.policy_version = version

    def close(self) -> None:
        """Do nothing, because nothing is held."""


def draw(
    logits_BV: Tensor, temperature: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw one token a row from softmax(logits / temperature), by inverting the cumulative sum.

    Args:
        logits_BV: float tensor of shape (B, V).
        temperature: > 0.
        generator: draws one uniform number a row.

    Returns:
        Token ids of shape (B,), and their logprobs, natural logarithms, of shape (B,).
    """
    logprobs_BV = torch.log_softmax(logits_BV.float() / temperature, dim=-1)
    cumulative_BV = logprobs_BV.exp().cumsum(dim=-1)
    total_B1 = cumulative_BV[:, -1:]
    uniform_B1 = torch.rand(total_B1.shape, generator=generator, device=total_B1.device)
    token_B1 = torch.searchsorted(cumulative_BV, uniform_B1 * total_B1, right=True)
    token_B1.clamp_(max=logits_BV.shape[-1] - 1)
    return token_B1[:, 0], logprobs_BV.gather(1, token_B1)[:, 0]
