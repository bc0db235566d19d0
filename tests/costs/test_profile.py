"""Parameters, multiply-accumulates and activation bytes agree with what is counted by hand."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow_model_optimization.sparsity.keras import prune_low_magnitude

from examples.networks import resnet20
from tfmot_swd import SelectiveDecay, prune_selective_decay
from tfmot_swd.costs.profile import Profile, profile
from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.layers.macs import register_macs
from tfmot_swd.layers.registry import register_layer

L = keras.layers


def chain(*layers, shape: tuple[int, ...], **kwargs) -> keras.Model:
    return keras.Sequential([keras.Input(shape, **kwargs), *layers])


def shared_twice() -> keras.Model:
    inputs = keras.Input((4,), name="in")
    dense = L.Dense(4, name="shared")
    return keras.Model(inputs, dense(dense(inputs)))


class Scale(L.Layer):
    """A class that the package knows nothing of."""

    def build(self, input_shape):
        self.scale = self.add_weight("scale", shape=(input_shape[-1],))

    def call(self, inputs):
        return inputs * self.scale


class Around(L.Wrapper):
    """A wrapper of one's own."""

    def call(self, inputs):
        return self.layer(inputs)


class ScaleCell(Scale):
    """The same as a recurrent cell."""

    state_size = 2
    output_size = 2

    def call(self, inputs, states):
        return inputs * self.scale, states


@pytest.mark.parametrize(("width", "trainable", "published"), [(16, 273_146, 41_386_634), (64, 4_330_442, 649_988_618)])
def test_resnet20(width, trainable, published):
    model = resnet20((32, 32, 3), 10, width=width)
    costs = profile(model)

    assert costs.trainable_parameters == trainable
    assert costs.parameters == model.count_params()
    # 3x3 convolutions: the stem, then 6, 5 and 5 of alike width, two that double it, two projections.
    # A stage halves the side and doubles the width, so its convolutions cost the same in each.
    full = 32 * 32 * 9 * width * width
    convolutions = 32 * 32 * 9 * 3 * width + 16 * full + 2 * full // 2 + 2 * full // 18
    assert costs.macs == convolutions + 4 * width * 10
    # The figures of the method's notes count 2 for each element that batch norm writes, and the biases
    # of the dense layer; 10 norms in each stage.
    norms = 10 * (32 * 32 * width + 16 * 16 * 2 * width + 8 * 8 * 4 * width)
    assert costs.macs + 2 * norms + 10 == published
    assert costs.unknown == ()


