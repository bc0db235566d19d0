"""Values as JSON can hold them: results of NumPy and numbers that are none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """Returns arrays and sets as lists and numbers that are not finite as None; what else JSON lacks as it is.

    >>> import numpy as np
    >>> plain({"accuracy": np.float32(0.5), "sizes": np.arange(2), "loss": float("nan")})
    {'accuracy': 0.5, 'sizes': [0, 1], 'loss': None}
    """
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
