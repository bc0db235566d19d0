"""The calls of a model in the order in which Keras makes them, and how long each tensor between them lives."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import Functional, QuantizeLayer, keras
from tfmot_swd.keras2.layer_weights import unwrapped
from tfmot_swd.layers.macs import LayerCall, Shape, count_macs, operator_name, register_macs

layers = keras.layers


@dataclasses.dataclass
class Buffer:
    """Memory that one call writes: from step `born` to step `last_read`, both included."""

    nbytes: int
    born: int
    last_read: int


@dataclasses.dataclass(frozen=True)
class LiveTensor:
    """A tensor between layers; `shape` is that of one sample, see `LayerCall`."""

    shape: Shape
    batched: bool
    buffer: Buffer


@dataclasses.dataclass(frozen=True)
class Step:
    """One call of a layer that is no model; `wrapper` is what the model calls, `layer` what is inside of it."""

    path: str
    layer: Any
    wrapper: Any
    call: LayerCall
    writes: tuple[LiveTensor, ...]
    activation_bytes: int


class CallTrace:
    """The calls of a model in the order in which Keras makes them, nested models opened."""

    def __init__(self, model: Any, batch_size: int) -> None:
        self.steps: list[Step] = []
        self._buffers: list[Buffer] = []
        self._batch_size = batch_size
        inputs = []
        for tensor in model.inputs:
            layer = tensor._keras_history.layer
            read = self._write(tensor, _fixed_batch(model), 1, layer.name, born=0)
            self.steps.append(Step(layer.name, layer, layer, LayerCall((), (read.shape,)), (read,), read.buffer.nbytes))
            inputs.append(read)
        for output in self._run(model, inputs, ""):
            output.buffer.last_read = len(self.steps)

    def peak(self) -> tuple[int, int]:
        """Returns the most bytes alive at once and the first step at which they are."""
        changes = [0] * (len(self.steps) + 2)
        for buffer in self._buffers:
            changes[buffer.born] += buffer.nbytes
            changes[buffer.last_read + 1] -= buffer.nbytes
        alive, best, at = 0, -1, 0
        for step in range(len(self.steps)):
            alive += changes[step]
            if alive > best:
                best, at = alive, step
        return best, at

    def _run(self, model: Any, inputs: Iterable[LiveTensor], prefix: str) -> list[LiveTensor]:
        """Follows one call of a model on `inputs`, in the order of `model.inputs`; returns its outputs."""
        known = {id(tensor): read for tensor, read in zip(model.inputs, inputs, strict=True)}
        for _, nodes in sorted(model._nodes_by_depth.items(), reverse=True):
            for node in nodes:
                reads = [known.get(id(tensor)) for tensor in node.keras_inputs]
                # Keras, too, skips what cannot be computed from the inputs that it got.
                if node.is_input or None in reads:
                    continue
                layer = unwrapped(node.layer)
                if isinstance(layer, Functional):
                    given = self._inner_inputs(layer, node, known, prefix)
                    writes = self._run(layer, given, f"{prefix}{layer.name}/")
                else:
                    writes = self._call(layer, node, known, _fixed_batch(model), prefix + layer.name)
                known.update(zip(map(id, tf.nest.flatten(node.outputs)), writes, strict=True))
        return [known[id(tensor)] for tensor in model.outputs]

    def _inner_inputs(self, model: Any, node: Any, known: dict[int, LiveTensor], prefix: str) -> list[LiveTensor]:
        given, _, _ = model._call_spec.split_out_first_arg(node.call_args, node.call_kwargs)
        reads = []
        for tensor, inner in zip(model._flatten_to_reference_inputs(given), model.inputs, strict=True):
            # A constant is part of the model: no activation.
            constant = LiveTensor(tuple(tensor.shape), False, Buffer(0, 0, 0))
            read = known.get(id(tensor), constant)
            expected = tuple(inner.shape)
            if None not in expected[1:] and expected[1:] != read.shape[1:]:
                raise ValueError(
                    "A nested model that is called on another size than it was built for cannot be profiled: build "
                    f"it for the size that it is called on. Received: {prefix + model.name!r}, built for {expected}, "
                    f"called on {tuple(tensor.shape)}"
                )
            reads.append(read)
        return reads

    def _call(
        self, layer: Any, node: Any, known: dict[int, LiveTensor], batch: int | None, path: str
    ) -> list[LiveTensor]:
        """Records one call of a layer; returns its outputs, flattened."""
        reads = [known[id(tensor)] for tensor in node.keras_inputs]
        for read in reads:
            read.buffer.last_read = len(self.steps)

        def spec(value: Any) -> Any:
            return tf.TensorSpec(known[id(value)].shape, value.dtype) if id(value) in known else value

        merged = max((read.shape[0] for read in reads if read.batched), default=1)
        shared = reads[0].buffer if _is_view(layer) else None
        writes = []
        for tensor in tf.nest.flatten(node.outputs):
            if operator_name(layer) == "reshape" and reads[0].batched:
                merged = math.prod(reads[0].shape) // max(math.prod(size or 1 for size in tensor.shape[1:]), 1)
            writes.append(self._write(tensor, batch, merged, path, len(self.steps), shared))
        call = LayerCall(
            tuple(read.shape for read in reads),
            tuple(write.shape for write in writes),
            *tf.nest.map_structure(spec, (tuple(node.call_args), dict(node.call_kwargs))),
        )
        nbytes = 0 if shared else sum(write.buffer.nbytes for write in writes)
        self.steps.append(Step(path, layer, node.layer, call, tuple(writes), nbytes))
        return writes

    def _write(
        self, tensor: Any, batch: int | None, merged: int, path: str, born: int, shared: Buffer | None = None
    ) -> LiveTensor:
        """Returns a symbolic tensor as it is for one sample, in memory of its own or in `shared`."""
        rank = tensor.shape.rank
        if rank is None or None in tensor.shape[1:]:
            raise ValueError(
                "Activations and multiply-accumulates can be counted only where every size but the batch's is fixed: "
                "build the model for a fixed input size, such as keras.Input((224, 224, 3)). "
                f"Received: {path!r} with a tensor of shape {tensor.shape}"
            )
        shape = tuple(tensor.shape)
        # An unbatched tensor, such as what tf.shape returns, has a first axis that is not the batch's.
        batched = rank > 0 and (shape[0] is None or (batch is not None and shape[0] % batch == 0))
        if batched:
            shape = (merged if shape[0] is None else shape[0] // batch, *shape[1:])
        if shared is not None:
            return LiveTensor(shape, batched, shared)
        nbytes = math.prod(shape) * tensor.dtype.size * (self._batch_size if batched else 1)
        buffer = Buffer(nbytes, born, born)
        self._buffers.append(buffer)
        return LiveTensor(shape, batched, buffer)


@register_macs(QuantizeLayer)
def _no_macs(layer: Any, call: LayerCall) -> int:
    """Rounding to the range of an input multiplies no matrix."""
    return 0


@register_macs(Functional)
def _model_macs(model: Any, call: LayerCall) -> int | None:
    """MACs of a model inside another layer, such as TimeDistributed; elsewhere models are opened."""
    counts = [count_macs(step.layer, step.call) for step in CallTrace(model, 1).steps]
    known = [count for count in counts if count is not None]
    return call.inputs[0][0] * sum(known) if len(known) == len(counts) else None


def _fixed_batch(model: Any) -> int | None:
    """Returns the batch size that the model's inputs are fixed to, if they are."""
    shape = model.inputs[0].shape
    return shape[0] if shape.rank else None


_VIEWS = (
    layers.InputLayer,
    layers.Flatten,
    layers.Reshape,
    layers.Identity,
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.AlphaDropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.ActivityRegularization,
)
_VIEW_OPERATORS = ("reshape", "identity", "squeeze", "expand_dims", "stop_gradient")


def _is_view(layer: Any) -> bool:
    linear = isinstance(layer, layers.Activation) and layer.activation is keras.activations.linear
    # Keras keeps the classes private with which `model.add_loss` and `add_metric` hand a tensor on.
    bookkeeping = type(layer).__name__ in ("AddLoss", "AddMetric")
    return isinstance(layer, _VIEWS) or linear or bookkeeping or operator_name(layer) in _VIEW_OPERATORS
