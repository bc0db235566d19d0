"""Random graphs of random layers, random channels removed: exact every time.

Fifteen graphs by default. TFMOT_SWD_GRAPHS=2000 tries as many others, for a run at night; it takes about half an
hour. A graph that fails is printed as the list of steps that made it, the smallest that hypothesis finds.
"""

import os
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.channels.exactness import assert_removal_is_exact

L = keras.layers
GRAPHS = int(os.environ.get("TFMOT_SWD_GRAPHS", "15"))
SIDE = 4
WIDTHS = st.sampled_from([1, 2, 3, 4, 6, 8])
ACTIVATIONS = st.sampled_from([None, "relu", "sigmoid", "swish"])
# A tensor of those made so far, counted from the last; taken modulo their number.
PLACES = st.integers(0, 7)


def step(kind: str, *arguments: st.SearchStrategy) -> st.SearchStrategy:
    return st.tuples(st.just(kind), *arguments)


STEPS = st.one_of(
    step("conv", PLACES, WIDTHS, ACTIVATIONS),
    step("conv", PLACES, WIDTHS, ACTIVATIONS),
    step("grouped", PLACES, st.sampled_from([1, 2, 3])),
    step("depthwise", PLACES, st.sampled_from([1, 2])),
    step("separable", PLACES, WIDTHS),
    step("transposed", PLACES, WIDTHS),
    step("norm", PLACES),
    step("group_norm", PLACES),
    step("layer_norm", PLACES, st.sampled_from([-1, 1, (1, 2)])),
    step("prelu", PLACES, st.booleans()),
    step("activation", PLACES, st.sampled_from(["relu", "tanh", "softmax"])),
    step("pool", PLACES),
    step("merge", st.sampled_from(["Add", "Multiply", "Maximum", "Average", "Subtract"]), PLACES, PLACES),
    step("merge", st.sampled_from(["Add", "Multiply", "Maximum", "Average", "Subtract"]), PLACES, PLACES),
    step("concat", PLACES, PLACES, st.sampled_from([-1, -1, -1, 1])),
    step("concat", PLACES, PLACES, st.sampled_from([-1, -1, -1, 1])),
    step("split", PLACES, st.booleans(), st.booleans()),
    step("slice", PLACES, st.integers(0, 3), st.integers(1, 4)),
    step("gate", PLACES, st.booleans()),
    step("places_gate", PLACES),
    step("shuffle", PLACES, st.sampled_from([2, 3])),
    step("cut_rows", PLACES),
    step("repeat", PLACES),
    step("shared", PLACES, PLACES),
    step("nested", PLACES, PLACES, WIDTHS),
    step("constant", PLACES, st.sampled_from(["add", "mul", "max"])),
    step("operator", PLACES, st.sampled_from(["relu", "silu", "double", "where", "clip", "pad", "softmax", "mean"])),
    step("through_vector", PLACES, WIDTHS),
    step("attention", PLACES),
    step("recurrent", PLACES, WIDTHS),
)
GRAPH = st.tuples(
    st.booleans(),
    st.lists(STEPS, min_size=5, max_size=9),
    st.lists(st.tuples(PLACES, st.sampled_from(["dense", "flat", "flat", "conv", "itself"])), max_size=2),
)


