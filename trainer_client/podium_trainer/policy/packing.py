"""Samples → micro-batches of whole rows, without padding where the model allows it.

`pack_shared` lays samples into rows as trees: a prefix that several samples share (the prompt
of a group, the system message of all) is computed once, and a mask lets every token see its own
ancestors only. `pack_padded` gives each sample a row of its own, for models whose layers cannot
take such a mask. Both keep, for every token that is trained on, the place whose hidden state
predicts it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from podium_trainer.policy.samples import Sample

MIN_ROW_TOKENS = 256  # rows shorter than this gain nothing


@dataclass(frozen=True)
class MicroBatch:
    """Model inputs of B rows and T tokens, and the N tokens in them that are trained on.

    Two samples that share a trained token share its logprob, too: U <= N distinct predictions.

    Attributes:
        input_ids_BT, position_ids_BT: int64.
        mask: bool (B, 1, T, T) for trees, who sees whom; int64 (B, T) for padded rows.
        source_U: flat places b * T + t whose hidden states predict.
        target_U: the predicted token ids.
        prediction_N: which of the U predictions each trained token is.
        behavior_logprobs_N, advantages_N: float32.
        sequence_N: which sample of this micro-batch each trained token belongs to.
        num_sequences: how many samples there are.
        samples: their places in the list that was packed.
    """

    input_ids_BT: Tensor
    position_ids_BT: Tensor
    mask: Tensor
    source_U: Tensor
    target_U: Tensor
    prediction_N: Tensor
    behavior_logprobs_N: Tensor
    advantages_N: Tensor
    sequence_N: Tensor
    num_sequences: int
    samples: list[int]

    def to(self, device: torch.device) -> "MicroBatch":
        """The same on another device."""
        moved = {
            name: value.to(device)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return MicroBatch(**(vars(self) | moved))


def pack_shared(samples: Sequence[Sample], max_tokens: int) -> Iterator[MicroBatch]:
    """Tree rows, as many to a micro-batch as `max_tokens` allows unless one sample is longer."""
    clusters = clusters_of(samples, max_tokens)
    row_tokens = min(max_tokens, max((cluster.size for cluster in clusters), default=0))
    rows: list[_Tree] = []
    for cluster in sorted(clusters, key=lambda cluster: -cluster.size):
        row = next((row for row in rows if row.size + cluster.size <= row_tokens), _Tree())
        if not row.samples:
            rows.append(row)
        for index in cluster.samples:
            row.add(index, samples[index])
    rows.sort(key=lambda row: -row.size)  # the first is the widest of its micro-batch
    while rows:
        count = max(1, max_tokens // rows[0].size)
        yield tree_batch(samples, rows[:count])
        rows = rows[count:]


def clusters_of(samples: Sequence[Sample], max_tokens: int) -> list["_Tree"]:
    """Samples that share most of their tokens, together.

    In lexicographic order a sample shares its longest prefix with its neighbour, so a tree is built
    by walking that order and keeping the path of the sample before. Attention costs a row's length
    for every token in it, so a tree ends where the next sample shares less than half of its tokens
    with it, and before it outgrows twice the longest sample.
    """
    longest = max((len(sample.token_ids) for sample in samples), default=0)
    limit = min(max_tokens, max(MIN_ROW_TOKENS, 2 * longest))
    trees: list[_Tree] = []
    for index in sorted(range(len(samples)), key=lambda i: samples[i].token_ids):
        size, sample = len(samples[index].token_ids), samples[index]
        if not trees or trees[-1].shared(sample) * 2 < size or trees[-1].size_with(sample) > limit:
            trees.append(_Tree())
        trees[-1].add(index, sample)
    return trees


class _Tree:
    """A row in the making: nodes are tokens, a path is the nodes of one sample."""

    def __init__(self) -> None:
        self.token_ids: list[int] = []
        self.depths: list[int] = []
        self.last: list[int] = []  # the token ids of the sample added last
        self.path: list[int] = []  # and its nodes
        self.spans: list[tuple[int, int, Tensor]] = []  # first node, end, ancestors before it
        self.samples: list[int] = []
        self.paths: list[list[int]] = []

    @property
    def size(self) -> int:
        return len(self.token_ids)

    def size_with(self, sample: Sample) -> int:
        return self.size + len(sample.token_ids) - self.shared(sample)

    def shared(self, sample: Sample) -> int:
        """How many of a sample's tokens are there already."""
        return shared_prefix(self.last, sample.token_ids)

    def add(self, index: int, sample: Sample) -> None:
        shared, first = self.shared(sample), len(self.token_ids)
        self.token_ids += sample.token_ids[shared:]
        self.depths += range(shared, len(sample.token_ids))
        ancestors = self.path[:shared]
        self.path = ancestors + list(range(first, len(self.token_ids)))
        self.spans.append((first, len(self.token_ids), torch.tensor(ancestors, dtype=torch.long)))
        self.last = sample.token_ids
        self.samples.append(index)
        self.paths.append(self.path)

    def fill_mask(self, mask_TT: Tensor) -> None:
        """Let every token see itself and its ancestors."""
        for first, end, ancestors in self.spans:
            mask_TT[first:end, ancestors] = True
            mask_TT[first:end, first:end] = torch.ones(
                end - first, end - first, dtype=torch.bool
            ).tril()