def test_mobilenet_costs_what_its_paper_says():
    costs = profile(keras.applications.MobileNet((224, 224, 3), weights=None))

    # 569 million and 4.2 million in table 8 of the paper; as exactly as its table 1 describes the net.
    macs, side, channels = 112 * 112 * 27 * 32, 112, 32
    for filters, stride in [
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *[(512, 1)] * 5,
        (1024, 2),
        (1024, 1),
    ]:
        side //= stride
        macs += side * side * channels * (9 + filters)
        channels = filters
    assert costs.macs == macs + 1024 * 1000 == 568_740_352
    assert costs.trainable_parameters == 4_231_976


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (L.Conv1D(4, 3), (10, 2), 8 * 3 * 2 * 4),
        (L.Conv1D(4, 3, padding="causal", dilation_rate=2), (10, 2), 10 * 3 * 2 * 4),
        (L.Conv2D(6, 3, 2, "same", groups=2), (5, 5, 4), 3 * 3 * 9 * 2 * 6),
        (L.Conv2D(3, 2, data_format="channels_first"), (4, 5, 7), 4 * 6 * 4 * 4 * 3),
        (L.Conv2D(1, 3, dilation_rate=2), (7, 7, 1), 3 * 3 * 9),
        (L.Conv2D(1, 3), (2, 5, 5, 1), 2 * 3 * 3 * 9),
        (L.Conv3D(2, 2), (3, 4, 5, 1), 2 * 3 * 4 * 8 * 2),
        (L.Conv1DTranspose(4, 3, 2), (5, 2), 5 * 3 * 2 * 4),
        (L.Conv2DTranspose(3, (2, 3), 2, "same"), (4, 5, 2), 4 * 5 * 6 * 2 * 3),
        (L.Conv2DTranspose(3, 2, data_format="channels_first"), (2, 4, 5), 4 * 5 * 4 * 2 * 3),
        (L.Conv3DTranspose(1, 2), (2, 2, 2, 3), 8 * 8 * 3),
        (L.DepthwiseConv1D(3, depth_multiplier=2), (7, 4), 5 * 3 * 4 * 2),
        (L.DepthwiseConv2D(3, 2, "same"), (6, 6, 4), 3 * 3 * 9 * 4),
        (L.SeparableConv1D(5, 3, depth_multiplier=2), (6, 4), 4 * (3 * 4 * 2 + 8 * 5)),
        (L.SeparableConv2D(5, 3), (4, 4, 2), 2 * 2 * (9 * 2 + 2 * 5)),
        (L.LocallyConnected1D(2, 3), (5, 4), 3 * 3 * 4 * 2),
        (L.LocallyConnected1D(2, 3, implementation=3), (5, 4), 3 * 3 * 4 * 2),
        (L.LocallyConnected2D(2, 2), (3, 4, 3), 2 * 3 * 4 * 3 * 2),
        (L.LocallyConnected2D(2, 2, implementation=2), (3, 4, 3), 2 * 3 * 4 * 3 * 2),
        (L.Dense(5), (3,), 3 * 5),
        (L.Dense(5), (2, 7, 3), 2 * 7 * 3 * 5),
        (L.EinsumDense("abc,cde->abde", (None, 2, 3)), (4, 6), 4 * 6 * 2 * 3),
        (L.EinsumDense("...x,xy->...y", 7), (4, 5, 3), 4 * 5 * 3 * 7),
        (L.EinsumDense("ab...,bc->ac...", (7, None, None)), (5, 2, 3), 5 * 2 * 3 * 7),
        (L.LSTM(3), (5, 2), 5 * 4 * 3 * (2 + 3)),
        (L.LSTM(3, return_sequences=True), (5, 2), 5 * 4 * 3 * (2 + 3)),
        (L.GRU(3), (5, 2), 5 * 3 * 3 * (2 + 3)),
        (L.SimpleRNN(3), (5, 2), 5 * 3 * (2 + 3)),
        (L.RNN([L.LSTMCell(3), L.GRUCell(2)]), (5, 2), 5 * (4 * 3 * (2 + 3) + 3 * 2 * (3 + 2))),
        (L.Bidirectional(L.LSTM(3)), (5, 2), 2 * 5 * 4 * 3 * (2 + 3)),
        (L.ConvLSTM1D(2, 3), (4, 6, 1), 4 * 4 * 3 * 8 * (1 + 2)),
        (L.ConvLSTM2D(2, 3, padding="same"), (4, 5, 5, 1), 4 * 25 * 9 * 8 * (1 + 2)),
        (L.ConvLSTM2D(2, 3, data_format="channels_first"), (4, 1, 5, 6), 4 * 3 * 4 * 9 * 8 * (1 + 2)),
        (L.Bidirectional(L.ConvLSTM1D(2, 3)), (4, 6, 1), 2 * 4 * 4 * 3 * 8 * (1 + 2)),
        (L.TimeDistributed(L.Dense(4)), (5, 3), 5 * 3 * 4),
        (L.TimeDistributed(L.Conv2D(2, 3)), (5, 4, 4, 1), 5 * 4 * 9 * 2),
        (L.TimeDistributed(L.SimpleRNN(3)), (6, 5, 2), 6 * 5 * 3 * (2 + 3)),
        (L.TimeDistributed(chain(L.Dense(4), L.Dense(2), shape=(3,))), (5, 3), 5 * (12 + 8)),
        (Around(L.Dense(5)), (3,), 3 * 5),
        (L.Embedding(10, 4), (6,), 0),
        (L.BatchNormalization(), (4, 4, 2), 0),
        (L.LayerNormalization(axis=[1, 2]), (4, 2), 0),
        (L.PReLU(), (4, 2), 0),
        # One of Keras's own without a rule, whose weights are vectors.
        (L.experimental.SyncBatchNormalization(), (4, 4, 2), 0),
        (L.AveragePooling2D(), (4, 4, 2), 0),
        (L.UpSampling2D(), (4, 4, 2), 0),
        (L.Softmax(), (4,), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, L.Layer) else "",
)
def test_macs_of_one_layer(layer, shape, macs):
    model = chain(layer, shape=shape)
    costs = profile(model)

    assert costs.macs == macs
    assert costs.unknown == ()
    assert costs.parameters == model.count_params()
    # The batch is of activations alone.
    assert profile(model, batch_size=3).macs == macs


