"""One harness for every channel rule: a smaller model computes what the larger one computes without its channels."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from ai_edge_litert.interpreter import Interpreter

from tfmot_swd.channels.groups import ChannelGroups, channel_groups
from tfmot_swd.channels.removal import plan_removal
from tfmot_swd.keras2.compat import master_variable
from tfmot_swd.layers.record import Kept

POSITIVE = ("gamma", "variance", "scale")


def assert_removal_is_exact(
    model: Any,
    keep: Mapping[str, Any] | None = None,
    *,
    save: bool = False,
    tflite: bool = False,
    train: bool = False,
    inputs: Any = None,
    seed: int = 0,
    tolerance: float = 1e-5,
    failures: int = 0,
) -> Any:
    """Asserts that the model without some channels computes what `model` computes when nothing reads them.

    The weights of `model` become random. It is run with zeros in all slices that read a removed channel, and again
    with zeros in those that make one too; what only follows, such as batch normalization, is left as it is. Channels
    that a product of two tensors sums over have no slices that read them: what makes or follows them is zero each
    time. Both must agree with the smaller model. Its class, layer names, dtypes and weights are compared too, and
    `model` must come out as it went in.

    Args:
      keep: group → bool mask; by default random, with at least one channel of every tensor.
      save: the smaller model must survive a `.keras` file.
      tflite: it must convert, and the interpreter must agree.
      train: a step of SGD with momentum must change it as it changes the larger one.
      inputs: for `model`; by default random, two or three rows.
      tolerance: relative to the largest output.
      failures: how many channel rules fail; what fails is a barrier, and none of ours may.

    Returns:
      The smaller model.
    """
    generator = np.random.default_rng(seed)
    randomize(model, generator)
    groups = channel_groups(model)
    assert len(groups.trace.failures) == failures, groups.trace.failures
    keep = random_keep(groups, generator) if keep is None else keep
    inputs = random_inputs(model, generator) if inputs is None else inputs
    before = values_of(model)

    plan = plan_removal(model, keep, groups=groups)
    small = plan.apply()

    assert_equal(values_of(model), before, "the original model has changed")
    assert small is not model
    assert_same_architecture(model, small)
    masks, scales = slice_masks(groups, plan.keep()), scales_of(groups, plan.stays)
    kept = scaled(model, sliced(model, values_of(model), masks), scales)
    assert_equal(values_of(small), kept, "the smaller weights are not slices")
    assert (size_of(small) < size_of(model)) == any(not mask.all() for _, mask in masks.values())

    found = outputs(small, inputs)
    for roles in (("consume",), ("produce", "consume")):
        with without_channels(model, groups, plan.keep(), roles):
            close(found, outputs(model, inputs), tolerance, f"with zeros in what {' and '.join(roles)}s")
    assert_equal(values_of(model), before, "the original model has changed")
    if save:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "small.keras")
            small.save(path)
            close(outputs(keras.models.load_model(path), inputs), found, 1e-6, "after loading")
    if tflite:
        close(tflite_outputs(small, inputs), found, 1e-4, "in TFLite")
    if train:
        assert_same_training_step(model, small, groups, plan.keep(), masks, scales, inputs)
    return small


def sizes(model: Any) -> dict[str, int]:
    """Returns how many channels each group has."""
    return {group.name: group.size for group in channel_groups(model).values()}


def reasons(model: Any) -> dict[str, tuple[str, ...]]:
    """Returns why channels of each layer stay, those of the model's outputs left out."""
    barriers = channel_groups(model).barriers
    return {barrier.layer: barrier.reasons for barrier in barriers if barrier.reasons != ("model output",)}


def members(model: Any, name: str, role: str) -> dict[str, list[int]]:
    """Returns, by weight, which channel of a group each slice has."""
    found = channel_groups(model)[name].by_role(role)
    return {f"{each.layer}.{each.weight}[{each.axis}]": each.channels.tolist() for each in found}


def variables_of(model: Any) -> list[Any]:
    """Returns the weights that are variables; Keras counts the vocabulary of a lookup as one too."""
    return [weight for weight in model.weights if isinstance(weight, tf.Variable)]


def values_of(model: Any) -> list[np.ndarray]:
    """Returns copies of all weights."""
    return [weight.numpy() for weight in variables_of(model)]


def size_of(model: Any) -> int:
    """Returns how many numbers the weights are."""
    return sum(value.size for value in values_of(model))


