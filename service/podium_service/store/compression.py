"""Compress the long texts that the store keeps, as zstd frames a quarter as large."""

from collections.abc import Sequence

import zstandard

_LEVEL = 1
_MAGIC = b"\x28\xb5\x2f\xfd"  # every frame begins so, and no UTF-8 text does


def is_compressed(content: bytes) -> bool:
    """Return whether a text is a frame already."""
    return content.startswith(_MAGIC)


def compress_all(texts: Sequence[bytes]) -> list[bytes]:
    """Compress all texts in one call, because a thread gives up the interpreter for each call."""
    if not texts:
        return []
    frames = zstandard.ZstdCompressor(level=_LEVEL).multi_compress_to_buffer(list(texts))
    return [frames[index].tobytes() for index in range(len(texts))]


def decompress(content: bytes) -> bytes:
    """Return the text of a frame."""
    text: bytes = zstandard.ZstdDecompressor().decompress(content)
    return text
