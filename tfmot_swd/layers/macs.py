"""Multiply-accumulates (MACs) of one call of a layer, from its class, its weights and its shapes.

A MAC is one multiplication whose product is added to a sum: what matrix products and convolutions
consist of. Bias additions, activations, normalization, pooling, resizing, gates of recurrent cells
and every other elementwise step count 0. Products with the zeros of "same" padding count, as in the
figures that papers publish; a zeroed weight counts like any other.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from tfmot_swd.io.deprecation import warn_deprecated
from tfmot_swd.keras2.compat import keras, variables_of
from tfmot_swd.keras2.overrides import replaced_on_object
from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.layers.registry import MacRule, register_layer, said_of
from tfmot_swd.layers.sample import CallShapes, SampleWalk, Shape, size_of

__all__ = ["CallShapes", "Shape", "count_macs", "macs_by_weight", "macs_of_model", "register_macs"]

layers = keras.layers

# Base classes that say nothing about what a subclass computes.
_OPEN_CLASSES = {layers.Layer, layers.Lambda, keras.Model}


def count_macs(layer: Any, call: CallShapes) -> int | None:
    """Returns the MACs of one call of a built `layer`, or None for a class whose MACs are unknown.

    Keras's own layers without a rule count 0 unless they own a matrix. Classes of others without a
    rule, `Lambda` among them, are unknown, as is a `tf` operator that may multiply matrices, and a layer
    whose `call` was replaced on the object. A rule that fails leaves its layer unknown too, with a `PruningWarning`.
    """
    if "call" in replaced_on_object(layer):
        return None
    rule: MacRule | None = said_of(type(layer), "macs")[1]
    if rule is not None:
        try:
            return rule(layer, call)
        except Exception as error:  # A rule may be anybody's, and a profile of the rest is worth having.
            warnings.warn(
                f"The multiply-accumulates of layer {layer.name!r} are unknown, as the rule for its class failed with "
                f"{type(error).__name__}: {error}",
                PruningWarning,
                stacklevel=2,
            )
            return None
    from_keras = any(
        issubclass(kind, layers.Layer) and kind.__module__.startswith("tf_keras.") and kind not in _OPEN_CLASSES
        for kind in type(layer).__mro__
    )
    # Keras's layers with vectors alone, such as ConvNeXt's LayerScale, only scale and shift.
    return 0 if from_keras and all(len(weight.shape) < 2 for weight in variables_of(layer)) else None


def macs_by_weight(layer: Any, call: CallShapes) -> tuple[list[tuple[Any, float]], int]:
    """Returns (weight, MACs per element) pairs of one call, and the MACs of products without a weight.

    Their sum is `count_macs`; unknown MACs are 0. All elements of the matrices of a layer count alike unless its family
    has `macs_by_weight`, as attention does, where queries and values may differ in length.
    """
    # The bias of a GRU has two axes, and that of attention too.
    variables = variables_of(layer)
    names = {id(weight): weight.name.split(":")[0].rsplit("/", 1)[-1] for weight in variables}
    matrices = [each for each in variables if len(each.shape) > 1 and not names[id(each)].startswith("bias")]
    total = count_macs(layer, call)
    if total is None or not matrices:
        return [], total or 0
    own = said_of(type(layer), "macs_by_weight")[1]
    if own is not None:
        found = own(layer, call)
        return found, total - round(sum(times * size_of(weight) for weight, times in found))
    return [(weight, total / size_of(*matrices)) for weight in matrices], 0


def macs_of_model(model: Any) -> int | None:
    """Returns the MACs of a model for one sample; None where those of a layer are not known.

    Raises:
      ValueError: a size is not fixed, as in `SampleWalk`.
    """
    counts = [count_macs(each.layer, each.call) for each in SampleWalk(model).calls]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def register_macs(*kinds: type) -> Callable[[MacRule], MacRule]:
    """Deprecated: the decorator form of `register_layer(*kinds, macs=rule)`.

    Raises:
      TypeError: a class is not a tf_keras layer.
    """
    warn_deprecated("register_macs(MyLayer)(rule)", "register_layer(MyLayer, macs=rule)")
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, layers.Layer)):
            raise TypeError(f"MACs are registered for classes of tf_keras layers. Received: {kind!r}")

    def register(rule: MacRule) -> MacRule:
        register_layer(*kinds, macs=rule)
        return rule

    return register