def randomize(model: Any, generator: np.random.Generator) -> None:
    """Gives every weight a random value that keeps activations at about one, statistics of batch norm included."""
    for weight in variables_of(model):
        name = weight.name.rsplit("/", 1)[-1]
        # Masks and thresholds of TFMOT, and statistics of a data set, which Keras uses as they were at adaption.
        known = weight.dtype.is_floating and weight.shape.is_fully_defined()
        if not known or "mask" in name or "threshold" in name or name in ("mean:0", "variance:0"):
            continue
        if any(part in name for part in POSITIVE):
            value = generator.uniform(0.5, 1.5, weight.shape)
        elif weight.shape.rank >= 2:
            fan_in = max(1, int(np.prod(weight.shape[:-1])))
            value = generator.normal(0, 1 / np.sqrt(fan_in), weight.shape)
        else:
            value = generator.normal(0, 0.3, weight.shape)
        weight.assign(value.astype("float32"))


def random_inputs(model: Any, generator: np.random.Generator) -> Any:
    """Returns random inputs in the structure of the model's: two or three rows, three for an unknown size."""
    rows = int(generator.integers(2, 4))

    def draw(tensor: Any) -> tf.Tensor:
        batch, *rest = tensor.shape
        shape = [rows if batch is None else batch, *(5 if size is None else size for size in rest)]
        if tensor.dtype.is_integer:
            return tf.constant(generator.integers(0, 3, shape), tensor.dtype)
        return tf.constant(generator.normal(size=shape), tensor.dtype)

    drawn = tf.nest.map_structure(draw, getattr(model, "_nested_inputs", model.inputs))
    return drawn[0] if isinstance(drawn, list) and len(drawn) == 1 else drawn


def random_keep(groups: ChannelGroups, generator: np.random.Generator, share: float = 0.5) -> dict[str, np.ndarray]:
    """Returns random masks that leave no tensor of the model, and no part of one, without a channel."""
    stays = np.ones(len(groups.trace.classes.root), bool)
    for group in groups.values():
        stays[group.ids] = generator.random(group.size) < share
        stays[generator.choice(group.ids)] = True
    for ids in groups.trace.parts():
        roots = groups.trace.classes.of(ids)
        if not stays[roots].any():
            stays[generator.choice(roots)] = True
    return {group.name: stays[group.ids] for group in groups.values()}


def outputs(model: Any, inputs: Any) -> list[np.ndarray]:
    """Returns all outputs of the model, in inference."""
    model.reset_states()
    return [each.numpy() for each in tf.nest.flatten(model(inputs, training=False))]


def close(found: list[np.ndarray], expected: list[np.ndarray], tolerance: float, when: str) -> None:
    """Asserts that arrays are equal up to a share of the largest entry of each."""
    assert len(found) == len(expected), when
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert one.shape == other.shape, when
        assert np.isfinite(other).all(), f"output {place} is not finite {when}"
        scale = max(np.abs(other).max(), 1e-3)
        error = np.abs(one.astype("float64") - other.astype("float64")).max() / scale
        assert error <= tolerance, f"output {place} is off by {error:.2g} of its scale {when}"


def assert_equal(found: list[np.ndarray], expected: list[np.ndarray], otherwise: str) -> None:
    """Asserts that arrays are equal to the bit."""
    assert [each.shape for each in found] == [each.shape for each in expected], otherwise
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=otherwise)


def assert_same_architecture(model: Any, small: Any) -> None:
    """Asserts that classes, names, dtype policies and trainability are the same, nested models included."""
    assert type(small) is type(model)
    for name in ("name", "trainable", "input_names", "output_names"):
        assert getattr(small, name) == getattr(model, name), name
    assert small.dtype_policy.name == model.dtype_policy.name
    tf.nest.assert_same_structure(small._nested_outputs, model._nested_outputs)
    tf.nest.assert_same_structure(small._nested_inputs, model._nested_inputs)
    assert [each.name for each in small.layers] == [each.name for each in model.layers]
    for one, other in zip(small.layers, model.layers, strict=True):
        assert type(one) is type(other)
        assert (one.name, one.trainable) == (other.name, other.trainable)
        assert (one.dtype_policy.name, one.dtype) == (other.dtype_policy.name, other.dtype)
        if isinstance(one, keras.Model):
            assert_same_architecture(other, one)


def slice_masks(groups: ChannelGroups, keep: Mapping[str, np.ndarray]) -> dict[tuple[int, int], tuple[int, np.ndarray]]:
    """Returns, by identity of a variable and axis, which slices stay."""
    masks: dict[tuple[int, int], tuple[int, np.ndarray]] = {}
    for group in groups.values():
        for member in group.members:
            stays = (member.channels < 0) | keep[group.name][member.channels]
            key = member.variable_id, member.axis
            masks[key] = member.axis, stays & masks[key][1] if key in masks else stays
    return masks


def sliced(model: Any, values: list[np.ndarray], masks: Mapping[tuple[int, int], tuple[int, np.ndarray]]) -> list[Any]:
    """Returns what stays of arrays that are in the order of the model's weights."""
    found = []
    for weight, value in zip(variables_of(model), values, strict=True):
        for (variable_id, axis), (_, stays) in masks.items():
            if variable_id == id(master_variable(weight)):
                value = np.compress(stays, value, axis)
        found.append(value)
    return found