class Builder:
    """Makes a model of steps; a step that does not fit the tensor that it is given makes it fit, or does nothing."""

    def __init__(self, fixed_batch: bool) -> None:
        self.image = L.Input((SIDE, SIDE, 3), batch_size=2 if fixed_batch else None)
        self.tensors = [self.image, L.Conv2D(8, 1)(self.image)]

    def at(self, place: int) -> Any:
        return self.tensors[-1 - place % len(self.tensors)]

    def add(self, *steps: tuple[Any, ...]) -> None:
        for kind, *arguments in steps:
            found = getattr(self, kind)(*arguments)
            for tensor in found if isinstance(found, list) else [found]:
                self.tensors.append(self.sized(tensor))

    def sized(self, x: Any) -> Any:
        """Every tensor has the same places, so that all of them can meet; and a number of channels that stays small."""
        if x.shape[1] > SIDE or x.shape[2] > SIDE:
            x = x[:, :SIDE, :SIDE]
        if x.shape[1] < SIDE or x.shape[2] < SIDE:
            x = tf.image.resize(x, (SIDE, SIDE))
        return x[..., :12] if x.shape[-1] > 12 else x

    def fitted(self, x: Any, channels: int) -> Any:
        """As many channels, by a convolution where it has others."""
        return x if x.shape[-1] == channels else L.Conv2D(channels, 1)(x)

    def multiple(self, x: Any, of: int) -> Any:
        return self.fitted(x, -(-x.shape[-1] // of) * of)

    def conv(self, place: int, width: int, activation: str | None) -> Any:
        return L.Conv2D(width, 3, padding="same", activation=activation)(self.at(place))

    def grouped(self, place: int, groups: int) -> Any:
        x = self.multiple(self.at(place), groups)
        return L.Conv2D(2 * groups, 1, groups=groups)(x)

    def depthwise(self, place: int, multiplier: int) -> Any:
        return L.DepthwiseConv2D(2, padding="same", depth_multiplier=multiplier)(self.at(place))

    def separable(self, place: int, width: int) -> Any:
        return L.SeparableConv2D(width, 2, padding="same", depth_multiplier=2)(self.at(place))

    def transposed(self, place: int, width: int) -> Any:
        return L.Conv2DTranspose(width, 2, padding="same")(self.at(place))

    def norm(self, place: int) -> Any:
        return L.BatchNormalization()(self.at(place))

    def group_norm(self, place: int) -> Any:
        return L.GroupNormalization(2)(self.multiple(self.at(place), 2))

    def layer_norm(self, place: int, axis: Any) -> Any:
        return L.LayerNormalization(axis=axis)(self.at(place))

    def prelu(self, place: int, shared: bool) -> Any:
        return L.PReLU(shared_axes=[1, 2] if shared else None)(self.at(place))

    def activation(self, place: int, name: str) -> Any:
        return L.Activation(name)(self.at(place))

    def pool(self, place: int) -> Any:
        return L.UpSampling2D()(L.ZeroPadding2D(((0, 0), (0, 1)))(L.MaxPooling2D()(self.at(place))))

    def merge(self, kind: str, first: int, second: int) -> Any:
        x = self.at(first)
        return getattr(L, kind)()([x, self.fitted(self.at(second), x.shape[-1])])

    def concat(self, first: int, second: int, axis: int) -> Any:
        x, y = self.at(first), self.at(second)
        return L.Concatenate(axis=axis)([x, y if axis == -1 else self.fitted(y, x.shape[-1])])

    def split(self, place: int, even: bool, crossed: bool) -> list[Any]:
        x = self.multiple(self.at(place), 2)
        parts = tf.split(x, 2 if even else [1, x.shape[-1] - 1], axis=-1)
        return [tf.concat(parts[::-1], -1)] if crossed else list(parts)

    def slice(self, place: int, start: int, length: int) -> Any:
        x = self.at(place)
        start %= x.shape[-1]
        return x[..., start : start + length]

    def gate(self, place: int, as_vector: bool) -> Any:
        x = self.at(place)
        squeezed = L.GlobalAveragePooling2D(keepdims=not as_vector)(x)
        layer = L.Dense if as_vector else (lambda units, **options: L.Conv2D(units, 1, **options))
        excited = layer(x.shape[-1], activation="sigmoid")(layer(2, activation="relu")(squeezed))
        return x * excited[:, None, None] if as_vector else L.Multiply()([x, excited])

    def places_gate(self, place: int) -> Any:
        x = self.at(place)
        return x * L.Conv2D(1, 1, activation="sigmoid")(x)

    def shuffle(self, place: int, groups: int) -> Any:
        x = self.multiple(self.at(place), groups)
        channels = x.shape[-1]
        x = L.Reshape((SIDE, SIDE, groups, channels // groups))(x)
        return L.Reshape((SIDE, SIDE, channels))(L.Permute((1, 2, 4, 3))(x))

    def cut_rows(self, place: int) -> Any:
        """Channels and places change roles and back."""
        x = L.Permute((3, 1, 2))(self.at(place))
        return L.Permute((2, 3, 1))(L.ReLU()(x))

    def repeat(self, place: int) -> Any:
        x = self.at(place)
        return tf.concat([x, x], axis=-1)

    def shared(self, first: int, second: int) -> list[Any]:
        x = self.at(first)
        layer = L.Conv2D(x.shape[-1], 1)
        return [layer(x), layer(self.fitted(self.at(second), x.shape[-1]))]

    def nested(self, first: int, second: int, width: int) -> list[Any]:
        x = self.at(first)
        inside = L.Input((None, None, x.shape[-1]))
        hidden = L.BatchNormalization()(L.Conv2D(width, 1)(inside))
        inner = keras.Model(inside, [L.Conv2D(3, 1)(hidden), hidden])
        found = inner(x)
        if first % 2:
            found = [*found, inner(self.fitted(self.at(second), x.shape[-1]))[0]]
        return list(found)

    def constant(self, place: int, kind: str) -> Any:
        x = self.at(place)
        vector = np.linspace(-0.5, 1.0, x.shape[-1]).astype("float32")
        return {"add": lambda: x + vector, "mul": lambda: vector * x, "max": lambda: tf.maximum(x, vector.tolist())}[
            kind
        ]()

    def operator(self, place: int, name: str) -> Any:
        x = self.at(place)
        return {
            "relu": lambda: tf.nn.relu(x),
            "silu": lambda: tf.nn.silu(x),
            "double": lambda: x * 2.0 - 0.1,
            "where": lambda: tf.where(x > 0.1, x, 0.2),
            "clip": lambda: tf.clip_by_value(x, -0.5, 0.5),
            "pad": lambda: tf.pad(x, [[0, 0], [1, 0], [0, 1], [0, 0]]),
            "softmax": lambda: tf.nn.softmax(x),
            "mean": lambda: x - tf.reduce_mean(x, axis=(1, 2), keepdims=True),
        }[name]()

    def through_vector(self, place: int, width: int) -> Any:
        vector = L.Dense(4 * width, activation="relu")(L.Flatten()(self.at(place)))
        return L.Reshape((2, 2, width))(vector)

    def attention(self, place: int) -> Any:
        x = self.at(place)
        row = L.Reshape((SIDE * SIDE, x.shape[-1]))(x)
        return L.Reshape((SIDE, SIDE, x.shape[-1]))(row + L.MultiHeadAttention(2, 2)(row, row))

    def recurrent(self, place: int, width: int) -> Any:
        rows = tf.reduce_max(self.at(place), axis=1)
        return tf.expand_dims(L.GRU(width, return_sequences=True)(rows), 1)

    def model(self, ends: list[tuple[int, str]]) -> keras.Model:
        """Every tensor that nobody reads ends in a layer too, so that all steps count."""
        made = {"dense": lambda x: L.Dense(2)(L.GlobalAveragePooling2D()(x)), "conv": lambda x: L.Conv2D(2, 1)(x)}
        made = {**made, "flat": lambda x: L.Dense(2)(L.Flatten()(x)), "itself": lambda x: x}
        outputs = [made[how](self.at(place)) for place, how in ends]
        joined = L.Concatenate()([L.GlobalMaxPooling2D()(tensor) for tensor in self.tensors])
        return keras.Model(self.image, [*outputs, L.Dense(3)(joined)])


@settings(
    max_examples=GRAPHS,
    deadline=None,
    derandomize=GRAPHS == 15,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(graph=GRAPH, seed=st.integers(0, 999))
def test_removal_is_exact_on_random_graphs(graph, seed):
    keras.backend.clear_session()
    fixed_batch, steps, ends = graph
    builder = Builder(fixed_batch)
    builder.add(*steps)

    assert_removal_is_exact(builder.model(ends), seed=seed)
