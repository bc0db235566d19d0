"""Proof of a conversion: both models run on the same random data, and compared call by call."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import keras as keras2
from tfmot_swd.keras2.graph import call_behind
from tfmot_swd.keras3.compat import forget_losses, layers_inside, on_tensorflow
from tfmot_swd.keras3.compat import keras as keras3

# Sizes tried where a model leaves them open: the smallest on which it runs.
OPEN_SIZES = (8, 32, 96, 224)
# Bounds of whole numbers that are tried where no layer tells how many ids it knows: a table of the user's may be small.
_MOST_IDS = (256, 2)
# The most that the tensors of a part of a model take, of each of the two.
_MOST_BYTES = 2 << 30
_BATCH = 2
# (name of the layer or operation, symbolic output of it in the Keras 3 model, the one in the tf_keras model).
Pair = tuple[str, Any, Any]
# Differences relative to the largest number of a tensor; deep nets in float32 reach 1e-5.
_TOLERANCES = {"float64": 1e-4, "float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}


def prove_equal(model3: Any, model2: Any, pairs: Sequence[Pair]) -> None:
    """Raises unless a Keras 3 model and a tf_keras model compute the same on random data.

    All tensors of the graph are compared, not the outputs alone: a saturated softmax would hide a difference, and the
    first call that differs is named. A deep network may make much of rounding, where a mean of many numbers is near
    zero for example; so a call that differs is made again, with the very inputs that it has in the Keras 3 model. Both
    models are as before: states, as those of random generators, are given back.

    Args:
      model3, model2: the models, whose inputs have the same order.
      pairs: (name of the layer or operation, symbolic output of it in `model3`, the one in `model2`), in the order of
        the graph.

    Raises:
      ValueError: the models differ, with the first layer where they do.
    """
    for part in _parts(model3, pairs):
        _prove_part(model3, model2, part, pairs)


def _parts(model3: Any, pairs: Sequence[Pair]) -> Sequence[Sequence[Pair]]:
    """Returns the pairs in parts, in order, whose tensors take some gigabytes of memory at most.

    The tensors of a large network would not fit into memory all at once.
    """
    if any(None in tensor.shape[1:] for tensor in model3.inputs):
        # It is run on small sizes.
        return [pairs]
    parts: list[list[Pair]] = [[]]
    room = _MOST_BYTES
    for pair in pairs:
        size = 4 * math.prod(_BATCH if each is None else each for each in pair[1].shape)
        if parts[-1] and size > room:
            parts.append([])
            room = _MOST_BYTES
        parts[-1].append(pair)
        room -= size
    return parts


def _prove_part(model3: Any, model2: Any, part: Sequence[Pair], pairs: Sequence[Pair]) -> None:
    """Raises unless both models compute the same in a part of the graph; see `prove_equal`."""
    probe3 = keras3.Model(list(model3.inputs), [ours for _, ours, _ in part])
    probe2 = keras2.Model(list(model2.inputs), [theirs for _, _, theirs in part])
    with _states_kept(model3, model2):
        data, found3, found2 = _run(model3, probe3, probe2)
    name, difference = _first_difference(part, found3, found2)
    if name is None:
        return
    with _states_kept(model3, model2):
        random, _ = _first_difference(part, found3, _outputs3(probe3, data))
    if random is not None:
        raise ValueError(
            "A layer that computes another result in each call cannot be compared, so the conversion is not proven: "
            "let it use its `training` argument, or draw its numbers with a keras.random.SeedGenerator of its own. "
            f"Received: {model3.name!r}, whose {random!r} is random when it is called with training=False"
        )
    given = dict(zip(map(id, model2.inputs), data, strict=True))
    with _states_kept(model3, model2):
        given |= _read_from_outside(model3, part, pairs, data)
        alone = _called_alone(part, found3, given, found2)
    name, difference = _first_difference(part, found3, alone)
    if name is None:
        return
    raise ValueError(
        "The converted model does not compute what the model computes, so it is not returned: replace the first layer "
        "that differs, or tell how to convert it by tfmot_swd.keras3.register_layer_pair. "
        f"Received: {model3.name!r}, whose {name!r} differs by {difference:.1e} of its largest output"
    )


def _first_difference(
    pairs: Sequence[Pair],
    found: list[np.ndarray],
    others: list[np.ndarray],
) -> tuple[str | None, float]:
    """Returns the name of the first call whose outputs differ, and by how much; (None, 0.0) where none does."""
    tolerance = 0.0
    for (name, _, _), ours, theirs in zip(pairs, found, others, strict=True):
        # What follows a layer in half precision is no more exact than it.
        tolerance = max(tolerance, *(_TOLERANCES.get(each.dtype.name, 1e-4) for each in (ours, theirs)))
        difference = _difference(ours, theirs)
        if difference > tolerance or _is_half(ours) != _is_half(theirs):
            return name, difference
    return None, 0.0


def _read_from_outside(
    model3: Any, part: Sequence[Pair], pairs: Sequence[Pair], data: list[tf.Tensor]
) -> dict[int, tf.Tensor]:
    """Returns the values of the tensors that the calls of a part read from other parts.

    They are those of the Keras 3 model, by the identity of the symbolic tensors of the tf_keras model.
    """
    inside = {id(theirs) for _, _, theirs in part}
    read = {id(tensor) for _, _, theirs in part for tensor in call_behind(theirs).inputs} - inside
    outside = [(ours, theirs) for _, ours, theirs in pairs if id(theirs) in read]
    if not outside:
        return {}
    values = _outputs3(keras3.Model(list(model3.inputs), [ours for ours, _ in outside]), data)
    return {id(theirs): tf.constant(value) for (_, theirs), value in zip(outside, values, strict=True)}


def _called_alone(
    pairs: Sequence[Pair], found3: list[np.ndarray], data: dict[int, tf.Tensor], found2: list[np.ndarray]
) -> list[np.ndarray]:
    """Returns the outputs of the tf_keras model, of calls that differ for the inputs that they have in the other model.

    Args:
      pairs: as for `prove_equal`.
      found3: outputs of the Keras 3 model.
      data: inputs of these calls from outside, by the identity of the symbolic tensors of the tf_keras model.
      found2: outputs of the tf_keras model.
    """
    known = data | {id(theirs): tf.constant(value) for (_, _, theirs), value in zip(pairs, found3, strict=True)}
    outputs = []
    for pair, ours, theirs in zip(pairs, found3, found2, strict=True):
        differs = _first_difference([pair], [ours], [theirs])[0] is not None
        call = call_behind(pair[2])
        if differs and not call.node.is_input and all(id(tensor) in known for tensor in call.inputs):
            args, kwargs = tf.nest.map_structure(lambda each: known.get(id(each), each), (list(call.args), call.kwargs))
            made = tf.nest.flatten(call.layer(*args, **kwargs))
            place = next(n for n, each in enumerate(call.outputs) if each is pair[2])
            theirs = np.asarray(made[place])
        outputs.append(theirs)
    return outputs


def _is_half(array: np.ndarray) -> bool:
    return array.dtype.name in ("float16", "bfloat16")


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Returns the largest difference, relative to the largest finite number; infinity where shapes or NaNs differ."""
    if ours.shape != theirs.shape:
        return np.inf
    if not np.issubdtype(ours.dtype, np.number) and ours.dtype.name != "bfloat16":
        return 0.0 if np.array_equal(ours, theirs) else np.inf
    ours, theirs = ours.astype("float64"), theirs.astype("float64")
    finite = np.isfinite(ours)
    if not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True):
        return np.inf
    ours, theirs = ours[finite], theirs[finite]
    if not ours.size:
        return 0.0
    return float(np.abs(ours - theirs).max() / max(np.abs(ours).max(), 1e-6))


