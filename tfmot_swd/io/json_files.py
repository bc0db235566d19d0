"""JSON files, and results in the types that JSON has."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfmot_swd.io.atomic import atomic_write, check_target


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


def write_json(path: str | os.PathLike[str], content: Any) -> Path:
    """Writes a value as JSON in one atomic step, and returns its path, links resolved.

    Args:
        path: the file to write; missing parent directories are created.
        content: dictionaries, lists and scalars, as `plain` takes them; numbers that are not finite become null.

    Raises:
        TypeError: `path` is not a path, or `content` holds what JSON lacks.
        ValueError, OSError: nothing can be written at `path`.

    >>> import tempfile
    >>> write_json(tempfile.mkdtemp() + "/result.json", {"accuracy": 0.5}).read_text()
    '{\\n "accuracy": 0.5\\n}\\n'
    """
    target = check_target(path)
    with atomic_write(target, (json.dumps(plain(content), indent=1, allow_nan=False) + "\n").encode()):
        pass
    return target


class JsonResult:
    """Base of results that give their fields as plain types, and write them as a JSON file."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain types, ready for JSON."""
        raise NotImplementedError

    def write_json(self, path: str | os.PathLike[str]) -> Path:
        """Writes `to_dict()` as JSON in one atomic step, and returns its path.

        Raises:
            TypeError, ValueError, OSError: nothing can be written at `path`.
        """
        return write_json(path, self.to_dict())