def test_subclasses_count_as_the_class_they_extend():
    class MyDense(L.Dense):
        pass

    class MyPooling(L.MaxPooling2D):
        pass

    costs = profile(chain(MyPooling(), L.Flatten(), MyDense(3), shape=(4, 4, 1)))

    assert (costs.macs, costs.unknown) == (4 * 3, ())
    assert [row.kind for row in costs.rows[1:]] == ["MyPooling", "Flatten", "MyDense"]


@pytest.mark.parametrize("by_keyword", [False, True])
def test_multi_head_attention(by_keyword):
    query, value = keras.Input((7, 8)), keras.Input((9, 6))
    layer = L.MultiHeadAttention(2, key_dim=3, value_dim=5)
    outputs = layer(query, value=value, key=value) if by_keyword else layer(query, value)
    projections = 7 * 8 * 6 + 9 * 6 * 6 + 9 * 6 * 10 + 7 * 10 * 8

    assert profile(keras.Model([query, value], outputs)).macs == projections + 7 * 9 * 2 * (3 + 5)


def test_multi_head_attention_over_one_of_two_axes():
    inputs = keras.Input((7, 3, 8))
    outputs = L.MultiHeadAttention(2, key_dim=3, attention_axes=(2,))(inputs, inputs)

    # Each of 21 places attends to the 3 of its own row.
    assert profile(keras.Model(inputs, outputs)).macs == 21 * 4 * 8 * 6 + 21 * 3 * 2 * (3 + 3)


def test_a_shared_attention_counts_each_call_at_its_own_length():
    short, long, layer = keras.Input((2, 4)), keras.Input((3, 4)), L.MultiHeadAttention(1, key_dim=5)
    model = keras.Model([short, long], [layer(short, short), layer(long, long)])

    assert profile(model).macs == (2 + 3) * 4 * 4 * 5 + (2 * 2 + 3 * 3) * (5 + 5)


@pytest.mark.parametrize("kind", [L.Attention, L.AdditiveAttention])
def test_attention_without_projections(kind):
    query, value = keras.Input((5, 4)), keras.Input((6, 4))

    assert profile(keras.Model([query, value], kind()([query, value]))).macs == 5 * 6 * (4 + 4)


def test_attention_with_values_narrower_than_the_keys():
    query, value, key = keras.Input((5, 4)), keras.Input((6, 3)), keras.Input((6, 4))

    assert profile(keras.Model([query, value, key], L.Attention()([query, value, key]))).macs == 5 * 6 * (4 + 3)


@pytest.mark.parametrize(
    ("product", "macs"),
    [
        (lambda x, y: tf.matmul(x, y), 4 * 6 * 5),
        (lambda x, y: x @ y, 4 * 6 * 5),
        (lambda x, y: tf.linalg.matmul(y, x, transpose_a=True, transpose_b=True), 5 * 6 * 4),
        (lambda x, y: tf.matmul(tf.ones((3, 4)), x), 3 * 4 * 6),
        (lambda x, y: tf.matmul(x, tf.ones((1, 6, 2))), 4 * 6 * 2),
        (lambda x, y: tf.einsum("abc,acd->abd", x, y), 4 * 6 * 5),
        (lambda x, y: tf.einsum("...bc,...cd->...bd", x, y), 4 * 6 * 5),
        (lambda x, y: tf.einsum("...bc,...cd->...bd", tf.stack([x, x], 1), tf.ones((2, 6, 5))), 2 * 4 * 6 * 5),
        (lambda x, y: tf.einsum("abc,cd->abd", x, tf.ones((6, 2))), 4 * 6 * 2),
        # Keras and TensorFlow merge the batch with the next axis here: matmul((4, 6), (6, 3)).
        (lambda x, y: keras.backend.dot(x, tf.ones((6, 3))), 4 * 6 * 3),
        (lambda x, y: L.Dot(axes=(2, 1))([x, y]), 4 * 6 * 5),
        (lambda x, y: L.Dot(axes=-1)([x[:, 0], y[:, :, 0]]), 6),
        (lambda x, y: tf.nn.relu(x) * 2.0 + x[:, :1], 0),
    ],
)
def test_operators(product, macs):
    x, y = keras.Input((4, 6)), keras.Input((6, 5))
    costs = profile(keras.Model([x, y], product(x, y)))

    assert (costs.macs, costs.unknown) == (macs, ())


