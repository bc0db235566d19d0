"""Tensor shapes of one sample through a model, call by call, nested models included."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import Functional, losses_kept
from tfmot_swd.keras2.graph import GraphCall, argument_names, layer_behind, model_operands, operator_name, propagate
from tfmot_swd.keras2.layer_weights import unwrapped

Shape = tuple[int, ...]
# Of the only model input, without the batch axis; or of each input, in the order of `model.inputs`.
InputShape = Sequence[int] | Sequence[Sequence[int]]


@dataclasses.dataclass(frozen=True)
class CallShapes:
    """The shapes of one call of a layer on one sample.

    The first axis is the batch axis, of size 1; it is larger where other axes were merged into it, as by
    `tf.reshape(x, (-1, depth))`. So products of sizes count the work for one sample.

    Args:
      inputs: shapes of the Keras tensors it reads, nested arguments flattened.
      outputs: shapes of the tensors that it returns.
      args: its positional arguments, with a `tf.TensorSpec` of one sample for each Keras tensor.
      kwargs: its keyword arguments, likewise.
    """

    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def argument(self, layer: Any, name: str, default: Any = None) -> Any:
        """Returns the argument `name` of `layer.call`, passed by position or by keyword."""
        names = argument_names(layer)
        position = names.index(name) if name in names else len(self.args)
        return self.args[position] if position < len(self.args) else self.kwargs.get(name, default)

    def operands(self, layer: Any) -> tuple[Shape, ...]:
        """Returns the shapes of a layer's list of inputs, constants among them."""
        given = self.argument(layer, "inputs")
        return tuple(map(shape_of_argument, given)) if isinstance(given, list | tuple) else self.inputs


def shape_of_argument(operand: Any) -> Shape:
    """Returns the shape of an argument of a call: a `tf.TensorSpec`, or a constant of any type."""
    return tuple(np.shape(operand))


def size_of(*weights: Any) -> int:
    """Returns the total number of elements of these weights."""
    return sum(math.prod(weight.shape) for weight in weights)


def positions(layer: Any, shape: Shape, rank: int) -> int:
    """Returns the number of positions of an image with `rank` spatial axes, in the layer's data format."""
    if getattr(layer, "data_format", None) == "channels_first":
        return math.prod(shape) // shape[len(shape) - rank - 1]
    return math.prod(shape[:-1])


@dataclasses.dataclass(frozen=True, eq=False)
class SampleTensor:
    """A tensor between layers in one call of a model, for one sample.

    Args:
      shape: its shape for one sample, see `CallShapes`.
      batched: whether its first axis is the batch axis, so that it grows with the batch.
      itemsize: bytes per element.
      traced: the tensor of a trace with given input sizes, where the model leaves sizes open.
      symbolic: the tensor of the model's graph; None for a constant that a nested model is called on.
    """

    shape: Shape
    batched: bool
    itemsize: int
    traced: Any = None
    symbolic: Any = None


@dataclasses.dataclass(frozen=True)
class SampleCall:
    """One call of a layer other than a nested model.

    Args:
      path: of the layer; layers of nested models are written model/layer.
      layer: the layer inside pruning and quantization wrappers.
      wrapper: the layer that the model calls.
      call: its shapes.
      reads, writes: the tensors between layers that it reads and returns.
      key: of its `GraphCall`; None for a model input.
    """

    path: str
    layer: Any
    wrapper: Any
    call: CallShapes
    reads: tuple[SampleTensor, ...]
    writes: tuple[SampleTensor, ...]
    key: int | None = None


