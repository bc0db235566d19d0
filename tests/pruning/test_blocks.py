"""Blocks: a weight is decayed and cut with those beside it, and TFLite's sparse kernel runs on what is left."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.tools import flatbuffer_utils
from tensorflow_model_optimization.python.core.sparsity.keras import pruning_utils

import tfmot_swd
from tfmot_swd import SelectiveDecay, prune_selective_decay
from tfmot_swd.pruning.blocks import Blocks
from tfmot_swd.swd import PruneSelectiveDecay
from tfmot_swd.swd.weight_pool import WeightPool
from tfmot_swd.tflite.graph import read_graph

L = keras.layers
# Blocks of two inputs have the means 2.5, 1.0 (first output) and 0.5, 4.0 (second), the maxima 5, 1, 1, 7.
KERNEL = np.array([[0.0, 1.0], [-5.0, 0.0], [1.0, -7.0], [1.0, 1.0]], np.float32)
BATCH, STEPS = 8, 6


def dense(schedule, **options) -> keras.Model:
    net = keras.Sequential([L.Dense(2, use_bias=False, input_shape=(4,))])
    net.set_weights([KERNEL])
    return prune_selective_decay(net, schedule, **options)


@pytest.mark.parametrize(
    ("size", "pooling", "expected"),
    [
        ((2, 1), "AVG", [[2.5, 0.5], [2.5, 0.5], [1, 4], [1, 4]]),
        ((2, 1), "MAX", [[5, 1], [5, 1], [1, 7], [1, 7]]),
        ((1, 2), "AVG", [[0.5, 0.5], [2.5, 2.5], [4, 4], [1, 1]]),
        ((2, 2), "AVG", [[1.5, 1.5], [1.5, 1.5], [2.5, 2.5], [2.5, 2.5]]),
        # The last block has one row only.
        ((3, 1), "AVG", [[2, 8 / 3], [2, 8 / 3], [2, 8 / 3], [1, 1]]),
        ((3, 2), "MAX", [[7, 7], [7, 7], [7, 7], [1, 1]]),
        ((8, 8), "AVG", [[2, 2]] * 4),
    ],
)
def test_every_weight_has_what_is_pooled_of_its_block(size, pooling, expected):
    found = Blocks(size, pooling).magnitudes(tf.constant(KERNEL))

    np.testing.assert_array_equal(found, np.array(expected, np.float32))


@pytest.mark.parametrize("pooling", ["AVG", "MAX"])
@pytest.mark.parametrize("size", [(4, 1), (1, 4), (2, 3)])
def test_whole_blocks_are_those_of_tfmot(size, pooling):
    weight = tf.constant(np.random.default_rng(0).normal(size=(8, 12)), tf.float32)
    pooled = pruning_utils.factorized_pool(tf.abs(weight), size, pooling, size, "SAME")

    found = Blocks(size, pooling).magnitudes(weight)
    np.testing.assert_allclose(found, pruning_utils.expand_tensor(pooled, size), rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "tied"),
    [((8, 4), True), ((1, 1, 8, 4), True), ((1, 8, 4), True), ((5, 1), True), ((4,), False), ((3, 3, 8, 4), False)],
)
def test_matrices_are_in_blocks(shape, tied):
    assert Blocks((4, 1)).tie(shape) is tied
    assert Blocks((1, 1)).tie(shape) is False


def test_half_precision_is_pooled_in_single():
    weight = tf.constant([[60000.0], [-60000.0]], tf.float16)
    found = Blocks((2, 1)).magnitudes(weight)

    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found, [[tf.constant(60000.0, tf.float16)]] * 2)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [[0, 1], [1, 0], [1, 1], [1, 1]]),
        ({"block_size": (2, 1)}, [[1, 0], [1, 0], [0, 1], [0, 1]]),
        ({"block_size": (2, 1), "block_pooling_type": "MAX"}, [[1, 0], [1, 0], [0, 1], [0, 1]]),
        ({"block_size": [4, 1]}, [[0, 1]] * 4),
    ],
)
def test_the_cut_takes_whole_blocks(options, kept):
    # Half of 8 weights: the threshold is the fifth of the sorted magnitudes, and what equals it stays. Of single
    # weights (0, 0, 1, 1, 1, ...) that is 1, of means (.5, 1, 2.5, 4) 2.5, of maxima (1, 1, 5, 7) 5, of columns
    # (7/4, 9/4) 9/4.
    pruned = dense(SelectiveDecay(0.5, end_step=4), **options)
    tfmot_swd.prune_now(pruned)

    np.testing.assert_array_equal(pruned.layers[0].layer.kernel, KERNEL * np.array(kept))


def test_a_block_is_decayed_whole():
    # Targets 2 of 8 weights: the block of 1 and 0, though single weights of other blocks are as small.
    pruned = dense(SelectiveDecay(0.25, end_step=4, ramp=0.0, mu=0.01, a_min=100.0, a_max=100.0), block_size=(2, 1))
    pool = WeightPool.of(pruned)
    pool.join(keras.optimizers.SGD(0.5))
    pool.advance()

    # X = lr · mu · a = 0.5.
    expected = KERNEL.copy()
    expected[0, 1] /= 1.5
    np.testing.assert_array_equal(pruned.layers[0].layer.kernel, expected)
    ((_, stays), *_) = pool.decayed()
    np.testing.assert_array_equal(~stays.numpy(), [[0, 1], [0, 1], [0, 0], [0, 0]])
    assert float(pool.leader.threshold) == 1.0


def test_the_coupled_penalty_is_that_of_whole_blocks():
    pruned = dense(SelectiveDecay.paper(0.5, end_step=4, mu=0.01, a_min=100.0, a_max=100.0), block_size=(2, 1))
    pool = WeightPool.of(pruned)
    pool.join(keras.optimizers.SGD(0.5))
    pool.advance()

    # mu · a / 2 times 1² + 0² and 1² + 1².
    assert float(pool.penalty(pool.leader)) == pytest.approx(1.5)


def classifier() -> keras.Model:
    return keras.Sequential(
        [
            L.Conv2D(8, 3, input_shape=(6, 6, 2), name="conv"),
            L.Conv2D(8, 1, name="pointwise"),
            L.Flatten(),
            L.Dense(12, activation="relu", name="hidden"),
            L.Dense(3, name="head"),
        ]
    )


def fit(model, epochs: int) -> tfmot_swd.UpdatePruningStep:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(STEPS * BATCH, 6, 6, 2)).astype(np.float32), rng.integers(0, 3, STEPS * BATCH)
    callback = tfmot_swd.UpdatePruningStep(partial_fit=True)
    model.fit(x, y, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, callbacks=[callback])
    return callback


def compiled(penalty) -> keras.Model:
    keras.utils.set_random_seed(5)
    schedule = SelectiveDecay(0.75, end_step=2 * STEPS, penalty=penalty, mu=5e-4)
    model = prune_selective_decay(classifier(), schedule, block_size=(4, 1))
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(True))
    return model


def test_training_ends_in_whole_blocks_at_the_rate():
    model = compiled("implicit")
    callback = fit(model, 2)
    stripped = tfmot_swd.strip_pruning(model, remove_channels=False)

    for name in ("pointwise", "hidden", "head"):
        kernel = stripped.get_layer(name).get_weights()[0]
        zeros = (kernel == 0).reshape(-1, 4, kernel.shape[-1])
        assert (zeros.all(axis=1) == zeros.any(axis=1)).all(), name
    # A kernel of 3 x 3 is not torn into blocks: some output channel has a number of zeros that 4 does not divide.
    conv = stripped.get_layer("conv").get_weights()[0]
    assert ((conv == 0).reshape(-1, 8).sum(axis=0) % 4).any()
    report = tfmot_swd.sparsity_report(stripped)
    cut = report.prunable_weights - report.nonzero_prunable_weights
    assert int(0.75 * report.prunable_weights) - 4 < cut <= int(0.75 * report.prunable_weights)
    status = callback.history[-1]
    assert status.targeted == cut


def test_a_reloaded_model_goes_on_in_its_blocks(tmp_path):
    stopped = compiled("coupled")
    fit(stopped, 1)
    stopped.save(tmp_path / "model.keras")
    resumed = keras.models.load_model(tmp_path / "model.keras")
    for model in (stopped, resumed):
        fit(model, 1)

    want, got = (tfmot_swd.strip_pruning(model, remove_channels=False) for model in (stopped, resumed))
    for one, other in zip(want.get_weights(), got.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_config_survives_json():
    (wrapper,) = dense(SelectiveDecay(0.5, end_step=4), block_size=(4, 1), block_pooling_type="MAX").layers
    again = keras.layers.deserialize(json.loads(json.dumps(keras.layers.serialize(wrapper))))

    assert (again.block_size, again.block_pooling_type) == ((4, 1), "MAX")
    assert again.get_config() == wrapper.get_config()


def test_a_config_from_before_there_were_blocks_is_read():
    config = PruneSelectiveDecay(L.Dense(2), SelectiveDecay(0.5, end_step=4)).get_config()
    del config["block_size"], config["block_pooling_type"]

    assert PruneSelectiveDecay.from_config(config).blocks == Blocks()


@pytest.mark.parametrize("size", [4, (4,), (4, 0), (4, 1, 1), (4.0, 1), (True, 1), "41", None])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match=r"two whole numbers of 1 or more.*Received: block_size="):
        dense(SelectiveDecay(0.5, end_step=4), block_size=size)


def test_a_pooling_that_is_none_is_refused():
    with pytest.raises(ValueError, match="Received: block_pooling_type='L2'"):
        dense(SelectiveDecay(0.5, end_step=4), block_pooling_type="L2")


def test_whole_channels_have_no_blocks():
    schedule = tfmot_swd.StructuredDecay(tfmot_swd.Budget(parameters=0.5), end_step=4)
    with pytest.raises(ValueError, match=r"leave block_size out.*Received: block_size=\(4, 1\)"):
        prune_selective_decay(classifier(), schedule, block_size=(4, 1))


def test_tflite_runs_dense_blocks_without_unpacking_them():
    keras.utils.set_random_seed(2)
    net = keras.Sequential([L.Dense(32, activation="relu", input_shape=(64,)), L.Dense(16)])
    pruned = prune_selective_decay(net, SelectiveDecay(0.8, end_step=4), block_size=(4, 1))
    tfmot_swd.prune_now(pruned)
    stripped = tfmot_swd.strip_pruning(pruned)
    converter = tf.lite.TFLiteConverter.from_keras_model(stripped)
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    content = converter.convert()

    # DENSIFY is the operator that unpacks what no kernel can run on.
    assert [operator.name for operator in read_graph(content).operators] == ["FULLY_CONNECTED"] * 2
    tensors = flatbuffer_utils.convert_bytearray_to_object(bytearray(content)).subgraphs[0].tensors
    sparse = [tensor.sparsity for tensor in tensors if tensor.sparsity is not None]
    # Of (outputs, inputs) the inputs are in blocks: the third axis is within the block, dense and 4 long.
    assert [list(each.blockMap) for each in sparse] == [[1], [1]]
    assert [each.dimMetadata[2].denseSize for each in sparse] == [4, 4]
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    x = np.random.default_rng(0).normal(size=(1, 64)).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, stripped(x), atol=1e-6)


@pytest.mark.parametrize(("block_size", "units"), [((4, 1), 8), ((1, 1), 7)])
def test_stripping_tears_no_blocks(block_size, units):
    net = keras.Sequential([L.Dense(8, activation="relu", input_shape=(4,), name="hidden"), L.Dense(2)])
    kernel = np.ones((4, 8))
    kernel[:, 1] = 0.01
    net.set_weights([kernel, np.zeros(8), np.ones((8, 2)), np.zeros(2)])
    # 58 weights count: the ten biases and the four of that column are the smallest.
    pruned = prune_selective_decay(net, SelectiveDecay(14 / 58, end_step=4), block_size=block_size)
    tfmot_swd.prune_now(pruned)
    stripped = tfmot_swd.strip_pruning(pruned)

    assert stripped.get_layer("hidden").units == units
