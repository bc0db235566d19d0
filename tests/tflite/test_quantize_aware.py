"""Fine-tuning with the rounding of int8 in view: zeros stay, and the file has the ranges that were trained."""

import warnings

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot
import tf_keras as keras

import tfmot_swd
from tfmot_swd.tflite.graph import read_graph
from tfmot_swd.tflite.quantize_aware import quantize_aware

L = keras.layers
X = np.random.default_rng(0).normal(size=(256, 8, 8, 1)).astype(np.float32)
# A bright band at one of four heights.
Y = np.arange(256) % 4
X[np.arange(256)[:, None], 2 * Y[:, None] + [0, 1]] += 2.0
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def with_zeros(model: keras.Model, share: float = 0.8) -> keras.Model:
    """Sets the smallest weights of every kernel to zero, in place."""
    for variable in model.weights:
        if "kernel" in variable.name:
            value = variable.numpy()
            variable.assign(np.where(np.abs(value) < np.quantile(np.abs(value), share), 0.0, value))
    return model


def kernels(model: keras.Model) -> dict[str, np.ndarray]:
    return {variable.name: variable.numpy() for variable in model.weights if "kernel:0" in variable.name}


def assert_zeros_stayed(before: dict[str, np.ndarray], model: keras.Model) -> None:
    """Every zero is one still, and what was none has been trained."""
    after = kernels(model)
    assert after.keys() == before.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name] == 0, value == 0, err_msg=name)
        assert (after[name] != value).any(), name


def train(model: keras.Model, x, y, epochs: int = 1, loss="mse") -> keras.Model:
    model.compile(keras.optimizers.Adam(5e-3), loss, metrics=["accuracy"])
    model.fit(x, y, batch_size=16, epochs=epochs, verbose=0)
    return model


@pytest.fixture(scope="module")
def pruned() -> keras.Model:
    keras.utils.set_random_seed(0)
    net = keras.Sequential(
        [
            L.Conv2D(6, 3, use_bias=False, input_shape=(8, 8, 1), name="conv"),
            L.BatchNormalization(name="norm"),
            L.ReLU(name="relu"),
            L.Conv2D(8, 3, activation="relu", name="second"),
            L.Flatten(name="flat"),
            L.Dense(16, activation="relu", name="hidden"),
            L.Dense(4, name="head"),
        ]
    )
    net.compile(keras.optimizers.Adam(5e-3), LOSS)
    net.fit(X, Y, batch_size=16, epochs=4, verbose=0)
    return with_zeros(net)


@pytest.fixture(scope="module")
def aware(pruned) -> keras.Model:
    return train(quantize_aware(pruned), X, Y, epochs=2, loss=LOSS)


def test_zeros_stay_while_the_rest_trains(pruned, aware):
    before = kernels(pruned)

    assert all(0.75 < (value == 0).mean() < 0.85 for value in before.values())
    assert_zeros_stayed(before, aware)
    # Batch norm behind the convolution trains on.
    assert (aware.get_layer("norm").get_weights()[0] != pruned.get_layer("norm").get_weights()[0]).any()


def test_the_file_has_the_zeros_and_the_trained_ranges(aware, tmp_path):
    # Ten times too large: ranges found by these data would be so too.
    result = tfmot_swd.export_tflite(
        aware, tmp_path / "model.tflite", "int8", representative_data=10 * X[:100], check_data=(X, Y)
    )

    assert result.keras_accuracy > 0.9
    assert result.accuracy > result.keras_accuracy - 0.02
    assert result.mean_difference < 0.01
    graph = read_graph((tmp_path / "model.tflite").read_bytes())
    zeros = [int((kernel.values == 0).sum()) for kernel in graph.kernels()]
    assert all(found >= (value == 0).sum() for found, value in zip(zeros, kernels(aware).values(), strict=True))
    assert {operator.name for operator in graph.operators} == {"CONV_2D", "RESHAPE", "FULLY_CONNECTED"}
    low, high = (
        float(next(each for each in aware.weights if each.name == f"head/post_activation_{end}:0").numpy())
        for end in ("min", "max")
    )
    (scale,) = graph.tensors[graph.outputs[0]].scales
    assert scale == pytest.approx((high - low) / 255, rel=1e-5)