def _run(model3: Any, probe3: Any, probe2: Any) -> tuple[list[tf.Tensor], list[np.ndarray], list[np.ndarray]]:
    """Returns the first sizes of data on which the models run, and what both probes compute."""
    is_open = any(None in tensor.shape[1:] for tensor in model3.inputs)
    failed: Exception | None = None
    for size, most in itertools.product(OPEN_SIZES if is_open else OPEN_SIZES[:1], _MOST_IDS):
        data = random_inputs(model3, size, most)
        try:
            found = data, _outputs3(probe3, data), _traced(probe2, data)
        except Exception as error:  # Too small for its pooling, or ids that a table lacks: whatever the layer raises.
            failed = error
            continue
        if all(each.size for each in found[1]):
            return found
    raise ValueError(
        "The converted model could not be compared with the model, as one of them does not run on random data: give "
        "keras.Input the sizes that it is used with. "
        f"Received: {model3.name!r}, {type(failed).__name__}: {last_line(failed)}"
    ) from failed


def last_line(error: Exception | None) -> str:
    """Returns what an error says, where Keras puts a page before and behind it."""
    said = re.split("(?:Call a|A)rguments received by", str(error))[0]
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "no data of any size gave an output"


def _outputs3(probe: Any, data: list[tf.Tensor]) -> list[np.ndarray]:
    if on_tensorflow():
        # Keras 3 compiles each grouped convolution by itself when it runs eagerly.
        return _traced(probe, data)
    outputs = probe([each.numpy() for each in data], training=False)
    return [np.asarray(keras3.ops.convert_to_numpy(each)) for each in keras3.tree.flatten(outputs)]


