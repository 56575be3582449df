"""Pack samples into micro-batches of whole rows, without padding where the model allows it.

`pack_shared` lays samples into rows as trees: a prefix that several samples share (the prompt of a
group, the system message of all) is computed once, and an attention mask lets every token see its
own ancestors only:

    samples   P P P a b        one row   P P P a b c d      c and d see P P P, but not a b
              P P P c d

A long row has no mask, whose size is the square of the row's, but says which spans see which others
(tree_attention.py).

`pack_padded` gives each sample a row of its own, for models whose layers cannot take a tree. Rows
are padded on the right, where no token sees the padding, so that they need no mask.

Both keep, for every trained token, the position whose hidden state predicts it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from podium_trainer.policy.samples import Sample
from podium_trainer.policy.tree_attention import Range, Span, TreeRow, cut_row, first_tokens

MIN_ROW_TOKENS = 256  # shorter rows run no faster
DENSE_TOKENS = 1024  # rows up to here run faster with a mask


@dataclass(frozen=True)
class MicroBatch:
    """Model inputs of B rows and T tokens, and the N tokens in them that are trained on.

    Two samples that share a trained token share its logprob: U <= N distinct predictions.

    Attributes:
        input_ids_BT, position_ids_BT: int64.
        attention_mask: bool (B, 1, T, T) for short trees, else None.
        tree_rows: B rows for long trees, else None.
        source_U: int64, flat positions b * T + t whose hidden states predict.
        target_U: int64, the predicted token ids.
        prediction_N: int64, the index in U of each trained token's prediction.
        behavior_logprobs_N, advantages_N: float32.
        sequence_N: int64, the sample of each trained token, in [0, num_sequences).
        num_sequences: S, the number of samples.
        samples: S ints, the samples' indices in the list that was packed.
    """

    input_ids_BT: Tensor
    position_ids_BT: Tensor
    attention_mask: Tensor | None
    tree_rows: list[TreeRow] | None
    source_U: Tensor
    target_U: Tensor
    prediction_N: Tensor
    behavior_logprobs_N: Tensor
    advantages_N: Tensor
    sequence_N: Tensor
    num_sequences: int
    samples: list[int]

    def to(self, device: torch.device) -> "MicroBatch":
        """Return a copy whose tensors are on another device."""
        tensors = {
            name: value.to(device)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return MicroBatch(**(vars(self) | tensors))


Build = Callable[[], MicroBatch]


def pack_shared(
    samples: Sequence[Sample], max_tokens: int, dense_tokens: int = DENSE_TOKENS
) -> Iterator[Build]:
    """Pack samples into tree rows, at most `max_tokens` a micro-batch unless one is longer.

    Args:
        samples: any number of samples.
        max_tokens: the largest number of tokens in a micro-batch.
        dense_tokens: the largest number of tokens in a row that has a mask.

    Returns:
        For each micro-batch what builds its tensors, largest rows first.
    """
    clusters = cluster_samples(samples, max_tokens)
    row_tokens = min(max_tokens, max((cluster.size for cluster in clusters), default=0))
    rows: list[_Tree] = []
    for cluster in sorted(clusters, key=lambda cluster: -cluster.size):
        row = next((row for row in rows if row.size + cluster.size <= row_tokens), _Tree())
        if not row.samples:
            rows.append(row)
        for index in cluster.samples:
            row.add(index, samples[index])
    rows.sort(key=lambda row: -row.size)  # so that the first row of a micro-batch is its widest
    while rows:
        count = max(1, max_tokens // rows[0].size)
        yield partial(build_tree_batch, samples, rows[:count], dense_tokens)
        rows = rows[count:]


def cluster_samples(samples: Sequence[Sample], max_tokens: int) -> list["_Tree"]:
    """Group samples that share most of their tokens into trees.

    In lexicographic order a sample shares its longest prefix with its neighbor, so a tree is built
    by walking that order and keeping the path of the sample before. Attention costs a row's length
    for every token in it, so a tree ends where the next sample shares less than half of its tokens
    with it, and before it outgrows twice the longest sample.
    """
    longest = max((len(sample.token_ids) for sample in samples), default=0)
    limit = min(max_tokens, max(MIN_ROW_TOKENS, 2 * longest))
    trees: list[_Tree] = []
    for index in sorted(range(len(samples)), key=lambda i: samples[i].token_ids):
        size, sample = len(samples[index].token_ids), samples[index]
        if not (
            trees
            and trees[-1].num_shared(sample) * 2 >= size
            and trees[-1].size_with(sample) <= limit
        ):
            trees.append(_Tree())
        trees[-1].add(index, sample)
    return trees


class _Tree:
    """A row under construction: nodes are tokens, and a path holds the nodes of one sample."""

    def __init__(self) -> None:
        self.token_ids: list[int] = []
        self.depths: list[int] = []
        self.samples: list[int] = []
        self.paths: list[list[int]] = []
        self._last_ids: list[int] = []  # the tokens of the sample added last
        self._last_ranges: list[Range] = []  # and its nodes
        self.spans: list[Span] = []

    @property
    def size(self) -> int:
        """The number of tokens in the row."""
        return len(self.token_ids)

    def size_with(self, sample: Sample) -> int:
        """Return the size that the row would have with one more sample."""
        return self.size + len(sample.token_ids) - self.num_shared(sample)

    def num_shared(self, sample: Sample) -> int:
        """Count the leading tokens that a sample shares with the one added last."""
        return shared_prefix_length(self._last_ids, sample.token_ids)

    def add(self, index: int, sample: Sample) -> None:
        """Add a sample's tokens below the prefix that it shares with the one added last."""
        shared, first = self.num_shared(sample), self.size
        self.token_ids += sample.token_ids[shared:]
        self.depths += range(shared, len(sample.token_ids))
        own = (first, self.size)
        ancestors = first_tokens(self._last_ranges, shared)
        if first < self.size:
            self.spans.append(Span(own, ancestors))
        self._last_ids, self._last_ranges = sample.token_ids, [*ancestors, own]
        self.samples.append(index)
        self.paths.append([*(self.paths[-1][:shared] if self.paths else []), *range(*own)])

    def fill_mask(self, mask_TT: Tensor) -> None:
        """Let every token see itself and its ancestors."""
        for span in self.spans:
            first, end = span.own
            for seen_first, seen_end in span.ancestors:
                mask_TT[first:end, seen_first:seen_end] = True
            mask_TT[first:end, first:end] = torch.ones(
                end - first, end - first, dtype=torch.bool
            ).tril()


