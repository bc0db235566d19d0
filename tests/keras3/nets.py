"""Small networks of Keras 3, of every kind of layer, operation and structure that people write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers as L
from keras import ops

NETS: dict[str, Callable[[], Any]] = {}


def net(build: Callable[[], Any]) -> Callable[[], Any]:
    NETS[build.__name__] = build
    return build


def randomize(model: Any, seed: int = 0) -> None:
    """Gives a network random weights, positive where they must be."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if "int" in str(weight.dtype):
            continue
        value = rng.normal(0, 0.3, weight.shape)
        if any(each in weight.path for each in ("variance", "gamma")):
            value = np.abs(value) + 0.5
        weight.assign(value)


def data_for(model: Any, seed: int = 1) -> Any:
    """Returns a batch of two in the structure that a model is called with; ids are below 6."""
    rng = np.random.default_rng(seed)

    def batch(tensor: Any) -> np.ndarray:
        shape = [2, *(size or 5 for size in tensor.shape[1:])]
        is_whole = "int" in str(tensor.dtype)
        return (rng.integers(0, 6, shape) if is_whole else rng.normal(size=shape)).astype(tensor.dtype)

    inputs = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_structure(batch, inputs)


@keras.saving.register_keras_serializable("tests")
class Scale(L.Layer):
    """A layer of a user's, with a weight, a regularizer and a batch normalization inside."""

    def __init__(self, factor: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(
            shape=(shape[-1],), initializer="ones", name="scale", regularizer=keras.regularizers.L2(0.1)
        )
        self.norm = L.BatchNormalization()
        self.norm.build(shape)
        self.built = True

    def call(self, x: Any, training: bool = False) -> Any:
        return ops.relu(self.norm(x * self.scale * self.factor, training=training))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


@net
def convolutions() -> Any:
    return keras.Sequential(
        [
            L.Input((16, 16, 3)),
            L.Rescaling(1 / 127.0, -1),
            L.Conv2D(8, 3, padding="same", strides=2),
            L.BatchNormalization(synchronized=True),
            L.ReLU(max_value=6.0),
            L.DepthwiseConv2D(3, depth_multiplier=2),
            L.LeakyReLU(negative_slope=0.1),
            L.SeparableConv2D(6, 3),
            L.GlobalAveragePooling2D(keepdims=True),
            L.Flatten(),
            L.Dropout(0.3),
            L.Dense(4, activation="softmax"),
        ]
    )


@net
def transposed() -> Any:
    x = image = L.Input((9, 9, 3))
    x = L.Conv2DTranspose(5, 3, strides=2, padding="same", output_padding=1)(x)
    x = L.Conv2DTranspose(4, 3, strides=2, padding="same")(x)
    # No dilation: TensorFlow computes it on some CPUs alone.
    x = L.Conv2DTranspose(4, 3)(x)
    line, volume = L.Input((9, 3)), L.Input((4, 4, 4, 2))
    others = [L.Conv1DTranspose(5, 3, strides=2)(line), L.Conv3DTranspose(3, 3, strides=2)(volume)]
    return keras.Model([image, line, volume], [x, *others])


@net
def grouped() -> Any:
    x = inputs = L.Input((12, 12, 8))
    x = L.Conv2D(8, 3, groups=4, dilation_rate=2, activation="silu")(x)
    x = L.Conv2D(6, 2, activation="hard_sigmoid", padding="same")(x)
    return keras.Model(inputs, L.Conv2D(6, 1, activation="hard_silu")(x))


@net
def one_dimensional() -> Any:
    x = inputs = L.Input((20, 4))
    x = L.Conv1D(6, 3, padding="causal", activation="gelu")(x)
    x = L.SeparableConv1D(5, 3)(L.DepthwiseConv1D(3)(x))
    return keras.Model(inputs, L.GlobalMaxPooling1D()(L.MaxPooling1D(2)(L.ZeroPadding1D(1)(x))))


@net
def three_dimensional() -> Any:
    x = inputs = L.Input((6, 6, 6, 2))
    x = L.UpSampling3D(2)(L.AveragePooling3D(2)(L.Conv3D(4, 3, padding="same")(x)))
    return keras.Model(inputs, L.Cropping3D(1)(L.ZeroPadding3D(1)(x)))


@net
def resized() -> Any:
    x = inputs = L.Input((7, 7, 3))
    x = L.Resizing(10, 11)(L.UpSampling2D(2, interpolation="bilinear")(x))
    x = L.Cropping2D(1)(L.ZeroPadding2D(((1, 2), (0, 1)))(x))
    return keras.Model(inputs, L.CenterCrop(3, 3)(L.AveragePooling2D(3, strides=2, padding="same")(x)))


@net
def recurrent() -> Any:
    return keras.Sequential(
        [
            L.Input((7, 3)),
            L.Bidirectional(L.LSTM(4, return_sequences=True)),
            L.LSTM(4, go_backwards=True, return_sequences=True, recurrent_activation="hard_sigmoid"),
            L.GRU(5, reset_after=False, return_sequences=True),
            L.Bidirectional(L.GRU(4, return_sequences=True), merge_mode="sum"),
            L.RNN([L.LSTMCell(4), L.GRUCell(5)], return_sequences=True),
            L.SimpleRNN(3),
        ]
    )


@net
def recurrent_states() -> Any:
    inputs = L.Input((7, 3))
    sequence, hidden, cell = L.LSTM(4, return_sequences=True, return_state=True)(inputs)
    return keras.Model(inputs, L.LSTM(4)(sequence, initial_state=[hidden, cell]))


@net
def masked() -> Any:
    x = inputs = L.Input((7,), dtype="int32")
    x = L.Bidirectional(L.GRU(3, return_sequences=True))(L.Embedding(11, 4, mask_zero=True)(x))
    return keras.Model(inputs, L.GlobalAveragePooling1D()(x))


@net
def over_time() -> Any:
    return keras.Sequential(
        [
            L.Input((4, 6, 6, 2)),
            L.ConvLSTM2D(3, 3, padding="same", return_sequences=True),
            L.TimeDistributed(L.Conv2D(2, 3)),
            L.TimeDistributed(L.GlobalAveragePooling2D()),
        ]
    )


@net
def transformer() -> Any:
    inputs = L.Input((6,), dtype="int32")
    x = L.Embedding(10, 8)(inputs) + L.Embedding(6, 8)(ops.arange(6))
    x = L.LayerNormalization(epsilon=1e-6)(x + L.MultiHeadAttention(2, 4, dropout=0.1)(x, x, use_causal_mask=True))
    x = L.LayerNormalization()(L.Add()([x, L.Dense(8)(L.Dense(16, activation="gelu")(x))]))
    return keras.Model(inputs, L.GlobalAveragePooling1D()(x))


@net
def cross_attention() -> Any:
    query, value = L.Input((5, 8)), L.Input((7, 6))
    x, scores = L.MultiHeadAttention(2, 4, value_dim=3, output_shape=5)(query, value, return_attention_scores=True)
    return keras.Model([query, value], [x, scores])


@net
def plain_attention() -> Any:
    query, value = L.Input((5, 8)), L.Input((7, 8))
    both = [L.Attention(use_scale=True)([query, value]), L.AdditiveAttention()([query, value])]
    return keras.Model([query, value], L.Concatenate()(both))


@net
def grouped_query_attention() -> Any:
    inputs = L.Input((6, 8))
    return keras.Model(inputs, L.Dense(2)(L.GroupQueryAttention(4, 4, 2)(inputs, inputs)))


@net
def root_mean_square() -> Any:
    inputs = L.Input((6, 8))
    return keras.Model(inputs, L.Dense(4)(L.RMSNormalization()(inputs)))


@net
def operators() -> Any:
    inputs = L.Input((8, 8, 4))
    x, y = (L.Conv2D(6, 3, padding="same")(inputs) for _ in range(2))
    z = ops.concatenate([ops.relu(x + y) * 2.0 - y / 3.0, x], axis=-1)
    z = ops.reshape(ops.mean(z, axis=(1, 2)), (-1, 2, 6))
    z = ops.softmax(ops.transpose(z, (0, 2, 1)), axis=-1)[:, 1:, :]
    return keras.Model(inputs, 1.0 - ops.swapaxes(-(z**2), 1, 2))


@net
def more_operators() -> Any:
    inputs = L.Input((8, 6))
    a, b = ops.split(inputs, 2, axis=-1)
    z = ops.matmul(a, ops.transpose(b, (0, 2, 1)))
    z = ops.clip(ops.maximum(ops.squeeze(ops.expand_dims(z, -1), -1), 0.1), 0.0, 2.0)
    z = ops.max(ops.stack([z, z], axis=1), axis=1)
    z = ops.pad(ops.gelu(ops.cast(z, "float32"), approximate=False), ((0, 0), (1, 0), (0, 0)))
    z = ops.hard_sigmoid(z) + ops.split(ops.flip(z, axis=1), [3], axis=1)[0][:, :1]
    return keras.Model(inputs, ops.sigmoid(z) + np.ones((8,), "float32"))


@net
def operators_without_counterpart() -> Any:
    inputs = L.Input((8, 6))
    z = ops.einsum("bij,bkj->bik", inputs, inputs)
    z = ops.tile(ops.where(z > 0, z, 0.1 * z), (1, 2, 1))
    return keras.Model(inputs, ops.norm(ops.take(z, [0, 2], axis=1), axis=-1, keepdims=True))


@net
def whole_numbers() -> Any:
    inputs = L.Input((8,), dtype="int32")
    x = ops.cast(ops.mean(inputs, axis=-1, keepdims=True) + inputs * 0.5, "float32")
    return keras.Model(inputs, L.Dense(2)(x))


@net
def squeeze_and_excite() -> Any:
    inputs = L.Input((8, 8, 4))
    x = L.Conv2D(8, 3)(inputs)
    s = L.Conv2D(2, 1, activation="relu6")(L.GlobalAveragePooling2D(keepdims=True)(x))
    x = L.Multiply()([x, L.Conv2D(8, 1, activation="sigmoid")(s)])
    return keras.Model(inputs, L.ELU()(L.PReLU(shared_axes=[1, 2])(x)))


@net
def normalizations() -> Any:
    x = inputs = L.Input((8, 8, 8))
    x = L.LayerNormalization(axis=[1, 2, 3])(L.UnitNormalization()(L.GroupNormalization(4)(x)))
    return keras.Model(inputs, L.Dense(2)(x))


@net
def augmented() -> Any:
    return keras.Sequential(
        [L.Input((8, 8, 3)), L.RandomFlip("horizontal"), L.RandomRotation(0.1), L.RandomZoom(0.1), L.Conv2D(3, 3)]
    )


@net
def nested_and_shared() -> Any:
    block = keras.Sequential([L.Input((6,)), L.Dense(5, activation="relu"), L.Dense(6)], name="block")
    inputs = L.Input((6,))
    x = block(block(inputs)) + inputs
    shared = L.Dense(6)
    x = shared(x) + shared(inputs)
    inside = L.Input((6,))
    two = keras.Model(inside, [L.Dense(3)(inside), L.Dense(2)(inside)], name="two")
    return keras.Model(inputs, two(x))


@net
def dictionaries() -> Any:
    a, b = L.Input((4,), name="a"), L.Input((3,), name="b")
    x = L.Concatenate()([a, b])
    return keras.Model({"a": a, "b": b}, {"p": L.Dense(2, name="p")(x), "q": L.Dense(1, name="q")(x)})


@net
def frozen() -> Any:
    dense, norm = L.Dense(5, trainable=False), L.BatchNormalization(trainable=False)
    return keras.Sequential([L.Input((4,)), dense, norm, L.Dense(3)])


@net
def custom() -> Any:
    return keras.Sequential([L.Input((4,)), L.Dense(5), Scale(3.0), L.Dense(2)])


@net
def activations() -> Any:
    names = """
        relu elu selu softplus softsign silu gelu mish tanh sigmoid exponential linear leaky_relu relu6 celu log_softmax
        log_sigmoid hard_tanh squareplus tanh_shrink hard_sigmoid hard_silu hard_shrink soft_shrink sparse_plus
        sparse_sigmoid softmax
    """
    inputs = L.Input((6,))
    return keras.Model(inputs, L.Concatenate()([L.Dense(4, activation=name)(inputs) for name in names.split()]))


@net
def regularized() -> Any:
    settings = {
        "kernel_regularizer": keras.regularizers.L1L2(1e-3, 1e-3),
        "kernel_constraint": keras.constraints.MaxNorm(2.0),
        "kernel_initializer": keras.initializers.Orthogonal(seed=3),
        "activity_regularizer": "l2",
    }
    return keras.Sequential([L.Input((4,)), L.Dense(5, **settings), L.Dense(2)])