def _traced(probe: Any, data: list[tf.Tensor]) -> list[np.ndarray]:
    @tf.function
    def forward(inputs: Any) -> Any:
        outputs = tf.nest.flatten(probe(inputs, training=False))
        return [tf.sparse.to_dense(each) if isinstance(each, tf.SparseTensor) else each for each in outputs]

    # A function that is called is one more that TensorFlow counts, and warns of when there are many.
    return [np.asarray(each) for each in forward.get_concrete_function(data)(data)]


def random_inputs(model: Any, open_size: int, most_ids: int = _MOST_IDS[0]) -> list[tf.Tensor]:
    """Returns a batch of two for each input: normal numbers, ids that all embeddings know, or words.

    A third of all time steps, words and ids are zero, which masks stand for.

    Args:
      model: a Keras 3 model.
      open_size: for sizes that the model leaves open.
      most_ids: the bound of whole numbers where the model has no layer that tells how many ids it knows.
    """
    generator = np.random.default_rng(0)
    inside = layers_inside(model)
    ids = [layer.input_dim for layer in inside if isinstance(layer, keras3.layers.Embedding)]
    ids += [layer.num_tokens for layer in inside if isinstance(layer, keras3.layers.CategoryEncoding)]
    words = [
        each for layer in inside if isinstance(layer, keras3.layers.StringLookup) for each in layer.get_vocabulary()
    ]

    def batch(tensor: Any) -> tf.Tensor:
        shape = [_BATCH, *(open_size if each is None else each for each in tensor.shape[1:])]
        if tensor.shape and tensor.shape[0] is not None:
            shape[0] = tensor.shape[0]
        dtype = tf.as_dtype(keras3.backend.standardize_dtype(tensor.dtype))
        if dtype == tf.string:
            return tf.constant(generator.choice([*map(str, words), "a word"], shape))
        if dtype.is_bool:
            return tf.constant(generator.random(shape) < 0.5)
        values: Any
        if dtype.is_integer or ids:
            # Embeddings take floats too: whole numbers that all of them know.
            values = generator.integers(0, min(ids, default=most_ids), shape)
        else:
            values = generator.normal(size=shape)
        # Time steps as a whole; the last ones too, as in sequences that were padded.
        steps = shape if dtype.is_integer else [*shape[:2], *([1] * (len(shape) - 2))]
        if len(shape) > 1 and (dtype.is_integer or len(shape) == 3):
            values = values * (generator.random(steps) > 1 / 3)
        return tf.cast(values, dtype)

    return [batch(tensor) for tensor in model.inputs]


@contextlib.contextmanager
def _states_kept(model3: Any, model2: Any) -> Iterator[None]:
    """Gives back what a forward pass may change: recurrent states, the states of random generators."""
    states3 = [each for each in model3.variables if not each.trainable]
    values3 = [np.array(keras3.ops.convert_to_numpy(each)) for each in states3]
    states2 = [each for each in model2.non_trainable_weights if isinstance(each, tf.Variable)]
    values2 = [each.numpy() for each in states2]
    try:
        yield
    finally:
        for variable, value in zip([*states3, *states2], [*values3, *values2], strict=True):
            variable.assign(value)
        # Those of a traced call are of no use to anybody.
        forget_losses(model3)