def test_axes_merged_into_the_batch_are_still_one_sample():
    inputs = keras.Input((4, 6))
    rows = L.Dense(3, name="dense")(tf.reshape(inputs, (-1, 6)))
    costs = profile(keras.Model(inputs, tf.reduce_sum(tf.reshape(rows, (-1, 4, 3)), axis=1)), batch_size=2)

    assert costs.macs == 4 * 6 * 3
    shapes = {row.layer: row.output_shapes for row in costs.rows}
    assert shapes["dense"] == ((4, 3),)
    # Bytes of the input, of the dense layer's rows and of the sums; the reshaped are views.
    assert costs.activation_bytes == 2 * 4 * (24 + 12 + 3)


def test_a_fixed_batch_changes_nothing_for_one_sample():
    free = profile(chain(L.LSTM(3), L.Dense(2), shape=(5, 2)))
    fixed = profile(chain(L.LSTM(3), L.Dense(2), shape=(5, 2), batch_size=8))

    assert (fixed.macs, fixed.activation_bytes) == (free.macs, free.activation_bytes) == (306, 4 * (10 + 3 + 2))


@pytest.mark.parametrize(
    "layer",
    [
        Scale(name="odd"),
        L.Lambda(lambda x: tf.ensure_shape(tf.numpy_function(np.abs, [x], x.dtype), x.shape), name="odd"),
        L.RNN([L.LSTMCell(2), ScaleCell()], name="odd"),
        L.TimeDistributed(Scale(), name="odd"),
        L.TimeDistributed(chain(L.Dense(4), Scale(), shape=(4,)), name="odd"),
    ],
    ids=["own class", "Lambda", "cell", "TimeDistributed", "inside a model"],
)
def test_what_is_not_known_is_listed(layer):
    costs = profile(chain(layer, L.Flatten(), L.Dense(1, use_bias=False), shape=(4, 4)))

    assert costs.unknown == ("odd",)
    row = next(row for row in costs.rows if row.layer == "odd")
    assert (row.macs, row.macs_known) == (0, False)
    assert costs.macs == next(row for row in costs.rows if row.kind == "Dense").parameters
    assert "MACs not known, counted as 0: odd" in str(costs)


def test_a_layer_of_keras_with_a_matrix_and_no_rule_is_listed():
    costs = profile(chain(L.experimental.RandomFourierFeatures(3, name="fourier"), shape=(4,)))

    assert costs.unknown == ("fourier",)


def test_operators_that_may_hide_a_product_are_listed():
    inputs = keras.Input((8, 2))
    convolved = tf.nn.conv1d(inputs, tf.ones((3, 2, 4)), 1, "SAME")
    outputs = tf.einsum("abc,ade,cf->af", convolved, inputs, tf.ones((4, 2)))
    model = keras.Model(inputs, outputs)

    assert profile(model).unknown == tuple(layer.name for layer in model.layers[1:])
    assert len(model.layers) == 3


def test_a_class_of_ones_own_can_be_registered():
    class Registered(Scale):
        pass

    def macs(layer, call):
        return call.inputs[0][-1] * call.outputs[0][-1]

    register_layer(Registered, macs=macs)

    costs = profile(chain(Registered(), shape=(3,)))

    assert (costs.macs, costs.unknown) == (9, ())


def test_only_layer_classes_can_be_registered():
    with pytest.raises(TypeError, match=r"classes of tf_keras layers\. Received: <class 'int'>"):
        register_layer(int, macs=lambda layer, call: 0)


def test_the_decorator_of_the_last_release_registers_macs():
    class Registered(Scale):
        pass

    def macs(layer, call):
        return 7

    with pytest.warns(DeprecationWarning, match=r"write register_layer\(MyLayer, macs=rule\) instead"):
        assert register_macs(Registered)(macs) is macs

    assert profile(chain(Registered(), shape=(3,))).macs == 7


def test_a_shared_layer_counts_once_in_parameters_and_twice_in_macs():
    costs = profile(shared_twice())

    assert [(row.layer, row.calls, row.parameters, row.macs) for row in costs.rows] == [
        ("in", 1, 0, 0),
        ("shared", 2, 20, 32),
    ]
    assert costs.rows[1].output_shapes == ((4,),)


