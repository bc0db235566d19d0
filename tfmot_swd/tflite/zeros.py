"""Zeros of the Keras weights, checked tensor by tensor in the TFLite file."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorflow.lite.tools import flatbuffer_utils

from tfmot_swd.keras2.compat import keras, weights_of_own
from tfmot_swd.keras2.layer_weights import own_weights
from tfmot_swd.tflite.graph import read_graph
from tfmot_swd.tflite.result import ExportError
from tfmot_swd.tflite.samples import Array

# Their layers use a kernel as it is, or times something; one that a user wrote may subtract its mean first.
_PLAIN = frozenset({"tf_keras", "tensorflow_model_optimization", "tfmot_swd"})


@dataclass(frozen=True)
class KernelZeros:
    """The zeros of one Keras kernel and of the constant of the file that it became.

    Attributes:
        name: of the Keras variable.
        size: number of its elements.
        keras_zeros: how many of them are zero in the model.
        zeros: how many are zero in the file; rounding makes more of them.
        lost: how many of the model's are something else in the file.
    """

    name: str
    size: int
    keras_zeros: int
    zeros: int
    lost: int


@dataclass(frozen=True, eq=False)
class _Kernel:
    """A Keras kernel, where it is zero, and whether its layer uses it as it is."""

    name: str
    zero: Array
    count: int
    is_plain: bool


@dataclass(frozen=True, eq=False)
class _Constant:
    """A constant of the file: where it is zero, or only how often if it is stored sparse."""

    shape: tuple[int, ...]
    zero: Array | None
    count: int


def count_zeros(model: keras.Model, content: bytes) -> tuple[KernelZeros, ...]:
    """Compares the kernels of a model with the weights that its file stores, tensor by tensor.

    A kernel is a weight with two or more dimensions larger than 1. TFLite stores it with its axes in another order, and
    sometimes flattened; the constant of the same size whose zeros include the kernel's, in whatever order of the axes,
    is taken for it. Kernels that are found nowhere (those inside of a loop, say) are left out. In quantized tensors
    zero is the zero point; of a sparse tensor the zeros are counted (the dense size less the non-zeros that are
    stored), and their places are not compared.

    Args:
        model: a built float32 model without pruning wrappers.
        content: its file.
    """
    # Kernels with more zeros first: those with fewer are less particular about where they fit.
    left = sorted(_kernels(model), key=lambda kernel: (not kernel.is_plain, -kernel.count))
    stored = list(_constants(content))
    free, found = list(stored), []
    for any_shape in (False, True):
        waiting, left = left, []
        for kernel in waiting:
            fitting = _fitting(kernel, free, any_shape)
            if fitting is None:
                left.append(kernel)
            else:
                free.remove(fitting)
                found.append(_kept(kernel, fitting))
    for kernel in left:
        found += _explain(kernel, free, stored)
    return tuple(found)


def check_zeros(model: keras.Model, content: bytes, recipe: str) -> tuple[KernelZeros, ...]:
    """Returns `count_zeros`, if the file has kept all of the zeros.

    Raises:
        ExportError: it has not.
    """
    found = count_zeros(model, content)
    worst = max(found, key=lambda each: each.lost, default=None)
    if worst is not None and worst.lost:
        raise ExportError(
            f"The {recipe} file does not keep the zeros of the model and was not put in place: try another recipe, "
            f"float32 first. Received: {worst.lost:,} of the {worst.keras_zeros:,} zeros of {worst.name!r} stored as "
            "other values"
        )
    return found


def _kernels(model: keras.Model) -> Iterator[_Kernel]:
    owners: dict[int, Any] = {}
    for layer in model.submodules:
        if isinstance(layer, keras.layers.Layer):
            for weight in weights_of_own(layer):
                owners.setdefault(id(weight), layer)
    for weight in own_weights(model):
        if weight.dtype.is_floating and sum(side > 1 for side in weight.shape) > 1:
            zero = weight.numpy() == 0
            package = type(owners.get(id(weight))).__module__.split(".")[0]
            yield _Kernel(weight.name, zero, int(zero.sum()), package in _PLAIN)


def _constants(content: bytes) -> Iterator[_Constant]:
    tensors = flatbuffer_utils.convert_bytearray_to_object(bytearray(content)).subgraphs[0].tensors
    for tensor in read_graph(content).kernels():
        point, axis = _zero_point(tensors[tensor.index])
        if tensor.values is not None:
            shape = [1] * len(tensor.shape)
            shape[axis] = -1
            zero = tensor.values == (point.reshape(shape) if point.size > 1 else point)
            yield _Constant(tensor.shape, zero, int(zero.sum()))
        elif tensor.is_sparse:
            yield _Constant(tensor.shape, None, tensor.size - tensor.nonzeros)


def _zero_point(tensor: Any) -> tuple[Array, int]:
    quantization = tensor.quantization
    if quantization is None or quantization.zeroPoint is None:
        return np.zeros(1, np.int64), 0
    return np.asarray(quantization.zeroPoint), quantization.quantizedDimension


def _lost(kernel: _Kernel, constant: _Constant, any_shape: bool) -> int | None:
    """Returns how many zeros the kernel has where the constant has none, at least; None if it is another tensor.

    Args:
        any_shape: whether the same number of elements will do, or only the same sides in some order.
    """
    squeezed = kernel.zero.reshape(_squeezed(kernel.zero.shape))
    if squeezed.size != math.prod(constant.shape):
        return None
    orders = list(itertools.permutations(range(squeezed.ndim)))
    if not any_shape:
        wanted = _squeezed(constant.shape)
        orders = [order for order in orders if tuple(squeezed.shape[axis] for axis in order) == wanted]
        if not orders:
            return None
    if constant.zero is None or constant.count < kernel.count or not kernel.count:
        return max(kernel.count - constant.count, 0)
    changed = ~constant.zero.reshape(-1)
    least = kernel.count
    for order in orders:
        least = min(least, int(np.count_nonzero(squeezed.transpose(order).reshape(-1) & changed)))
        if not least:
            break
    return least


def _fitting(kernel: _Kernel, constants: Iterable[_Constant], any_shape: bool) -> _Constant | None:
    return next((each for each in constants if _lost(kernel, each, any_shape) == 0), None)


def _kept(kernel: _Kernel, *constants: _Constant) -> KernelZeros:
    return KernelZeros(kernel.name, kernel.zero.size, kernel.count, sum(each.count for each in constants), 0)


def _explain(kernel: _Kernel, free: list[_Constant], stored: list[_Constant]) -> Iterator[KernelZeros]:
    """Yields what became of a kernel that no free constant fits: split, shared, or changed; nothing if not stored."""
    parts = _split(kernel, free)
    if parts:
        for part in parts:
            free.remove(part)
        yield _kept(kernel, *parts)
        return
    shared = _fitting(kernel, stored, any_shape=False)
    if shared is not None:
        yield _kept(kernel, shared)
        return
    changed = [(lost, each) for each in free if (lost := _lost(kernel, each, any_shape=False)) is not None]
    if changed and kernel.is_plain:
        lost, constant = min(changed, key=lambda pair: pair[0])
        free.remove(constant)
        yield KernelZeros(kernel.name, kernel.zero.size, kernel.count, constant.count, lost)


def _split(kernel: _Kernel, free: list[_Constant]) -> list[_Constant]:
    """Returns the four constants that the gates of an LSTM become, or none."""
    if kernel.zero.ndim != 2 or kernel.zero.shape[1] % 4:
        return []
    taken: list[_Constant] = []
    for zero in np.split(kernel.zero, 4, axis=1):
        gate = _Kernel(kernel.name, zero, int(zero.sum()), kernel.is_plain)
        fitting = _fitting(gate, (each for each in free if each not in taken), any_shape=False)
        if fitting is None:
            return []
        taken.append(fitting)
    return taken


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(side) for side in shape if side > 1)
