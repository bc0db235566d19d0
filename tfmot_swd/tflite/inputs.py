"""Interpreter inputs: validation shared by all interpreters, and random inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfmot_swd.tflite.layout import Port
from tfmot_swd.tflite.samples import Array


def check_inputs(inputs: Any, ports: Sequence[Port], file: str = "the file") -> tuple[list[Array], int]:
    """Returns the arrays in the order of the ports, and how many samples there are.

    An interpreter runs on uninitialized memory where an input was not set, so that each must be given.

    Args:
        inputs: one array (N, ...) for each input name of the file: real values, or integers where the file takes
            integers that are not quantized, such as token ids.
        ports: of the file.
        file: which it is, for messages.

    Raises:
        TypeError: `inputs` is not a dictionary, or an array is of a dtype that the input does not take.
        ValueError: other names, other shapes, no samples or numbers of samples that differ, values that the input
            cannot hold.

    Example:
        >>> port = Port("x", 0, (1, 2), np.dtype("int8"), 0.5, 0)
        >>> arrays, count = check_inputs({"x": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]}, [port])
        >>> arrays[0].shape, count
        ((3, 2), 3)
    """
    names = [port.name for port in ports]
    if not isinstance(inputs, Mapping):
        raise TypeError(
            f"inputs must be a dictionary of arrays named {names}, one for each input of the file. "
            f"Received: inputs={type(inputs).__name__}"
        )
    if set(inputs) != set(names):
        raise ValueError(f"inputs must be arrays named {names}. Received: {sorted(map(str, inputs))}")
    arrays = [np.asarray(inputs[name]) for name in names]
    for array, port in zip(arrays, ports, strict=True):
        _check(array, port, file)
    counts = {len(array) for array in arrays}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"All inputs must have the same number of samples, at least 1. Received: {sorted(counts)}")
    return arrays, counts.pop()


def random_inputs(ports: Sequence[Port], count: int, seed: int = 0) -> dict[str, Array]:
    """Returns reproducible random inputs in the range of each input: one array (count, ...) for each name.

    Where an input is quantized its range is known, and values are spread evenly over it: those of images lie between 0
    and 1, or 0 and 255. Other floats are standard normal, and integers are 0, as indices into a table of unknown size.

    Args:
        ports: of the file, of fixed sizes.
        count: number of samples.
        seed: of the generator.
    """
    generator = np.random.default_rng(seed)
    found = {}
    for port in ports:
        shape = (count, *port.shape[1:])
        if port.limits is not None:
            found[port.name] = generator.uniform(*port.limits, shape).astype(np.float32)
        elif port.dtype.kind == "f":
            found[port.name] = generator.standard_normal(shape).astype(port.dtype)
        else:
            found[port.name] = np.zeros(shape, port.dtype)
    return found


def _check(array: Array, port: Port, file: str) -> None:
    if array.dtype.kind not in "fiub":
        raise TypeError(f"Input {port.name!r} must be an array of numbers. Received: dtype {array.dtype}")
    if not port.shape:
        raise ValueError(
            f"Input {port.name!r} of the file has no batch axis, and is not run sample by sample: run it in an "
            f"interpreter of your own. Received: {file}, with an input of shape ()"
        )
    wanted = ("N", *port.sides[1:])
    fits = array.ndim == len(wanted) and all(
        side in (None, given) for side, given in zip(wanted[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise ValueError(f"Input {port.name!r} must have shape {wanted}. Received: shape {array.shape}")
    if port.scale:
        if not np.isfinite(array).all():
            bad = int(array.size - np.isfinite(array).sum())
            raise ValueError(
                f"Input {port.name!r} is quantized, and 8 or 16 bits have no NaN and no infinity: clean it first. "
                f"Received: {bad} of {array.size} values NaN or infinite"
            )
    elif port.dtype.kind in "iu":
        _check_whole(array, port)


def _check_whole(array: Array, port: Port) -> None:
    limits = np.iinfo(port.dtype)
    is_whole = array.dtype.kind in "iub" or bool(np.isfinite(array).all() and (array == np.trunc(array)).all())
    if not is_whole or (array.size and not limits.min <= array.min() <= array.max() <= limits.max):
        shown = f"values from {array.min()} to {array.max()}" if array.size else "no values"
        raise ValueError(
            f"Input {port.name!r} takes whole numbers of {port.dtype}, such as token ids, as they are. "
            f"Received: dtype {array.dtype}, {shown}"
        )