def test_a_nested_model_called_twice():
    inner = chain(L.Dense(3, name="inside"), L.ReLU(name="relu"), shape=(3,))
    inner._name = "inner"
    inputs = keras.Input((3,), name="in")
    costs = profile(keras.Model(inputs, L.Add(name="add")([inner(inner(inputs)), inputs])))

    assert [(row.layer, row.calls, row.parameters, row.macs) for row in costs.rows] == [
        ("in", 1, 0, 0),
        ("inner/inside", 2, 12, 18),
        ("inner/relu", 2, 0, 0),
        ("add", 1, 0, 0),
    ]
    # The input waits for the addition through both calls: with a dense layer's 12 bytes and a ReLU's.
    assert costs.activation_bytes == 12 * 6
    assert costs.peak_activation_bytes == 12 * 3


def test_nested_models_in_nested_models_and_several_inputs_by_name():
    deep = keras.Sequential([L.Dense(2, name="leaf")], name="deep")
    a, b = keras.Input((3,), name="a"), keras.Input((5,), name="b")
    inner = keras.Model({"a": a, "b": b}, {"z": deep(a), "y": L.Dense(4, name="wide")(b)}, name="inner")
    p, q = keras.Input((5,), name="p"), keras.Input((3,), name="q")
    outputs = inner({"b": p, "a": q})
    costs = profile(keras.Model([p, q], [outputs["z"], outputs["y"]]))

    assert {row.layer: row.macs for row in costs.rows} == {"p": 0, "q": 0, "inner/deep/leaf": 6, "inner/wide": 20}
    assert {row.layer: row.output_shapes for row in costs.rows}["inner/wide"] == ((4,),)


def test_weights_that_two_layers_own_count_once():
    dense = L.Dense(3, name="alone")
    inputs = keras.Input((5, 2))
    model = keras.Model(inputs, [dense(inputs), L.TimeDistributed(dense, name="timed")(inputs)])
    costs = profile(model)

    assert sorted(row.parameters for row in costs.rows) == [0, 0, 9]
    assert costs.parameters == model.count_params() == 9


def test_frozen_layers_and_moving_statistics_are_not_trainable():
    frozen = L.Dense(3, trainable=False)
    costs = profile(chain(frozen, L.BatchNormalization(), shape=(2,)))

    assert (costs.parameters, costs.trainable_parameters) == (9 + 12, 6)


def test_pruning_wrappers_cost_what_is_inside_them():
    def build():
        inputs = keras.Input((6, 6, 2), name="in")
        x = L.Flatten(name="flat")(L.Conv2D(4, 3, name="conv")(inputs))
        return keras.Model(inputs, L.Dense(3, name="head")(x))

    plain = profile(build())
    assert profile(prune_low_magnitude(build())) == plain
    assert profile(prune_selective_decay(build(), SelectiveDecay(final_sparsity=0.5, end_step=4))) == plain
    assert plain.macs == 4 * 4 * 9 * 2 * 4 + 64 * 3


def test_wrapped_attention_finds_its_arguments():
    inputs, layer = keras.Input((5, 4), name="in"), L.MultiHeadAttention(1, 2, name="attention")
    model = keras.Model(inputs, layer(inputs, inputs))
    plain = profile(model)
    pruned = prune_selective_decay(model, SelectiveDecay(final_sparsity=0.5, end_step=4))

    assert plain.macs == 4 * 5 * 4 * 2 + 5 * 5 * 4
    assert profile(pruned) == plain


def test_peak_of_a_chain_is_the_largest_pair():
    costs = profile(chain(L.Dense(7, name="a"), L.Dense(5, name="b"), L.Dense(1), shape=(2,)))

    # 2, then 2 + 7, 7 + 5, 5 + 1 floats.
    assert (costs.peak_activation_bytes, costs.peak_layer) == (4 * 12, "b")
    assert costs.activation_bytes == 4 * (2 + 7 + 5 + 1)


def test_the_first_of_several_peaks_is_named():
    costs = profile(chain(L.Dense(3, name="a"), L.Dense(3, name="b"), L.Dense(3, name="c"), shape=(3,)))

    assert (costs.peak_activation_bytes, costs.peak_layer) == (4 * 6, "a")


