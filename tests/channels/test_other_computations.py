"""Random graphs of layers that compute something else than their class says: exact every time, and no exception.

Methods replaced on the object, in a subclass's build or by assignment, kernels that are computed, weights that no rule
knows of, lists of tensors as one operand, constants among the inputs. Fifteen graphs by default, as many others as
TFMOT_SWD_GRAPHS says.
"""

import functools
import os
import types
import warnings
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tfmot_swd
from tests.channels.exactness import (
    assert_removal_is_exact,
    close,
    outputs,
    random_inputs,
    random_keep,
    without_channels,
)
from tests.channels.test_random_graphs import PLACES, SIDE, STEPS, WIDTHS, Builder, step
from tfmot_swd.channels.groups import channel_groups

L = keras.layers
GRAPHS = int(os.environ.get("TFMOT_SWD_GRAPHS", "15"))


def mixed(x: Any) -> Any:
    """A function of all channels, of the shape of its argument."""
    return x * (1.0 + tf.reduce_mean(tf.abs(x), axis=-1, keepdims=True))


def centered(kernel: Any) -> Any:
    return kernel - tf.reduce_mean(kernel, axis=[0, 1, 2], keepdims=True)


class StandardizedInBuild(L.Conv2D):
    """Weight standardization as it is published: the operation is replaced in build."""

    def build(self, input_shape):
        super().build(input_shape)
        plain = self.convolution_op
        self.convolution_op = lambda x, kernel: plain(x, centered(kernel))


class CallInInit(L.Conv2D):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.call = functools.partial(self.mixed_call, mixed)

    def mixed_call(self, function, x):
        return function(L.Conv2D.call(self, x))


class KernelProperty(L.Conv2D):
    """Its kernel is made of another weight."""

    @property
    def kernel(self):
        return centered(self.direction)

    @kernel.setter
    def kernel(self, value):
        self.direction = value


class FixedKernel(L.DepthwiseConv2D):
    """As of blur pooling: a kernel that is no weight."""

    def build(self, input_shape):
        super().build(input_shape)
        self.depthwise_kernel = tf.ones((*self.kernel_size, input_shape[-1], self.depth_multiplier)) / 4.0


class ExtraWeight(L.Conv2D):
    """A weight more, that the operation reads."""

    def build(self, input_shape):
        super().build(input_shape)
        self.gain = self.add_weight("gain", (self.filters, self.filters))
        self.activation = lambda x: x @ self.gain


class KeptWeight(L.Conv2D):
    """A weight more, that nothing reads."""

    def build(self, input_shape):
        super().build(input_shape)
        self.spare = self.add_weight("spare", (self.filters,))


class OwnAccess(L.Conv2D):
    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        return centered(found) if name == "kernel" and isinstance(found, tf.Variable) and self.built else found


SUBCLASSES = (StandardizedInBuild, CallInInit, KernelProperty, ExtraWeight, KeptWeight, OwnAccess)


def assign_operation(layer: Any) -> None:
    plain = layer.convolution_op
    layer.convolution_op = lambda x, kernel: plain(x, centered(kernel))


def assign_call(layer: Any) -> None:
    plain = layer.call
    layer.call = lambda x: mixed(plain(x))


def assign_method(layer: Any) -> None:
    def call(self: Any, x: Any) -> Any:
        return mixed(type(self).call(self, x)) * tf.reduce_sum(tf.abs(self.weights[0]))

    layer.call = types.MethodType(call, layer)


def assign_scaled_call(layer: Any) -> None:
    plain, layer.gain = layer.call, tf.Variable(tf.linspace(0.5, 1.5, layer.output_shape[-1]))
    layer.call = lambda x: plain(x) * tf.reverse(layer.gain, [0])


def assign_part(layer: Any) -> None:
    plain, layer.part = layer.call, L.Dense(layer.output_shape[-1])
    layer.part.build((None, layer.output_shape[-1]))
    layer.call = lambda x: layer.part(plain(x))


def assign_kernel(layer: Any) -> None:
    layer.kernel = centered(layer.kernel)


def assign_activation(layer: Any) -> None:
    layer.activation = mixed


def assign_spare(layer: Any) -> None:
    layer.spare = tf.Variable(tf.ones(layer.output_shape[-1]))


def assign_no_bias(layer: Any) -> None:
    layer.use_bias = False


def assign_other_variable(layer: Any) -> None:
    layer.kernel = tf.Variable(layer.kernel * 2.0)