def scales_of(groups: ChannelGroups, stays: np.ndarray) -> dict[int, float]:
    """Returns, by identity of a variable, what its slices are multiplied with, where that is not one."""
    found = (record.scales.items() for record in groups.trace.records.values())
    scales = {variable_id: scale(Kept(stays)) for each in found for variable_id, scale in each}
    return {variable_id: scale for variable_id, scale in scales.items() if scale != 1.0}


def scaled(model: Any, values: list[np.ndarray], scales: Mapping[int, float]) -> list[np.ndarray]:
    """Returns arrays in the order of the model's weights times the scales of these."""
    factors = (scales.get(id(master_variable(weight))) for weight in variables_of(model))
    return [
        value if factor is None else value * np.asarray(factor, value.dtype)
        for value, factor in zip(values, factors, strict=True)
    ]


@contextlib.contextmanager
def without_channels(
    model: Any, groups: ChannelGroups, keep: Mapping[str, np.ndarray], roles: tuple[str, ...]
) -> Iterator[None]:
    """Within it, the slices of removed channels are zero in weights of these roles.

    Those of channels that a product of two tensors sums over are zero in all weights.
    """
    summed = np.zeros(len(groups.trace.classes.root), bool)
    for product in (each for products in groups.trace.products.values() for each in products):
        summed[groups.trace.classes.of(product.sums)] = True
    before = values_of(model)
    variables = {id(master_variable(weight)): master_variable(weight) for weight in variables_of(model)}
    for group in groups.values():
        gone = ~keep[group.name]
        for member in group.members:
            zero = gone if member.role in roles else gone & summed[group.ids]
            value = variables[member.variable_id].numpy()
            np.moveaxis(value, member.axis, 0)[(member.channels >= 0) & zero[member.channels]] = 0
            variables[member.variable_id].assign(value)
    try:
        yield
    finally:
        for weight, value in zip(variables_of(model), before, strict=True):
            weight.assign(value)


def tflite_outputs(model: Any, inputs: Any) -> list[np.ndarray]:
    """Returns what TFLite computes in float32, in the order of the model's outputs."""
    given = tf.nest.flatten(inputs)
    names = [f"x{place}" for place in range(len(given))]

    def run(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        found = model(tf.nest.pack_sequence_as(inputs, tensors), training=False)
        return {f"y{place:03}": each for place, each in enumerate(tf.nest.flatten(found))}

    signature = [tf.TensorSpec(each.shape, each.dtype, name) for each, name in zip(given, names, strict=True)]
    function = tf.function(run, input_signature=signature).get_concrete_function()
    converted = tf.lite.TFLiteConverter.from_concrete_functions([function], model).convert()
    runner = Interpreter(model_content=converted).get_signature_runner()
    found = runner(**dict(zip(names, (each.numpy() for each in given), strict=True)))
    return [found[name] for name in sorted(found)]


def assert_same_training_step(
    model: Any,
    small: Any,
    groups: ChannelGroups,
    keep: Mapping[str, np.ndarray],
    masks: Mapping[tuple[int, int], tuple[int, np.ndarray]],
    scales: Mapping[int, float],
    inputs: Any,
) -> None:
    """Asserts that one step of SGD with momentum leaves the smaller model with slices of the larger one.

    A weight that is multiplied with a scale has a gradient that is divided by it.
    """
    kept = values_of(small)
    with without_channels(model, groups, keep, ("produce", "consume")):
        before = sliced(model, values_of(model), masks)
        step(model, inputs)
        moves = [now - then for now, then in zip(sliced(model, values_of(model), masks), before, strict=True)]
        moves = scaled(model, moves, {variable_id: 1.0 / scale for variable_id, scale in scales.items()})
        expected = [then + move for then, move in zip(scaled(model, before, scales), moves, strict=True)]
    step(small, inputs)
    moved = [np.abs(now - then).max() > 0 for now, then in zip(values_of(small), kept, strict=True) if now.size]
    assert sum(moved) >= len(small.trainable_weights) / 2, "the training step trains next to nothing"
    close(values_of(small), expected, 1e-5, "after a training step")
    for weight, value in zip(variables_of(small), kept, strict=True):
        weight.assign(value)


def step(model: Any, inputs: Any) -> None:
    """Makes one step towards outputs of one."""
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    with tf.GradientTape() as tape:
        found = tf.nest.flatten(model(inputs, training=True))
        loss = tf.add_n([tf.reduce_mean(tf.square(tf.cast(each, tf.float32) - 1.0)) for each in found])
    variables = model.trainable_variables
    gradients = tape.gradient(loss, variables)
    optimizer.apply_gradients(
        (gradient, variable) for gradient, variable in zip(gradients, variables, strict=True) if gradient is not None
    )
