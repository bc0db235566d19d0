"""Which weights of which layer class count, and which ones the penalty may act on."""

import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow_model_optimization.python.core.sparsity.keras.prune_registry import PruneRegistry
from tensorflow_model_optimization.sparsity.keras import PrunableLayer

from tfmot_swd.layers.prunable import counted_weights, make_prunable, target_weights
from tfmot_swd.layers.registry import said_of

L = keras.layers
IMAGE, SERIES, VECTOR = (2, 6, 6, 3), (2, 6, 3), (2, 3)


def names(weights) -> list[str]:
    return [weight.name.split("/")[-1].split(":")[0] for weight in weights]


def built(layer, shape):
    layer(keras.Input(batch_shape=shape))
    return layer


class Half(L.Layer, PrunableLayer):
    """Counts one of its two weights."""

    def build(self, input_shape):
        self.used = self.add_weight("used", shape=(input_shape[-1],))
        self.other = self.add_weight("other", shape=(input_shape[-1],))

    def call(self, inputs):
        return inputs * self.used + self.other

    def get_prunable_weights(self):
        return [self.used]


class MyDense(L.Dense):
    pass


class MyDepthwise(L.DepthwiseConv2D):
    pass


COUNTED = [
    (L.Dense(4), VECTOR, ["kernel", "bias"]),
    (L.Dense(4, use_bias=False), VECTOR, ["kernel"]),
    (MyDense(4), VECTOR, ["kernel", "bias"]),
    (L.EinsumDense("ab,bc->ac", 4, bias_axes="c"), VECTOR, ["kernel", "bias"]),
    (L.Conv1D(4, 3), SERIES, ["kernel"]),
    (L.Conv2D(4, 3), IMAGE, ["kernel"]),
    (L.Conv3D(4, 2), (2, 4, 4, 4, 1), ["kernel"]),
    (L.Conv1DTranspose(4, 3), SERIES, ["kernel"]),
    (L.Conv2DTranspose(4, 3), IMAGE, ["kernel"]),
    (L.Conv3DTranspose(4, 2), (2, 4, 4, 4, 1), ["kernel"]),
    (L.SeparableConv1D(4, 3), SERIES, ["pointwise_kernel"]),
    (L.SeparableConv2D(4, 3), IMAGE, ["pointwise_kernel"]),
    (L.LocallyConnected1D(4, 3), SERIES, ["kernel"]),
    (L.LocallyConnected2D(4, 3), IMAGE, ["kernel"]),
    (L.LSTM(2), SERIES, ["kernel", "recurrent_kernel"]),
    (L.GRU(2), SERIES, ["kernel", "recurrent_kernel"]),
    (L.SimpleRNN(2), SERIES, ["kernel", "recurrent_kernel"]),
    (L.RNN([L.LSTMCell(2), L.GRUCell(2)]), SERIES, ["kernel", "recurrent_kernel"] * 2),
    (L.Bidirectional(L.LSTM(2)), SERIES, ["kernel", "recurrent_kernel"] * 2),
    (L.TimeDistributed(L.Dense(2)), SERIES, ["kernel", "bias"]),
    (Half(), VECTOR, ["used"]),
    (L.DepthwiseConv1D(3), SERIES, []),
    (L.DepthwiseConv2D(3), IMAGE, []),
    (MyDepthwise(3), IMAGE, []),
    (L.BatchNormalization(), IMAGE, []),
    (L.LayerNormalization(), VECTOR, []),
    (L.GroupNormalization(3), IMAGE, []),
    (L.PReLU(), VECTOR, []),
    (L.Normalization(), VECTOR, []),
    (L.Rescaling(0.5), IMAGE, []),
    (L.Dropout(0.5), VECTOR, []),
]


@pytest.mark.parametrize(("layer", "shape", "expected"), COUNTED, ids=[case[0].name for case in COUNTED])
def test_counted_weights_by_class(layer, shape, expected):
    assert names(counted_weights(built(layer, shape))) == expected


def test_embeddings_count():
    layer = L.Embedding(5, 2)
    layer(keras.Input((3,), dtype="int32"))

    assert names(counted_weights(layer)) == ["embeddings"]


def test_attention_counts_its_four_kernels():
    layer = L.MultiHeadAttention(2, 4)
    inputs = keras.Input((3, 8))
    layer(inputs, inputs)

    assert [tuple(weight.shape) for weight in counted_weights(layer)] == [(8, 2, 4)] * 3 + [(2, 4, 8)]


# Dense biases belong to the pool of the method; TFMOT leaves them alone.
@pytest.mark.parametrize("layer_class", sorted(PruneRegistry._LAYERS_WEIGHTS_MAP, key=lambda c: c.__name__))
def test_every_class_that_tfmot_prunes_is_pruned_here(layer_class):
    kind, _ = said_of(layer_class, "prunable")
    assert kind is not None or not PruneRegistry._LAYERS_WEIGHTS_MAP[layer_class]


def test_targets_all_adds_every_other_trainable_weight():
    dense = built(L.Dense(4), VECTOR)
    conv = built(L.Conv2D(4, 3), IMAGE)
    norm = built(L.BatchNormalization(), IMAGE)

    assert names(target_weights(dense, "all")) == ["kernel", "bias"]
    assert names(target_weights(conv, "all")) == ["kernel", "bias"]
    assert names(target_weights(conv, "kernels")) == ["kernel"]
    assert names(target_weights(norm, "all")) == ["gamma", "beta"]
    assert target_weights(norm, "kernels") == []


def test_make_prunable_gives_any_layer_tfmots_method():
    layer = built(make_prunable(L.PReLU()), VECTOR)
    assert layer.get_prunable_weights() == []

    dense = make_prunable(L.Dense(2))
    built(dense, VECTOR)
    assert names(dense.get_prunable_weights()) == ["kernel", "bias"]


def test_make_prunable_leaves_a_layers_own_method():
    layer = built(make_prunable(Half()), VECTOR)

    assert layer.get_prunable_weights() == [layer.used]
    assert "get_prunable_weights" not in vars(layer)


def test_a_kernel_that_is_computed_is_no_weight_to_prune():
    class Normalized(keras.layers.Dense):
        def build(self, input_shape):
            self.direction = self.add_weight("direction", (input_shape[-1], self.units))
            self.bias = self.add_weight("bias", (self.units,))

        @property
        def kernel(self):
            return tf.math.l2_normalize(self.direction, axis=0)

    layer = Normalized(3)
    layer.build((None, 2))

    assert [weight.name for weight in counted_weights(layer)] == ["bias:0"]