def test_peak_of_a_residual_block():
    inputs = keras.Input((4, 4, 2), name="in")
    x = L.Conv2D(8, 1, name="expand")(inputs)
    x = L.ReLU(name="relu")(x)
    x = L.Conv2D(2, 1, name="project")(x)
    x = L.Add(name="add")([x, inputs])
    costs = profile(keras.Model(inputs, L.GlobalAveragePooling2D(name="pool")(x)), batch_size=3)

    # The skip's 32 floats wait all along: 32 + 128 + 128 while the ReLU runs, 3 samples.
    assert (costs.peak_activation_bytes, costs.peak_layer) == (3 * 4 * (32 + 128 + 128), "relu")
    assert costs.activation_bytes == 3 * 4 * (32 + 128 + 128 + 32 + 32 + 2)


def test_peak_of_a_diamond_follows_the_order_in_which_keras_runs_it():
    inputs = keras.Input((1,), name="in")
    left = L.Dense(10, name="left")(inputs)
    right = L.Dense(20, name="right")(inputs)
    costs = profile(keras.Model(inputs, L.Concatenate(name="join")([left, right])))

    assert [row.layer for row in costs.rows] == ["in", "left", "right", "join"]
    assert (costs.peak_activation_bytes, costs.peak_layer) == (4 * (10 + 20 + 30), "join")


def test_keras_makes_calls_in_the_order_of_the_rows():
    made = []

    class Noting(L.Activation):
        def call(self, inputs):
            if tf.executing_eagerly():
                made.append(self.name)
            return super().call(inputs)

    inputs = keras.Input((2,), name="in")
    early = Noting("relu", name="early")(inputs)
    x = Noting("relu", name="late")(Noting("relu", name="middle")(inputs))
    model = keras.Model(inputs, L.Add(name="add")([x, early]))
    model(tf.ones((1, 2)))

    assert [row.layer for row in profile(model).rows] == ["in", *made, "add"]


def test_inputs_that_nothing_reads_are_there_at_the_start():
    x, unread = keras.Input((3,), name="x"), keras.Input((100,), name="unread")
    costs = profile(keras.Model([x, unread], L.Dense(50, name="dense")(x)))

    assert (costs.peak_activation_bytes, costs.peak_layer) == (4 * 103, "x")
    assert [row.layer for row in costs.rows] == ["x", "unread", "dense"]


def test_outputs_stay_to_the_end():
    inputs = keras.Input((3,), name="in")
    early = L.Dense(50, name="early")(inputs)
    wide = L.Dense(60, name="wide")(L.Dense(4, name="narrow")(early))
    last = L.Dense(1, name="last")(wide)

    both = profile(keras.Model(inputs, [early, last]))
    assert (both.peak_activation_bytes, both.peak_layer) == (4 * (50 + 4 + 60), "wide")
    alone = profile(keras.Model(inputs, last))
    assert (alone.peak_activation_bytes, alone.peak_layer) == (4 * (4 + 60), "wide")


def test_views_write_nothing_and_keep_what_they_show_alive():
    inputs = keras.Input((2, 3), name="in")
    flat = L.Dropout(0.5, name="drop")(L.Flatten(name="flat")(inputs))
    x = L.Activation("linear", name="linear")(L.Reshape((6,), name="shape")(flat))
    wide = L.Dense(10, name="wide")(x)
    costs = profile(keras.Model(inputs, L.Concatenate(name="join")([L.Dense(1, name="narrow")(wide), x])))

    written = {row.layer: row.activation_bytes for row in costs.rows}
    assert written == {"in": 24, "flat": 0, "drop": 0, "shape": 0, "linear": 0, "wide": 40, "narrow": 4, "join": 28}
    # The input is read by the last call, as x: 6 + 10 + 1 while narrow runs.
    assert (costs.peak_activation_bytes, costs.peak_layer) == (4 * 17, "narrow")


def test_a_loss_on_a_tensor_changes_only_what_is_computed():
    model = chain(L.Dense(2, name="head"), shape=(3,))
    model.add_loss(tf.reduce_sum(model.output))

    assert {row.kind: row.activation_bytes for row in profile(model).rows}["AddLoss"] == 0