CHANGES = (
    assign_operation,
    assign_call,
    assign_method,
    assign_scaled_call,
    assign_part,
    assign_kernel,
    assign_activation,
    assign_spare,
    assign_no_bias,
    assign_other_variable,
)
PLAIN = ("norm", "prelu", "relu", "activation", "depthwise", "group_norm", "dropout", "pool", "reshape", "softmax")
MERGES = ("Add", "Multiply", "Maximum", "Concatenate", "Average")
LISTS = (
    "mean",
    "max",
    "sum",
    "softmax_over",
    "softmax_channels",
    "transpose",
    "expand",
    "reshape",
    "relu",
    "layer",
    "add_n",
    "plus",
    "split",
    "named",
)

ODD = st.one_of(
    step("subclass", PLACES, st.sampled_from(SUBCLASSES), WIDTHS),
    step("changed", PLACES, st.sampled_from(CHANGES), WIDTHS),
    step("changed", PLACES, st.sampled_from(CHANGES), WIDTHS),
    step("wrapped", PLACES, st.sampled_from(PLAIN)),
    step("wrapped_merge", PLACES, PLACES, st.sampled_from(MERGES)),
    step("blur", PLACES),
    step("listed", PLACES, PLACES, st.sampled_from(LISTS)),
    step("listed", PLACES, PLACES, st.sampled_from(LISTS)),
    step("with_constant", PLACES, st.sampled_from(MERGES), st.booleans()),
    step("other_function", PLACES),
    step("odd_layer_as_activation", PLACES, WIDTHS),
    step("behind_barrier", PLACES, st.booleans()),
    step("changed_twice", PLACES, PLACES),
    step("other_cell", PLACES, WIDTHS),
    step("nested_constant", PLACES),
)
GRAPH = st.tuples(st.booleans(), st.lists(st.one_of(ODD, ODD, STEPS), min_size=2, max_size=5))


class OddBuilder(Builder):
    """Steps whose layers are not what their class says."""

    def __init__(self, fixed_batch: bool) -> None:
        super().__init__(fixed_batch)
        self.fixed_batch = fixed_batch
        # Keras cannot clone models with those among the inputs of a layer, and so nobody can wrap them.
        self.has_constants = False

    def subclass(self, place: int, kind: type, width: int) -> Any:
        return kind(width, 2, padding="same")(self.at(place))

    def changed(self, place: int, change: Any, width: int) -> Any:
        layer = L.Conv2D(width, 2, padding="same")
        made = layer(self.at(place))
        change(layer)
        return made

    def wrapped(self, place: int, kind: str) -> Any:
        x = self.multiple(self.at(place), 2) if kind == "group_norm" else self.at(place)
        layer = {
            "norm": L.BatchNormalization,
            "prelu": L.PReLU,
            "relu": L.ReLU,
            "activation": lambda: L.Activation("relu"),
            "depthwise": lambda: L.DepthwiseConv2D(2, padding="same"),
            "group_norm": lambda: L.GroupNormalization(2),
            "dropout": lambda: L.Dropout(0.5),
            "pool": lambda: L.MaxPooling2D(2, 1, padding="same"),
            "reshape": lambda: L.Reshape((SIDE * SIDE, 1, x.shape[-1])),
            "softmax": lambda: L.Softmax(axis=1),
        }[kind]()
        made = layer(x)
        plain = layer.call
        layer.call = lambda x, **kwargs: mixed(plain(x, **kwargs))
        return L.Reshape((SIDE, SIDE, x.shape[-1]))(made)

    def wrapped_merge(self, first: int, second: int, kind: str) -> Any:
        x = self.at(first)
        layer = getattr(L, kind)()
        made = layer([x, self.fitted(self.at(second), x.shape[-1])])
        plain = layer.call
        layer.call = lambda inputs: mixed(plain(inputs))
        return made

    def blur(self, place: int) -> Any:
        return FixedKernel(2, padding="same")(self.at(place))

    def listed(self, first: int, second: int, kind: str) -> Any:
        """A list of tensors where an operator takes one."""
        x = self.at(first)
        pair = [x, self.fitted(self.at(second), x.shape[-1])]
        channels = x.shape[-1]
        return {
            "mean": lambda: tf.reduce_mean(pair, axis=0),
            "max": lambda: tf.reduce_max(pair, 0),
            "sum": lambda: tf.reduce_sum(pair, axis=[0]),
            "softmax_over": lambda: tf.nn.softmax(pair, axis=0)[0],
            "softmax_channels": lambda: tf.nn.softmax(pair)[1],
            "transpose": lambda: tf.transpose(pair, [1, 2, 0, 3, 4])[:, :, 0],
            "expand": lambda: tf.expand_dims(pair, 1)[1, 0],
            "reshape": lambda: tf.reshape(pair, (2, -1, SIDE, SIDE, channels))[0],
            "relu": lambda: tf.nn.relu(pair)[1],
            "layer": lambda: L.Activation("relu")(pair)[0],
            "add_n": lambda: tf.add_n(pair),
            "plus": lambda: tf.add(pair, pair[0])[1],
            "split": lambda: [part[0] for part in tf.split(pair, 2, axis=0)],
            "named": lambda: tf.reduce_mean(axis=0, input_tensor=pair),
        }[kind]()

    def with_constant(self, place: int, kind: str, is_array: bool) -> Any:
        x = self.at(place)
        if not self.fixed_batch:
            return tf.maximum(x, np.linspace(-1, 1, x.shape[-1]).astype("float32"))
        self.has_constants = True
        width = 2 if kind == "Concatenate" else x.shape[-1]
        constant = np.random.default_rng(place).normal(size=(2, SIDE, SIDE, width)).astype("float32")
        # Keras's other merging layers take no arrays.
        return getattr(L, kind)()([x, constant if is_array and kind == "Concatenate" else tf.constant(constant)])

    def other_function(self, place: int) -> Any:
        made = tf.nn.relu(self.at(place))
        made._keras_history.layer.function = tf.nn.softmax
        return made

    def odd_layer_as_activation(self, place: int, width: int) -> Any:
        function = L.ReLU()
        plain = function.call
        function.call = lambda x: mixed(plain(x))
        return L.Conv2D(width, 1, activation=function)(self.at(place))

    def behind_barrier(self, place: int, at_input: bool) -> Any:
        x = self.image if at_input else L.Lambda(mixed)(self.at(place))
        return L.PReLU(shared_axes=[1, 2])(L.BatchNormalization()(x) * np.linspace(1, 2, x.shape[-1]).astype("float32"))

    def changed_twice(self, first: int, second: int) -> list[Any]:
        """A layer of two calls."""
        x = self.at(first)
        layer = L.Conv2D(x.shape[-1], 1)
        made = [layer(x), layer(self.fitted(self.at(second), x.shape[-1]))]
        assign_operation(layer)
        return made

    def other_cell(self, place: int, width: int) -> Any:
        rows = tf.reduce_max(self.at(place), axis=1)
        layer = L.GRU(width, return_sequences=True)
        made = layer(rows)
        plain = layer.cell.call
        layer.cell.call = lambda *args, **kwargs: [mixed(each) for each in plain(*args, **kwargs)]
        return tf.expand_dims(made, 1)

    def nested_constant(self, place: int) -> Any:
        x = self.at(place)
        if not self.fixed_batch:
            return x
        self.has_constants = True
        first, second = L.Input((SIDE, SIDE, x.shape[-1])), L.Input((SIDE, SIDE, 2))
        inner = keras.Model([first, second], L.Concatenate()([L.Conv2D(3, 1)(first), second]))
        return inner([x, tf.ones((2, SIDE, SIDE, 2))])


