"""Exact k-th magnitude of many tensors, in graph and without sorting all of them.

Two forms agree to the bit: `Compacting` needs few passes and tensors whose size depends on data, which suits a CPU;
`Counting` has static shapes, which XLA, TPUs and the memory of a GPU ask for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import in_xla_context
from tfmot_swd.pruning.compacting import Compacting
from tfmot_swd.pruning.counting import Counting
from tfmot_swd.pruning.magnitude_bits import bits_to_float, magnitude_bits
from tfmot_swd.pruning.selector import Selector


def selector(tensors: Sequence[tf.Tensor], static: bool) -> Selector:
    """Returns the selector of float tensors of known shapes.

    Args:
      tensors: N elements in all.
      static: whether shapes must not depend on data; see `needs_static_shapes`.

    Raises:
      ValueError: no tensor is given.
    """
    if not tensors:
        raise ValueError("A threshold needs at least one tensor. Received: an empty list.")
    return Counting.of(tensors) if static else Compacting.of(tensors)


def needs_static_shapes(variable: Any) -> bool:
    """Returns whether the graph that is traced now computes with a variable under XLA, or on a GPU or TPU."""
    kind = tf.DeviceSpec.from_string(variable.device or "").device_type
    return in_xla_context() or kind not in (None, "CPU")


def kth_magnitude(
    tensors: Sequence[tf.Tensor], k: tf.Tensor | int, *, guess: tf.Tensor | None = None, static: bool = False
) -> tf.Tensor:
    """Returns the k-th smallest magnitude of all elements of all tensors, exactly.

    The threshold of Selective Weight Decay is `kth_magnitude(weights, int(rate * N))`: weights with
    |w| >= threshold are kept, ties included.

    Args:
      tensors: float32, float16 or bfloat16 tensors of any shapes, N elements in all.
      k: integer scalar, 0 <= k < N.
      guess: float32 scalar, an earlier threshold, near which this one may be found sooner; it changes no result.
      static: whether shapes must not depend on data, as under XLA.

    Returns:
      float32 scalar tensor, bitwise equal to `numpy.partition(magnitudes, k)[k]`.

    Raises:
      ValueError: no tensor is given, or a Python k is outside 0 .. N-1.

    >>> float(kth_magnitude([tf.constant([0.5, -2.0]), tf.constant([[-1.0]])], 1))
    1.0
    """
    count = sum(tensor.shape.num_elements() for tensor in tensors)
    if tensors and isinstance(k, int) and not 0 <= k < count:
        raise ValueError(f"k must be at least 0 and below the {count} weights. Received: k={k}")
    find = _compiled_kth if static else _kth
    found: tf.Tensor = find([tf.convert_to_tensor(each) for each in tensors], tf.cast(k, tf.int32), guess, static)
    return found


def _kth(tensors: Sequence[tf.Tensor], k: tf.Tensor, guess: tf.Tensor | None, static: bool) -> tf.Tensor:
    near = None if guess is None else magnitude_bits(guess)
    return bits_to_float(selector(tensors, static).kth(k, near))


# On a GPU, XLA makes one kernel of each counting pass.
_compiled_kth = tf.function(_kth, jit_compile=True, autograph=False)