def test_dtypes():
    inputs = keras.Input((3,), dtype="int32", name="in")
    x = L.Embedding(10, 4, name="lookup")(inputs)
    x = L.Dense(5, dtype="mixed_float16", name="half")(x)
    costs = profile(keras.Model(inputs, L.Activation("softmax", dtype="float64", name="double")(x)))

    written = {row.layer: row.activation_bytes for row in costs.rows}
    assert written == {"in": 3 * 4, "lookup": 12 * 4, "half": 15 * 2, "double": 15 * 8}


def test_what_has_no_batch_axis_does_not_grow_with_the_batch():
    inputs = keras.Input((3,), name="in")
    costs = profile(keras.Model(inputs, tf.shape(inputs)), batch_size=5)

    assert [row.activation_bytes for row in costs.rows] == [5 * 3 * 4, 2 * 4]
    assert costs.rows[1].output_shapes == ((2,),)


@pytest.mark.parametrize("by_call", [False, True])
def test_a_sequential_model_that_was_built_late(by_call):
    model = keras.Sequential([L.Dense(2)])
    if by_call:
        model(tf.ones((5, 3)))
    else:
        model.build((None, 3))
    costs = profile(model)

    assert (costs.macs, costs.activation_bytes) == (6, 4 * (3 + 2))


@pytest.mark.parametrize(
    ("shape", "layer", "received"),
    [
        ((None, None, 3), L.Conv2D(4, 3), r"'image' with a tensor of shape \(None, None, None, 3\)"),
        ((None, 2), L.LSTM(3), r"'image' with a tensor of shape \(None, None, 2\)"),
    ],
)
def test_sizes_must_be_fixed(shape, layer, received):
    with pytest.raises(ValueError, match=f"fixed input size.*Received: {received}$"):
        profile(chain(layer, shape=shape, name="image"))


def test_sizes_inside_a_nested_model_must_be_fixed_too():
    inner = chain(L.Conv2D(4, 3, name="conv"), shape=(None, None, 3))
    inner._name = "inner"

    with pytest.raises(ValueError, match=r"fixed input size.*Received: 'inner/conv' with a tensor of shape"):
        profile(chain(inner, shape=(8, 8, 3)))


def test_a_nested_model_called_on_another_size_than_its_own():
    inner = chain(L.GlobalAveragePooling2D(), shape=(4, 4, 3))
    inner._name = "inner"
    inputs = keras.Input((8, 8, 3))

    with pytest.raises(
        ValueError, match=r"Received: 'inner', built for \(None, 4, 4, 3\), called on \(None, 8, 8, 3\)"
    ):
        profile(keras.Model(inputs, inner(inputs)))


def test_the_model_is_checked_first():
    with pytest.raises(TypeError, match="Received: str"):
        profile("model")
    with pytest.raises(ValueError, match="not built"):
        profile(keras.Sequential([L.Dense(2)]))


def test_bad_batch_sizes():
    model = shared_twice()
    for wrong in (1.0, True, "1"):
        with pytest.raises(TypeError, match="Received:"):
            profile(model, batch_size=wrong)
    with pytest.raises(ValueError, match=r"1 or more\. Received: 0"):
        profile(model, batch_size=0)


def test_profiling_leaves_the_model_as_it_is():
    model = shared_twice()
    calls = [len(layer._inbound_nodes) for layer in model.layers]
    profile(model)

    assert [len(layer._inbound_nodes) for layer in model.layers] == calls


def cells(text: str, layer: str) -> list[str]:
    """Returns what a printed table says of one layer."""
    line = next(line for line in text.splitlines() if line.startswith(f"│ {layer} "))
    return [word.strip() for word in line.split("│")[2:-1]]


def test_prints_as_a_table():
    text = str(profile(chain(L.Conv2D(16, 3, name="conv"), Scale(name="odd"), shape=(34, 34, 3), name="in")))
    said = " ".join(text.split())

    assert "464 parameters (464 trainable), 442,368 MACs, at most 131,072 activation bytes at once" in said
    assert cells(text, "conv") == ["Conv2D", "32x32x16", "448", "442,368", "65,536"]
    assert cells(text, "odd") == ["Scale", "32x32x16", "16", "unknown", "65,536"]
    assert cells(text, "total") == ["", "", "464", "442,368", "144,944"]


