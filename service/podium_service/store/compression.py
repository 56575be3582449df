"""Long texts <-> what the store keeps of them: zstd frames, a quarter as large."""

from collections.abc import Sequence

import zstandard

_LEVEL = 1
_MAGIC = b"\x28\xb5\x2f\xfd"  # with which no UTF-8 text begins


def is_packed(content: bytes) -> bool:
    return content.startswith(_MAGIC)


def packed(texts: Sequence[bytes]) -> list[bytes]:
    """All in one call: for each call of its own a thread would give up the interpreter, and wait
    for it again."""
    if not texts:
        return []
    frames = zstandard.ZstdCompressor(level=_LEVEL).multi_compress_to_buffer(list(texts))
    return [frames[index].tobytes() for index in range(len(texts))]


def unpacked(content: bytes) -> bytes:
    text: bytes = zstandard.ZstdDecompressor().decompress(content)
    return text