class SampleWalk:
    """The calls of a model in the order in which Keras makes them, its inputs first.

    Args:
      model: a Sequential or Functional model.
      input_shape: the sizes of its inputs where it leaves some open, see `InputShape`: its layers are then called once
        more, in a trace of their own, for the sizes of the other tensors.

    Attributes:
      calls: one per model input and per call of a layer, those of nested models in their place.
      outputs: the tensors that the model returns.

    Raises:
      ValueError: a size other than the batch size is not fixed, or `input_shape` is another one; or a nested model is
        called on another size than it was built for.
    """

    def __init__(self, model: Any, input_shape: InputShape | None = None) -> None:
        self.calls: list[SampleCall] = []
        self.outputs: list[SampleTensor] = []
        self._is_traced = input_shape is not None
        if input_shape is None:
            self._start(model, model.inputs)
        else:
            specs = _input_specs(model, input_shape)
            trace = tf.function(lambda *tensors: self._start(model, tensors), autograph=False)
            trace.get_concrete_function(*specs)

    def _start(self, model: Any, tensors: Iterable[Any]) -> None:
        inputs = []
        for given, tensor in zip(tensors, model.inputs, strict=True):
            layer = layer_behind(tensor)
            read = self._made(given, tensor, _fixed_batch(model), 1, layer.name)
            self.calls.append(SampleCall(layer.name, layer, layer, CallShapes((), (read.shape,)), (), (read,)))
            inputs.append(read)
        self.outputs = self._run(model, inputs, "")

    def _run(self, model: Any, inputs: Iterable[SampleTensor], prefix: str) -> list[SampleTensor]:
        """Follows one call of a model on `inputs`, in the order of `model.inputs`; returns its outputs."""
        batch = _fixed_batch(model)

        def visit(made: GraphCall, known: dict[int, SampleTensor]) -> list[SampleTensor] | None:
            # Keras, too, skips what cannot be computed from the inputs that it got.
            if any(id(tensor) not in known for tensor in made.inputs):
                return None
            layer = unwrapped(made.layer)
            if isinstance(layer, Functional):
                return self._run(layer, _inner_inputs(layer, made, known, prefix), f"{prefix}{layer.name}/")
            return self._call(layer, made, known, batch, prefix + layer.name)

        return propagate(model, inputs, visit, as_run=True)

    def _call(
        self, layer: Any, made: GraphCall, known: dict[int, SampleTensor], batch: int | None, path: str
    ) -> list[SampleTensor]:
        """Records one call of a layer; returns its outputs, flattened."""
        reads = [known[id(tensor)] for tensor in made.inputs]

        def spec(value: Any) -> Any:
            return tf.TensorSpec(known[id(value)].shape, value.dtype) if id(value) in known else value

        merged = max((read.shape[0] for read in reads if read.batched), default=1)
        writes = []
        found = self._traced_outputs(made, known) if self._is_traced else made.outputs
        for tensor, symbolic in zip(found, made.outputs, strict=True):
            if operator_name(layer) == "reshape" and reads[0].batched:
                merged = math.prod(reads[0].shape) // max(math.prod(size or 1 for size in tensor.shape[1:]), 1)
            writes.append(self._made(tensor, symbolic, batch, merged, path))
        call = CallShapes(
            tuple(read.shape for read in reads),
            tuple(write.shape for write in writes),
            *tf.nest.map_structure(spec, (made.args, made.kwargs)),
        )
        self.calls.append(SampleCall(path, layer, made.layer, call, tuple(reads), tuple(writes), made.key))
        return writes

    def _traced_outputs(self, made: GraphCall, known: dict[int, SampleTensor]) -> list[Any]:
        """Calls a layer in the trace, where no size but the batch's is open."""

        def traced(value: Any) -> Any:
            return known[id(value)].traced if id(value) in known else value

        args, kwargs = tf.nest.map_structure(traced, (made.args, made.kwargs))
        with losses_kept(made.layer):
            return list(tf.nest.flatten(made.layer(*args, **kwargs)))

    def _made(self, tensor: Any, symbolic: Any, batch: int | None, merged: int, path: str) -> SampleTensor:
        """Returns the `SampleTensor` of a tensor of the model, or of the trace."""
        found = _made(tensor, batch, merged, path)
        return dataclasses.replace(found, traced=tensor if self._is_traced else None, symbolic=symbolic)


def _input_specs(model: Any, input_shape: InputShape) -> list[tf.TensorSpec]:
    """Returns the inputs of a model with the given sizes, and the batch size that the model has."""
    several = [list(each) for each in input_shape if isinstance(each, Sequence)]
    several = several or [[each for each in input_shape if not isinstance(each, Sequence)]]
    expected = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    fits = len(several) == len(expected) and all(
        len(given) == len(sizes)
        and all(isinstance(one, int | np.integer) and one > 0 for one in given)
        and all(size in (None, one) for one, size in zip(given, sizes, strict=True))
        for given, sizes in zip(several, expected, strict=True)
    )
    if not fits:
        raise ValueError(
            "input_shape must be the shape of a model's input without the batch axis, as (224, 224, 3), with the sizes "
            "that the model fixes; for several inputs a list of shapes in the order of model.inputs. "
            f"Received: {input_shape!r} for inputs of shapes {', '.join(map(str, expected))}"
        )
    return [
        tf.TensorSpec((tensor.shape[0], *given), tensor.dtype)
        for tensor, given in zip(model.inputs, several, strict=True)
    ]


def _inner_inputs(model: Any, made: GraphCall, known: dict[int, SampleTensor], prefix: str) -> list[SampleTensor]:
    """Returns the tensors that a call passes to a nested model."""
    reads = []
    for tensor, inner in zip(model_operands(made, model), model.inputs, strict=True):
        # A constant is part of the model: no activation.
        read = known[id(tensor)] if id(tensor) in known else SampleTensor(tuple(tensor.shape), False, 0, tensor)
        expected = tuple(inner.shape)
        if None not in expected[1:] and expected[1:] != read.shape[1:]:
            raise ValueError(
                "A nested model that is called on another size than it was built for cannot be profiled: build "
                f"it for the size that it is called on. Received: {prefix + model.name!r}, built for {expected}, "
                f"called on {tuple(tensor.shape)}"
            )
        reads.append(read)
    return reads


def _made(tensor: Any, batch: int | None, merged: int, path: str) -> SampleTensor:
    """Returns the `SampleTensor` of a symbolic tensor."""
    rank = tensor.shape.rank
    if rank is None or None in tensor.shape[1:]:
        raise ValueError(
            "Activations and multiply-accumulates can be counted only where every size but the batch's is fixed: "
            "give profile, or the Budget, the shape to count for, as input_shape=(224, 224, 3), or build the model for "
            "a fixed input size. "
            f"Received: {path!r} with a tensor of shape {tensor.shape}"
        )
    shape = tuple(tensor.shape)
    # An unbatched tensor, such as what tf.shape returns, has a first axis that is not the batch's.
    batched = rank > 0 and (shape[0] is None or (batch is not None and shape[0] % batch == 0))
    if batched:
        shape = (merged if shape[0] is None else shape[0] // batch, *shape[1:])
    return SampleTensor(shape, batched, tensor.dtype.size)


def _fixed_batch(model: Any) -> int | None:
    """Returns the fixed batch size of the model's inputs, or None."""
    shape = model.inputs[0].shape
    return shape[0] if shape.rank else None
