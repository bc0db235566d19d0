"""Where this package departs from TFMOT on purpose: each test shows both sides of one difference."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras

import tfmot_swd

L = keras.layers
theirs = tfmot.sparsity.keras


def their_prune(model, sparsity=0.5):
    return theirs.prune_low_magnitude(model, theirs.ConstantSparsity(sparsity, 0, -1, 1))


def our_prune(model, sparsity=0.5, steps=1, **settings):
    return tfmot_swd.prune_selective_decay(model, tfmot_swd.SelectiveDecay(sparsity, end_step=steps, **settings))


def dense() -> keras.Model:
    return keras.Sequential([L.Dense(3, input_shape=(4,)), L.Dense(2)])


def test_wrapping_copies_where_tfmot_shares_the_variables():
    model = dense()
    first = model.layers[0].kernel

    assert their_prune(model).layers[0].layer.kernel is first
    assert our_prune(model).layers[0].layer.kernel is not first


def test_an_unknown_layer_is_left_whole_where_tfmot_rejects_the_model():
    class Mine(L.Dense):
        pass

    unknown = keras.Sequential([L.Dense(3, input_shape=(4,)), L.PReLU(), Mine(2)])

    with pytest.raises(ValueError, match="supported layer|prunable|`PrunableLayer`"):
        their_prune(unknown)
    wrapped = [isinstance(layer, tfmot_swd.swd.PruneSelectiveDecay) for layer in our_prune(unknown).layers]
    assert wrapped == [True, False, True]


def test_layers_without_prunable_weights_are_not_wrapped():
    def net() -> keras.Model:
        return keras.Sequential([L.Flatten(input_shape=(4,)), L.Dense(3), L.Dropout(0.5)])

    assert sum("prune" in layer.name for layer in their_prune(net()).layers) == 3
    assert sum("prune" in layer.name for layer in our_prune(net()).layers) == 1


def test_outputs_keep_their_names_where_tfmot_renames_them():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, [L.Dense(3, name="head")(inputs), L.Dense(2, name="tail")(inputs)])

    assert their_prune(model).output_names == ["prune_low_magnitude_head", "prune_low_magnitude_tail"]
    assert our_prune(model).output_names == ["head", "tail"]


def test_dense_biases_are_in_the_pool():
    assert [len(layer.prunable_weights) for layer in their_prune(dense()).layers] == [1, 1]
    assert [len(layer.prunable_weights) for layer in our_prune(dense()).layers] == [2, 2]


def test_the_threshold_is_global_where_tfmots_is_per_tensor():
    model = keras.Sequential([L.Dense(4, use_bias=False, input_shape=(4,)), L.Dense(4, use_bias=False)])
    model.set_weights([np.arange(1, 17).reshape(4, 4) / 100.0, np.arange(101, 117).reshape(4, 4) / 100.0])
    zeros = []
    for pruned, callback in (
        (our_prune(model, minimum_kept=0), tfmot_swd.UpdatePruningStep()),
        (our_prune(model), tfmot_swd.UpdatePruningStep()),
        (their_prune(model), theirs.UpdatePruningStep()),
    ):
        pruned.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
        pruned.fit(np.zeros((2, 4)), np.zeros((2, 4)), verbose=0, callbacks=[callback])
        zeros.append([int((layer.layer.kernel.numpy() == 0).sum()) for layer in pruned.layers])

    # Unless it is told not to, ours keeps a weight of the smaller layer, and takes one more of the other.
    assert zeros == [[16, 0], [15, 1], [8, 8]]


def test_the_clock_counts_updates_where_tfmots_counts_calls():
    inputs = keras.Input((4,))
    twice = L.Dense(4)
    net = keras.Model(inputs, twice(twice(inputs)))
    x = np.zeros((2, 4))
    steps = []
    for pruned, callback in (
        (their_prune(net), theirs.UpdatePruningStep()),
        (our_prune(net, steps=3), tfmot_swd.UpdatePruningStep()),
    ):
        pruned.compile("sgd", "mse", run_eagerly=True)
        pruned.fit(x, x, batch_size=2, epochs=3, verbose=0, callbacks=[callback])
        steps.append(int(pruned.layers[1].pruning_step))

    # TFMOT's rises at both calls of each of three updates.
    assert steps == [6, 3]


def test_a_saved_file_needs_no_scope(tmp_path):
    their_prune(dense()).save(tmp_path / "theirs.h5")
    our_prune(dense()).save(tmp_path / "ours.h5")

    with pytest.raises(ValueError, match="PruneLowMagnitude"):
        keras.models.load_model(tmp_path / "theirs.h5")
    assert type(keras.models.load_model(tmp_path / "ours.h5").layers[0]) is tfmot_swd.swd.PruneSelectiveDecay


def test_a_wrapped_model_is_not_wrapped_again():
    model = their_prune(dense())
    assert their_prune(model).layers == model.layers

    with pytest.raises(ValueError, match="already wrapped for pruning"):
        our_prune(our_prune(dense()))


def test_an_unbuilt_model_is_refused():
    assert not their_prune(keras.Sequential([L.Dense(2)])).built

    with pytest.raises(ValueError, match="not built"):
        our_prune(keras.Sequential([L.Dense(2)]))


def test_stripping_before_the_cut_is_refused():
    assert len(theirs.strip_pruning(their_prune(dense())).layers) == 2

    with pytest.raises(ValueError, match="final pruning step has not been made"):
        tfmot_swd.strip_pruning(our_prune(dense()))


def test_a_missing_callback_is_found_before_the_first_step():
    """TFMOT asserts inside the step; ours is a Python error when the step is traced."""
    x = np.zeros((2, 4))
    for pruned, error in ((their_prune(dense()), tf.errors.InvalidArgumentError), (our_prune(dense()), ValueError)):
        pruned.compile("sgd", "mse")
        with pytest.raises(error):
            pruned.fit(x, x[:, :2], verbose=0)