def build_tree_batch(
    samples: Sequence[Sample], trees: Sequence[_Tree], dense_tokens: int
) -> MicroBatch:
    """Lay trees into rows, padded on the right to the largest; padding sees itself alone."""
    size = max(tree.size for tree in trees)
    is_dense = size <= dense_tokens
    input_ids_BT = torch.zeros(len(trees), size, dtype=torch.long)
    positions_BT = torch.zeros_like(input_ids_BT)
    paths = []
    for row, tree in enumerate(trees):
        input_ids_BT[row, : tree.size] = torch.tensor(tree.token_ids)
        positions_BT[row, : tree.size] = torch.tensor(tree.depths)
        paths += [[row * size + node for node in path] for path in tree.paths]
    indices = [index for tree in trees for index in tree.samples]
    return build_batch(
        samples,
        indices,
        paths,
        input_ids_BT,
        positions_BT,
        build_mask(trees, size) if is_dense else None,
        None if is_dense else [cut_row(tree.spans, size) for tree in trees],
    )


def build_mask(trees: Sequence[_Tree], size: int) -> Tensor:
    """Return the mask (B, 1, T, T) of rows of T = `size` tokens."""
    mask_BTT = torch.eye(size, dtype=torch.bool).repeat(len(trees), 1, 1)
    for tree, mask_TT in zip(trees, mask_BTT, strict=True):
        tree.fill_mask(mask_TT)
    return mask_BTT[:, None]


def shared_prefix_length(left: Sequence[int], right: Sequence[int]) -> int:
    """Count the leading tokens that two lists have in common."""
    length = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        length += 1
    return length


def pack_padded(samples: Sequence[Sample], max_tokens: int) -> Iterator[Build]:
    """Pack one sample a row, longest first, at most `max_tokens` a micro-batch with padding.

    Returns:
        For each micro-batch what builds its tensors.
    """
    order = sorted(range(len(samples)), key=lambda i: -len(samples[i].token_ids))
    while order:
        longest = len(samples[order[0]].token_ids)
        num_rows = max(1, max_tokens // longest)
        indices, order = order[:num_rows], order[num_rows:]
        yield partial(build_padded_batch, samples, indices)


def build_padded_batch(samples: Sequence[Sample], indices: list[int]) -> MicroBatch:
    """Lay samples into rows, the longest first, padded on the right to its length."""
    longest = len(samples[indices[0]].token_ids)
    input_ids_BT = torch.zeros(len(indices), longest, dtype=torch.long)
    for row, index in enumerate(indices):
        token_ids = samples[index].token_ids
        input_ids_BT[row, : len(token_ids)] = torch.tensor(token_ids)
    positions_BT = torch.arange(longest).expand_as(input_ids_BT)
    paths = [
        list(range(row * longest, row * longest + len(samples[index].token_ids)))
        for row, index in enumerate(indices)
    ]
    return build_batch(samples, indices, paths, input_ids_BT, positions_BT)


def build_batch(
    samples: Sequence[Sample],
    indices: list[int],
    paths: list[list[int]],
    input_ids_BT: Tensor,
    position_ids_BT: Tensor,
    attention_mask: Tensor | None = None,
    tree_rows: list[TreeRow] | None = None,
) -> MicroBatch:
    """Gather the trained tokens of samples, given the flat position of each of their tokens.

    The first token of a sample is never trained on, because no hidden state predicts it.
    """
    predictions: dict[int, int] = {}  # flat position of a predicted token -> its index in U
    sources: list[int] = []
    prediction, behavior, advantages, sequence = [], [], [], []
    for number, (index, path) in enumerate(zip(indices, paths, strict=True)):
        sample = samples[index]
        for t in range(1, len(path)):
            if not sample.loss_mask[t]:
                continue
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
        attention_mask,
        tree_rows,
        torch.tensor(sources, dtype=torch.long),
        input_ids_BT.flatten()[torch.tensor(list(predictions), dtype=torch.long)],
        torch.tensor(prediction, dtype=torch.long),
        torch.tensor(behavior, dtype=torch.float32),
        torch.tensor(advantages, dtype=torch.float32),
        torch.tensor(sequence, dtype=torch.long),
        len(indices),
        list(indices),
    )