def tree_batch(samples: Sequence[Sample], trees: Sequence[_Tree]) -> MicroBatch:
    """Trees as rows, padded on the right to the largest; padding sees itself alone."""
    size = max(tree.size for tree in trees)
    ids_BT = torch.zeros(len(trees), size, dtype=torch.long)
    positions_BT = torch.zeros_like(ids_BT)
    mask_BTT = torch.eye(size, dtype=torch.bool).repeat(len(trees), 1, 1)
    paths = []
    for row, tree in enumerate(trees):
        ids_BT[row, : tree.size] = torch.tensor(tree.token_ids)
        positions_BT[row, : tree.size] = torch.tensor(tree.depths)
        tree.fill_mask(mask_BTT[row])
        paths += [[row * size + node for node in path] for path in tree.paths]
    chosen = [index for tree in trees for index in tree.samples]
    return micro_batch(samples, chosen, paths, ids_BT, positions_BT, mask_BTT[:, None])


def shared_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many leading tokens two lists have in common."""
    shared = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        shared += 1
    return shared


def pack_padded(samples: Sequence[Sample], max_tokens: int) -> Iterator[MicroBatch]:
    """One row per sample, longest first, padded on the right within `max_tokens` a micro-batch."""
    order = sorted(range(len(samples)), key=lambda i: -len(samples[i].token_ids))
    while order:
        longest = len(samples[order[0]].token_ids)
        rows = max(1, max_tokens // longest)
        chosen, order = order[:rows], order[rows:]
        ids_BT = torch.zeros(len(chosen), longest, dtype=torch.long)
        mask_BT = torch.zeros_like(ids_BT)
        for row, index in enumerate(chosen):
            tokens = samples[index].token_ids
            ids_BT[row, : len(tokens)] = torch.tensor(tokens)
            mask_BT[row, : len(tokens)] = 1
        positions_BT = torch.arange(longest).expand_as(ids_BT)
        paths = [
            list(range(row * longest, row * longest + len(samples[index].token_ids)))
            for row, index in enumerate(chosen)
        ]
        yield micro_batch(samples, chosen, paths, ids_BT, positions_BT, mask_BT)


def micro_batch(
    samples: Sequence[Sample],
    chosen: list[int],
    paths: list[list[int]],
    input_ids_BT: Tensor,
    position_ids_BT: Tensor,
    mask: Tensor,
) -> MicroBatch:
    """Gather the trained tokens of the chosen samples, given the flat place of each token."""
    predictions: dict[int, int] = {}  # place of the predicted token -> index of its prediction
    sources: list[int] = []
    prediction, behavior, advantages, sequence = [], [], [], []
    for number, (index, path) in enumerate(zip(chosen, paths, strict=True)):
        sample = samples[index]
        for t in trained_places(sample):
            if path[t] not in predictions:
                predictions[path[t]] = len(predictions)
                sources.append(path[t - 1])
            prediction.append(predictions[path[t]])
            behavior.append(sample.behavior_logprobs[t])
            advantages.append(sample.advantages[t])
            sequence.append(number)
    return MicroBatch(
        input_ids_BT,
        position_ids_BT,
        mask,
        torch.tensor(sources, dtype=torch.long),
        input_ids_BT.flatten()[torch.tensor(list(predictions), dtype=torch.long)],
        torch.tensor(prediction, dtype=torch.long),
        torch.tensor(behavior, dtype=torch.float32),
        torch.tensor(advantages, dtype=torch.float32),
        torch.tensor(sequence, dtype=torch.long),
        len(chosen),
        list(chosen),
    )


def trained_places(sample: Sample) -> Iterator[int]:
    """The places of the trained tokens; the first token of all has nothing to predict it."""
    return (t for t, trained in enumerate(sample.loss_mask) if trained and t > 0)
