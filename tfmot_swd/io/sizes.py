"""Sizes in bytes, as people write them: 256k, 1M, 262144."""

from __future__ import annotations

import re
from typing import Any

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?", re.IGNORECASE)


def parse_size(value: Any, name: str = "size") -> int:
    """Returns a size in bytes.

    A k is 1024 bytes and an M 1024 k, as in data sheets of microcontrollers and in linker scripts.

    Args:
        value: a number of bytes, or text: digits, then none or one of k, M, G, in any case, with or without B or iB.
        name: of the argument, for messages.

    Raises:
        TypeError: neither text nor a whole number.
        ValueError: text of another form, or not a positive whole number of bytes.

    >>> parse_size("256k"), parse_size("1.5 MB"), parse_size(262144)
    (262144, 1572864, 262144)
    """
    if isinstance(value, str):
        found = _FORM.fullmatch(value.strip())
        size = float(found[1]) * _UNITS[found[2].lower()] if found else 0.0
        if size < 1 or size != int(size):
            raise ValueError(
                f"{name} must be a number of bytes above 0, such as 256k, 1M or 262144. Received: {name}={value!r}"
            )
        return int(size)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a number of bytes, or text such as '256k'. Received: {name}={value!r}")
    if value < 1:
        raise ValueError(
            f"{name} must be a number of bytes above 0, such as 256k, 1M or 262144. Received: {name}={value!r}"
        )
    return value
