"""Data files of the shell: `.npz` and `.npy`, read as plain arrays and never unpickled."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfmot_swd.cli.command import UsageError

if TYPE_CHECKING:
    from tfmot_swd.keras2.compat import keras

_VALIDATION_SHARE = 0.1

Array = np.ndarray[Any, Any]
# Of a model with several inputs: the array of each by its name.
Inputs = Array | dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Data:
    """Contents of a data file, checked against a model.

    Args:
      x: samples, `(N, ...)`, as the model takes them.
      y: what is expected of them, `(N, ...)`; None where the file has none.
      x_val, y_val: the same to validate on; None where the file has none.
    """

    x: Inputs
    y: Array | None = None
    x_val: Inputs | None = None
    y_val: Array | None = None

    @property
    def to_calibrate(self) -> Any:
        """Calibration data: (x, y), or x alone."""
        return self.x if self.y is None else (self.x, self.y)

    @property
    def to_check(self) -> Any:
        """Data for the proof: the validation part where there is one; (x, y), or x alone."""
        x, y = (self.x, self.y) if self.x_val is None else (self.x_val, self.y_val)
        return x if y is None else (x, y)

    def labelled(self) -> tuple[Inputs, Array]:
        """Returns x and y to measure a model on: the validation part where there is one.

        Raises:
          UsageError: there is no y.
        """
        x, y = (self.x, self.y) if self.x_val is None else (self.x_val, self.y_val)
        if y is None:
            raise UsageError("--data needs y too, what is right for each sample. Received: x alone")
        return x, y

    def with_validation(self, seed: int) -> Data:
        """Returns these data with a validation part: the last tenth after a shuffle, where the file has none.

        Raises:
          ValueError: there is one sample only.
        """
        if self.x_val is not None:
            return self
        count = length(self.x)
        held = max(int(count * _VALIDATION_SHARE), 1)
        if held == count:
            raise ValueError(f"Training needs two samples at least, one to validate on. Received: {count}")
        order = np.random.default_rng(seed).permutation(count)
        first, last = order[:-held], order[-held:]
        y, y_val = (None, None) if self.y is None else (self.y[first], self.y[last])
        return Data(_rows(self.x, first), y, _rows(self.x, last), y_val)


def read_data(flag: str, path: str, model: keras.Model) -> Data:
    """Reads samples for a model.

    A `.npy` file is x. A `.npz` file holds x, or for a model of several inputs an array for each by its name; and may
    hold y, and the same with `_val` behind their names.

    Raises:
      UsageError: there is no such file.
      TypeError, ValueError: it is damaged, holds Python objects, other names, or what the model does not take.
    """
    arrays = _arrays(flag, path)
    names = ["x"] if len(model.inputs) == 1 else list(model.input_names)
    known = {name + end for name in (*names, "y") for end in ("", "_val")}
    missing = [name for name in names if name not in arrays]
    unknown = sorted(set(arrays) - known)
    if missing or unknown:
        raise ValueError(
            f"--{flag} must hold {', '.join(names)}, and may hold y, {', '.join(f'{each}_val' for each in names)} and "
            f"y_val: numpy.savez('train.npz', {names[0]}=..., y=...). Received: {', '.join(arrays) or 'nothing'}"
        )
    parts = [_part(flag, arrays, names, end, model) for end in ("", "_val")]
    (x, y), (x_val, y_val) = parts
    if x is None:
        raise ValueError(f"--{flag} has no samples. Received: {path!r}")
    if (y_val is not None and x_val is None) or (x_val is not None and (y is None) != (y_val is None)):
        raise ValueError(
            f"--{flag} must have x_val and y_val both, or neither, and with y_val also y. Received: {', '.join(arrays)}"
        )
    return Data(x, y, x_val, y_val)


def length(x: Inputs) -> int:
    """Returns the number of samples."""
    return len(next(iter(x.values()))) if isinstance(x, dict) else len(x)


def first_of(x: Inputs, count: int) -> Inputs:
    """Returns the first samples."""
    return _rows(x, np.arange(min(count, length(x))))


def _rows(x: Inputs, rows: Array) -> Inputs:
    return {name: array[rows] for name, array in x.items()} if isinstance(x, dict) else x[rows]


def _arrays(flag: str, path: str) -> dict[str, Array]:
    if not Path(path).is_file():
        raise UsageError(f"--{flag} names no file. Received: {path!r}")
    try:
        # Pickled objects would run code of the file's own.
        found = np.load(path, allow_pickle=False)
        return {name: found[name] for name in found.files} if hasattr(found, "files") else {"x": found}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"--{flag} must be an .npz or .npy file of plain arrays, as numpy.savez and numpy.save write them. "
            f"Received: {path!r}, and {type(error).__name__}: {error}"
        ) from error


def _part(
    flag: str, arrays: dict[str, Array], names: list[str], end: str, model: keras.Model
) -> tuple[Inputs | None, Array | None]:
    from tfmot_swd.tflite.samples import read_samples

    y = arrays.get(f"y{end}")
    given = {name: arrays[name + end] for name in names if name + end in arrays}
    if not given:
        return None, y
    several = len(names) > 1
    samples = read_samples(given if several else given["x"], model, f"x{end} of --{flag}")
    x: Inputs = dict(zip(names, samples.inputs, strict=True)) if several else samples.inputs[0]
    if y is not None and (y.ndim == 0 or len(y) != len(samples)):
        raise ValueError(
            f"y{end} of --{flag} must have one row for each sample. "
            f"Received: y{end} of shape {y.shape}, {len(samples)} samples"
        )
    return x, y