def test_json():
    said = json.loads(json.dumps(profile(shared_twice(), batch_size=2).to_dict()))

    assert said.pop("layers")[1] == {
        "layer": "shared",
        "kind": "Dense",
        "calls": 2,
        "output_shapes": [[4]],
        "parameters": 20,
        "trainable_parameters": 20,
        "macs": 32,
        "macs_known": True,
        "activation_bytes": 64,
    }
    assert said == {
        "batch_size": 2,
        "parameters": 20,
        "trainable_parameters": 20,
        "macs": 32,
        "activation_bytes": 96,
        "peak_activation_bytes": 64,
        "peak_layer": "shared",
        "unknown": [],
    }


def test_before_against_after():
    def net(width: int, *more: L.Layer) -> Profile:
        return profile(
            chain(
                L.Dense(width, use_bias=False, name="first"), *more, L.Dense(1, name="head"), shape=(1000,), name="in"
            )
        )

    comparison = net(8).against(net(2, L.Dense(2, name="added")))
    text = str(comparison)

    assert cells(text, "in") == ["", "", "", "", "4k → 4k", "1"]
    assert cells(text, "first") == ["8k → 2k", "0.25", "8k → 2k", "0.25", "32 → 8", "0.25"]
    assert cells(text, "added") == ["- → 6", "", "- → 4", "", "- → 8", ""]
    assert cells(text, "total") == ["8.01k → 2.01k", "0.251", "8.01k → 2.01k", "0.25", "4.04k → 4.02k", "0.996"]
    assert cells(text, "trainable") == ["8.01k → 2.01k", "0.251", "", "", "", ""]
    assert cells(text, "at once") == ["", "", "", "", "4.03k → 4.01k", "0.994"]
    said = json.loads(json.dumps(comparison.to_dict()))
    assert said["before"]["macs"] == 8008
    assert said["after"]["macs"] == 2006
    assert said["ratios"]["macs"] == 2006 / 8008


def test_a_ratio_to_nothing_is_none():
    nothing = profile(chain(L.ReLU(), shape=(3,)))

    assert nothing.against(nothing).to_dict()["ratios"]["macs"] is None


def test_only_profiles_of_one_batch_size_are_compared():
    model = shared_twice()
    with pytest.raises(ValueError, match="Received: 1 and 2"):
        profile(model).against(profile(model, batch_size=2))
    with pytest.raises(TypeError, match="Received: <.*Functional"):
        profile(model).against(model)


@pytest.mark.filterwarnings("error")
def test_constants_among_inputs_count_by_their_shapes():
    inputs = keras.Input((3, 4), batch_size=1)
    attended = keras.Model(inputs, L.Attention()([inputs, tf.ones((1, 5, 4))]))
    multiplied = keras.Model(inputs, L.Dot((1, 1))([tf.ones((1, 3, 2)), inputs]))

    # Scores of 3 x 5 pairs, 4 features each, and as many products with the values; 2 x 4 sums of 3.
    assert profile(attended).macs == 3 * 5 * 8
    assert profile(multiplied).macs == 2 * 4 * 3


def test_a_layer_whose_call_was_replaced_is_unknown():
    net = chain(L.Dense(3, name="changed"), L.Dense(2), shape=(4,))
    net.layers[0].call = lambda x: x[:, :3]

    assert profile(net).unknown == ("changed",)
    assert profile(net).macs == 3 * 2


def test_a_rule_that_fails_leaves_its_layer_unknown():
    class Failing(L.Dense):
        pass

    def fails(layer, call):
        raise IndexError("no such axis")

    register_layer(Failing, macs=fails)

    with pytest.warns(PruningWarning, match=r"of layer 'f' are unknown.* failed with IndexError: no such axis"):
        found = profile(chain(Failing(3, name="f"), L.Dense(2), shape=(4,)))
    assert (found.unknown, found.macs) == (("f",), 3 * 2)


def test_profiles_are_written_as_json(tmp_path):
    before = profile(keras.Sequential([keras.layers.Dense(2, input_shape=(3,))]))
    both = before.against(before)

    assert json.loads(before.write_json(tmp_path / "before.json").read_text()) == before.to_dict()
    assert json.loads(both.write_json(tmp_path / "both.json").read_text()) == both.to_dict()
    for each in (before, both):
        with pytest.warns(DeprecationWarning, match=r"to_json\(\) is deprecated .*: write to_dict\(\) instead"):
            assert each.to_json() == each.to_dict()
