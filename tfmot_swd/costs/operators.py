"""TFLite operators that the calls of a model become, with their multiply-accumulates and the elements they move."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any

from tfmot_swd.costs.counts import ChannelCosts, CountedCall
from tfmot_swd.costs.latency_fit import convolution_kind
from tfmot_swd.costs.liveness import Step
from tfmot_swd.costs.terms import CostTerms
from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.graph import operator_name
from tfmot_swd.layers.activations import name_of
from tfmot_swd.layers.registry import is_view
from tfmot_swd.layers.sample import SampleTensor

_L = keras.layers
_DEPTHWISE = (_L.DepthwiseConv2D, _L.DepthwiseConv1D)
_CONV = (
    *(_L.Conv1D, _L.Conv2D, _L.Conv3D, _L.Conv2DTranspose, _L.Conv3DTranspose),
    *(_L.SeparableConv1D, _L.SeparableConv2D),
)
_MAX_POOL = (_L.MaxPooling1D, _L.MaxPooling2D, _L.MaxPooling3D)
_AVERAGE_POOL = (_L.AveragePooling1D, _L.AveragePooling2D, _L.AveragePooling3D)
_GLOBAL_POOL = (
    *(_L.GlobalAveragePooling1D, _L.GlobalAveragePooling2D, _L.GlobalAveragePooling3D),
    *(_L.GlobalMaxPooling1D, _L.GlobalMaxPooling2D, _L.GlobalMaxPooling3D),
)
_PAD = (_L.ZeroPadding1D, _L.ZeroPadding2D, _L.ZeroPadding3D)
_ELEMENTWISE = (
    *(_L.Multiply, _L.Average, _L.Maximum, _L.Minimum),
    *(_L.ReLU, _L.LeakyReLU, _L.PReLU, _L.ThresholdedReLU, _L.Rescaling, _L.BatchNormalization),
)
_COPY = (
    *(_L.Concatenate, _L.Cropping1D, _L.Cropping2D, _L.Cropping3D, _L.UpSampling1D, _L.UpSampling2D),
    *(_L.UpSampling3D, _L.Permute, _L.RepeatVector, _L.Resizing),
)
_KINDS = (
    *((each, "depthwise") for each in _DEPTHWISE),
    *((each, "conv") for each in _CONV),
    *((each, "dense") for each in (_L.Dense, _L.EinsumDense)),
    *((each, "max_pool") for each in _MAX_POOL),
    *((each, "average_pool") for each in _AVERAGE_POOL),
    *((each, "mean") for each in _GLOBAL_POOL),
    *((each, "add") for each in (_L.Add, _L.Subtract)),
    *((each, "elementwise") for each in _ELEMENTWISE),
    *((each, "copy") for each in _COPY),
    *((each, "pad") for each in _PAD),
    *((each, "activation") for each in (_L.Activation, _L.ELU)),
    (_L.Softmax, "softmax"),
)
_WITH_MACS = ("conv", "pointwise", "input_conv", "mono_conv", "depthwise", "dense")
# Kinds whose operators of TFLite end with a ReLU of their own where one follows.
_FUSES_RELU = (*_WITH_MACS, "max_pool", "average_pool", "add", "elementwise")
_FUSED = ("linear", "relu", "relu6")


@dataclasses.dataclass
class _Open:
    """An operator to which later calls may be added.

    Args:
      kind: of `KINDS`.
      path: of the layer.
      macs, weights: multiply-accumulates, and elements of weights.
      reads, writes: tensors between layers.
      repeats: how many operators of this kind the call becomes.
      is_linear: whether nothing was fused to it but a scale and a bias.
      positions: of the output, times those of the kernel.
      is_known: whether it is known which operators the layer becomes.
    """

    kind: str
    path: str
    positions: int
    macs: CostTerms
    weights: CostTerms
    reads: tuple[SampleTensor, ...]
    writes: tuple[SampleTensor, ...]
    repeats: int = 1
    is_linear: bool = True
    is_known: bool = True


@dataclasses.dataclass(frozen=True)
class CountedOperator:
    """One operator, or several of one kind that one call of a layer becomes.

    Args:
      kind: of `latency_fit.KINDS`.
      path: of the layer.
      positions: elements of the output's height and width, times those of the kernel's or pool's.
      macs: multiply-accumulates for one sample.
      elements: of the activations that it reads and writes, and of its weights.
      repeats: the number of operators; `macs` and `elements` are of all together.
      is_known: False for a layer that becomes operators which are not known here, as recurrent cells and attention:
        it counts as one.
    """

    kind: str
    path: str
    positions: int
    macs: CostTerms
    elements: CostTerms
    repeats: int
    is_known: bool


def count_operators(costs: ChannelCosts) -> list[CountedOperator]:
    """Returns the operators of a model's TFLite file, estimated from its layers without a conversion.

    As the converter does, batch normalization is folded into the convolution or dense layer before it, ReLU and ReLU6
    into the operator before them, padding as "same" would pad into the convolution behind it, and reshapes and dropout
    cost nothing. Where another layer reads the tensor between, they stay operators.

    Args:
      costs: weights and calls of the model.

    >>> import tf_keras as keras
    >>> from tfmot_swd.channels import channel_groups
    >>> layers = keras.layers
    >>> net = keras.Sequential([layers.Conv2D(4, 3, input_shape=(8, 8, 2)), layers.BatchNormalization(), layers.ReLU(),
    ...                         layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")])
    >>> [operator.kind for operator in count_operators(ChannelCosts(channel_groups(net)))]
    ['input_conv', 'mean', 'dense', 'softmax']
    """
    readers = Counter(id(tensor) for step in costs.steps for tensor in step.reads)
    reader = {id(tensor): step for step in costs.steps for tensor in step.reads}
    unpadded: dict[int, SampleTensor] = {}
    made_by: dict[int, _Open] = {}
    operators: list[_Open] = []
    for step, call in zip(costs.steps, costs.calls, strict=True):
        if not step.reads:
            continue
        before = made_by.get(id(step.reads[0])) if readers[id(step.reads[0])] == 1 else None
        if is_view(step.layer):
            # Another name of the same tensor: what made it goes on.
            if before is not None and len(step.writes) == 1:
                made_by[id(step.writes[0])] = before
            continue
        padded = id(step.writes[0])
        if readers[padded] == 1 and _pads_as_same(step, reader[padded]):
            unpadded[padded] = step.reads[0]
            continue
        if before is not None and _joins(step, before):
            before.is_linear &= isinstance(step.layer, _L.BatchNormalization)
            before.writes = step.writes
        else:
            reads = tuple(unpadded.get(id(tensor), tensor) for tensor in step.reads)
            found = _operators(costs, dataclasses.replace(step, reads=reads), call)
            operators += found
            before = found[-1]
        for tensor in step.writes:
            made_by[id(tensor)] = before
    return [_counted(costs, each) for each in operators]


def _operators(costs: ChannelCosts, step: Step, call: CountedCall) -> list[_Open]:
    kind, is_known = _kind(costs, step, call)
    where = _positions(step, kind)
    found = _Open(kind, step.path, where, call.macs, call.parameters, step.reads, step.writes, is_known=is_known)
    if isinstance(step.layer, _L.BatchNormalization | _L.Rescaling):
        found.repeats = 2
    elif isinstance(step.layer, _L.Add | _L.Multiply | _L.Average | _L.Maximum | _L.Minimum):
        found.repeats = max(len(step.reads) - 1, 1)
    if kind not in _WITH_MACS or not is_known:
        return [found]
    own = _activation(step.layer)
    found.is_linear = own == "linear"
    if own in _FUSED:
        return [found]
    nothing = CostTerms.of([])
    after, size = "softmax" if own == "softmax" else "activation", math.prod(step.writes[0].shape[:-1])
    return [found, _Open(after, step.path, size, nothing, nothing, step.writes, step.writes, is_linear=False)]


def _positions(step: Step, kind: str) -> int:
    """Returns the positions of one sample at which a kernel is applied, times the elements of the kernel."""
    layer, whole = step.layer, (step.reads if kind == "mean" else step.writes)[0].shape
    taps = getattr(layer, "pool_size", None) if "pool" in kind else getattr(layer, "kernel_size", None)
    taps = taps if kind not in ("dense", "mean") else None
    is_first = getattr(layer, "data_format", None) == "channels_first" and len(whole) > 2
    size = math.prod(whole) // whole[1] if is_first else math.prod(whole[:-1])
    return size * (1 if taps is None else math.prod(taps))


def _kind(costs: ChannelCosts, step: Step, call: CountedCall) -> tuple[str, bool]:
    """Returns the kind of operator that a call becomes, and whether that is known."""
    layer = step.layer
    for each, kind in _KINDS:
        if isinstance(layer, each):
            if kind == "conv":
                axis = 1 if getattr(layer, "data_format", None) == "channels_first" else -1
                # Of channels that can leave there may be few in the end, which does not change the kind on the way.
                stays = not costs.tensor_elements(step.reads[0]).axes.any()
                is_pointwise = math.prod(getattr(layer, "kernel_size", (0,))) == 1
                wide = "pointwise" if is_pointwise else "conv"
                return convolution_kind(step.reads[0].shape[axis], is_pointwise) if stays else wide, True
            if kind == "activation":
                name = _activation(layer)
                return {"softmax": "softmax", **dict.fromkeys(_FUSED, "elementwise")}.get(name, kind), True
            return kind, True
    if operator_name(layer):
        return "dense" if len(call.macs.coefficients) and call.macs.coefficients.any() else "elementwise", True
    if not call.macs.coefficients.any():
        return "elementwise", not call.parameters.coefficients.any()
    # A layer of the user's that computes like a convolution, or one of several operators.
    kernel = getattr(layer, "kernel", None)
    return ("conv" if kernel is not None and len(kernel.shape) > 3 else "dense"), kernel is not None


def _activation(layer: Any) -> str:
    """Returns the name of what a layer applies to its outputs: "linear", "relu", "relu6", or another one."""
    if isinstance(layer, _L.ReLU):
        if layer.negative_slope or layer.threshold:
            return "leaky"
        return "relu" if layer.max_value is None else "relu6" if layer.max_value == 6 else "clipped"
    activation = getattr(layer, "activation", None)
    if isinstance(activation, _L.Layer):
        return _activation(activation)
    return "linear" if activation is None else name_of(activation).rsplit(".", 1)[-1]


def _joins(step: Step, before: _Open) -> bool:
    """Returns whether the converter makes a call part of the operator before it."""
    if not before.is_linear or not before.is_known:
        return False
    if isinstance(step.layer, _L.BatchNormalization):
        return before.kind in _WITH_MACS
    is_activation = isinstance(step.layer, _L.ReLU | _L.Activation) or operator_name(step.layer) in _OPERATORS
    name = _OPERATORS.get(operator_name(step.layer)) or _activation(step.layer)
    return is_activation and name in _FUSED and before.kind in _FUSES_RELU


def _pads_as_same(step: Step, following: Step) -> bool:
    """Returns whether a padding and the convolution behind it are one with padding "same" to the converter."""
    layer = following.layer
    is_convolution = isinstance(layer, _L.Conv2D | _L.DepthwiseConv2D) and not isinstance(layer, _L.Conv2DTranspose)
    if not (isinstance(step.layer, _L.ZeroPadding2D) and is_convolution) or layer.padding != "valid":
        return False
    axes = (2, 3) if layer.data_format == "channels_first" else (1, 2)
    sides = [step.reads[0].shape[axis] for axis in axes]
    needed = []
    for side, size, stride, dilation in zip(sides, layer.kernel_size, layer.strides, layer.dilation_rate, strict=True):
        total = max((math.ceil(side / stride) - 1) * stride + (size - 1) * dilation + 1 - side, 0)
        needed.append((total // 2, total - total // 2))
    return tuple(needed) == tuple(map(tuple, step.layer.padding))


_OPERATORS = {"nn.relu": "relu", "nn.relu6": "relu6"}


def _counted(costs: ChannelCosts, each: _Open) -> CountedOperator:
    # All operators but the first of a call read and write a result in between.
    between = each.writes * (2 * (each.repeats - 1))
    moved = costs.tensor_elements(*each.reads, *each.writes, *between)
    return CountedOperator(
        each.kind, each.path, each.positions, each.macs, moved + each.weights, each.repeats, each.is_known
    )