def test_the_model_that_was_given_stays_as_it_is(pruned):
    weights, nodes = pruned.get_weights(), [len(layer._inbound_nodes) for layer in pruned.layers]
    given = quantize_aware(pruned)
    for variable in given.trainable_weights:
        variable.assign(variable + 1.0)

    for old, new in zip(weights, pruned.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert [len(layer._inbound_nodes) for layer in pruned.layers] == nodes
    assert given.optimizer is None


def test_training_goes_on_from_saved_weights(pruned, aware, tmp_path):
    aware.save_weights(tmp_path / "aware.weights.h5")
    again = quantize_aware(pruned)
    again.load_weights(tmp_path / "aware.weights.h5")

    np.testing.assert_array_equal(again(X[:8]), aware(X[:8]))
    assert_zeros_stayed(kernels(aware), train(again, X[:64], Y[:64], loss=LOSS))


def test_a_whole_model_loads_in_tfmots_scope(aware, tmp_path):
    aware.save(tmp_path / "aware.h5")
    with tfmot.quantization.keras.quantize_scope():
        loaded = keras.models.load_model(tmp_path / "aware.h5")

    np.testing.assert_array_equal(loaded(X[:8]), aware(X[:8]))


def test_ranges_begin_with_the_first_batch():
    model = keras.Sequential([L.Dense(1, use_bias=False, kernel_initializer="ones", input_shape=(1,), name="one")])
    given = quantize_aware(model)
    given.compile(keras.optimizers.SGD(0.0), "mse")
    ranges = []
    # The input is rounded too, in steps of 1: to itself.
    for batch in ([[-55.0], [200.0]], [[0.0], [150.0]]):
        given.train_on_batch(np.array(batch, np.float32), np.zeros((2, 1)))
        found = {each.name: float(each.numpy()) for each in given.weights if "post_activation" in each.name}
        ranges.append([found["one/post_activation_min:0"], found["one/post_activation_max:0"]])

    # The second batch moves them by a hundredth of the way.
    np.testing.assert_allclose(ranges, [[-55.0, 200.0], [-54.45, 199.5]], rtol=1e-5)


def test_layers_that_tfmot_does_not_know_are_named_and_keep_their_zeros(tmp_path):
    inputs = keras.Input((12, 3))
    x = L.BatchNormalization(name="alone")(L.Conv1D(8, 3, name="series")(inputs))
    x = L.LSTM(4, unroll=True, name="memory")(x) * 2.0
    model = keras.Model(inputs, L.Dense(2, name="head")(L.Dense(4, "elu", name="curved")(x)))
    with_zeros(model, 0.4)
    before = kernels(model)
    with pytest.warns(
        UserWarning, match="does not know these layers.*: series, memory, .*multiply[_0-9]*, curved, alone$"
    ):
        given = quantize_aware(model)
    data = np.random.default_rng(0).normal(size=(64, 12, 3)).astype(np.float32)
    train(given, data, np.ones((64, 2)))

    assert_zeros_stayed(before, given)
    result = tfmot_swd.export_tflite(given, tmp_path / "model.tflite", "int8", representative_data=data)
    assert result.zeros >= result.keras_zeros > 0


def test_zeros_in_front_of_a_concatenation_stay():
    one, two = keras.Input((6,), name="one"), keras.Input((6,), name="two")
    joined = L.Concatenate()([L.Dense(8, name="left")(one), L.Dense(8, name="right")(two)])
    model = with_zeros(keras.Model([one, two], {"a": L.Dense(2, name="a")(joined), "b": L.Dense(3, name="b")(one)}))
    before = kernels(model)
    given = quantize_aware(model)
    data = {name: np.random.default_rng(0).normal(size=(64, 6)) for name in ("one", "two")}
    train(given, data, {"a": np.ones((64, 2)), "b": np.ones((64, 3))})

    assert given.output_names == ["a", "b"]
    assert_zeros_stayed(before, given)


def test_mixed_precision_becomes_float32():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = with_zeros(keras.Sequential([L.Dense(4, input_shape=(6,), name="half")]))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    before = kernels(model)
    given = quantize_aware(model)

    assert given(np.ones((1, 6))).dtype == "float32"
    assert_zeros_stayed(before, train(given, np.ones((16, 6)), np.ones((16, 4))))


def dense(kernel="ones") -> keras.Model:
    return keras.Sequential([L.Dense(2, input_shape=(3,), kernel_initializer=kernel, name="dense")])


REFUSED = {
    "wrapped": (
        lambda: tfmot_swd.prune_selective_decay(dense(), tfmot_swd.SelectiveDecay(0.5, end_step=4)),
        r"strip_pruning\(model\) first.*Received: 1 wrapped layers \(dense\)",
    ),
    "aware": (lambda: quantize_aware(dense()), r"already: train and export it as it is\. Received: 1 .*\(dense\)"),
    "nested": (
        lambda: keras.Sequential([dense(), L.Dense(1)], name="outer"),
        r"no model inside a model.*Received: 'outer' with 'sequential",
    ),
    "unknown": (
        lambda: keras.Sequential([L.LSTM(2, input_shape=(3, 3), name="memory")]),
        r"knows no layer with weights.*Received: memory",
    ),
    "not finite": (lambda: dense(keras.initializers.Constant(np.nan)), r"diverged.*Received: dense/kernel:0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_made_aware_is_refused(name):
    build, message = REFUSED[name]
    model = build()
    with pytest.raises(ValueError, match=message):
        quantize_aware(model)


def test_no_keras_model_is_refused():
    with pytest.raises(TypeError, match="Received: list"):
        quantize_aware([])


def test_a_model_of_known_layers_gives_no_warning(pruned):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        quantize_aware(pruned)
