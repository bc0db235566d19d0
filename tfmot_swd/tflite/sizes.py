"""How many bytes are left of a file when it is compressed, as for a download."""

from __future__ import annotations

import gzip


def gzip_size(content: bytes) -> int:
    """Returns the size after gzip at level 9."""
    return len(gzip.compress(content, compresslevel=9, mtime=0))


def zstd_size(content: bytes) -> int | None:
    """Returns the size after Zstandard at level 19, None where the package `zstandard` is not installed."""
    try:
        import zstandard
    except ImportError:
        return None
    return len(zstandard.ZstdCompressor(level=19).compress(content))
