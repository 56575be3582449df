"""Lay weights side by side in one run of bytes, and take them out of it again."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

ALIGNMENT = 16  # bytes; a view of any type may start there
BUCKET_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Layout:
    """The weights of a bucket, in order; it travels as the `update_info` of vLLM's API.

    Attributes:
        names: as in a checkpoint.
        dtypes: their types, such as `bfloat16`.
        shapes: their shapes.
    """

    names: Sequence[str]
    dtypes: Sequence[str]
    shapes: Sequence[Sequence[int]]

    @property
    def num_bytes(self) -> int:
        """The size of the bucket."""
        return sum(map(aligned_size, self.dtypes, self.shapes))

    def views(self, data: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield each weight's name and its part of the bucket's bytes, as a tensor of its shape.

        Args:
            data: uint8 tensor of shape (num_bytes,).
        """
        start = 0
        for name, dtype, shape in zip(self.names, self.dtypes, self.shapes, strict=True):
            kind = getattr(torch, dtype)
            end = start + prod(shape) * kind.itemsize
            yield name, data[start:end].view(kind).view(tuple(shape))
            start += aligned_size(dtype, shape)


def aligned_size(dtype: str, shape: Sequence[int]) -> int:
    """Return the bytes that a weight takes up, with those that make up for the alignment."""
    size: int = prod(shape) * getattr(torch, dtype).itemsize
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Bucket:
    """Some weights, in the memory of the CPU.

    Attributes:
        layout: says what they are.
        data: uint8 tensor of shape (layout.num_bytes,).
    """

    layout: Layout
    data: Tensor


def pack(weights: Iterable[tuple[str, Tensor]], max_bytes: int = BUCKET_BYTES) -> Iterator[Bucket]:
    """Copy weights into buckets.

    Args:
        weights: names and tensors, which may be on a GPU.
        max_bytes: the largest size of a bucket; a weight that is larger has one of its own.
    """
    taken: list[tuple[str, Tensor]] = []
    size = 0
    for name, weight in weights:
        if taken and size + weight.nbytes > max_bytes:
            yield fill(taken)
            taken, size = [], 0
        taken.append((name, weight))
        size += weight.nbytes
    if taken:
        yield fill(taken)


def fill(weights: Sequence[tuple[str, Tensor]]) -> Bucket:
    """Copy weights into one bucket, which is pinned if they come from a GPU and there is room."""
    layout = Layout(
        [name for name, _ in weights],
        [str(weight.dtype).removeprefix("torch.") for _, weight in weights],
        [list(weight.shape) for _, weight in weights],
    )
    data = allocate(layout.num_bytes, pinned=any(weight.is_cuda for _, weight in weights))
    for (_, weight), (_, view) in zip(weights, layout.views(data), strict=True):
        view.copy_(weight)
    return Bucket(layout, data)


def allocate(num_bytes: int, *, pinned: bool) -> Tensor:
    """Return bytes in the memory of the CPU, pinned if that is wanted and there is room for it."""
    if pinned:
        with suppress(RuntimeError):
            return torch.empty(num_bytes, dtype=torch.uint8, pin_memory=True)
    return torch.empty(num_bytes, dtype=torch.uint8)