def assert_dead_removal_is_exact(model: keras.Model, generator: np.random.Generator, has_constants: bool) -> None:
    """Asserts that predictions stay where filters of zeros leave, by themselves or when pruning is stripped."""
    inputs = random_inputs(model, generator)
    groups = channel_groups(model)
    with without_channels(model, groups, random_keep(groups, generator), ("produce",)):
        expected = outputs(model, inputs)
        plan = tfmot_swd.channels.plan_dead_removal(model)
        assert not plan.groups.trace.failures, plan.groups.trace.failures
        close(outputs(plan.apply(), inputs), expected, 1e-4, "without dead channels")
    if generator.random() < 0.25 and not has_constants:
        schedule = tfmot_swd.SelectiveDecay(final_sparsity=0.5, end_step=1)
        pruned = tfmot_swd.prune_selective_decay(model, schedule)
        close(outputs(pruned, inputs), outputs(model, inputs), 1e-5, "wrapped")
        tfmot_swd.prune_now(pruned)
        stripped = tfmot_swd.strip_pruning(pruned)
        close(outputs(stripped, inputs), outputs(pruned, inputs), 1e-4, "stripped")


@settings(
    max_examples=GRAPHS,
    deadline=None,
    derandomize=GRAPHS == 15,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(graph=GRAPH, seed=st.integers(0, 999))
def test_layers_that_compute_something_else_than_their_class_says(graph, seed):
    keras.backend.clear_session()
    fixed_batch, steps = graph
    builder = OddBuilder(fixed_batch)
    builder.add(*steps)
    model = builder.model([])

    with warnings.catch_warnings():
        # Stripping hands back the whole model where a rule fails. What else is told of these nets, as a kernel that is
        # computed or one that a threshold empties, is true of them.
        warnings.filterwarnings("error", "The stripped model keeps all its channels", tfmot_swd.PruningWarning)
        assert_removal_is_exact(model, seed=seed)
        assert_dead_removal_is_exact(model, np.random.default_rng(seed), builder.has_constants)
