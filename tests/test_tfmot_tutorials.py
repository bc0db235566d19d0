"""TFMOT's tutorials on pruning, re-created with tiny data, run with nothing but their import exchanged.

With TFMOT's schedule, as they are, or with one of this package; the first two with both.
"""

import importlib
import os
import zipfile

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

# As the tutorial has it; it imports this from where it is private.
from tensorflow_model_optimization.python.core.clustering.keras.experimental.cluster import cluster_weights

import tfmot_swd
from tfmot_swd import tfmot

RNG = np.random.default_rng(0)
IMAGES = RNG.random((96, 12, 12)).astype(np.float32)
# Something to learn: whether the left half is brighter.
LABELS = (IMAGES[:, :, :6].mean((1, 2)) > IMAGES[:, :, 6:].mean((1, 2))).astype(np.int64)
EPOCHS, BATCH_SIZE = 2, 16
END_STEP = EPOCHS * len(IMAGES) // BATCH_SIZE


def magnitude():
    return tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=0.5, final_sparsity=0.75, begin_step=0, end_step=END_STEP, frequency=2
    )


def selective():
    return tfmot_swd.SelectiveDecay(0.75, END_STEP)


schedules = pytest.mark.parametrize("make_schedule", [magnitude, selective])


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.InputLayer(input_shape=(12, 12)),
            keras.layers.Reshape(target_shape=(12, 12, 1)),
            keras.layers.Conv2D(filters=6, kernel_size=(3, 3), activation="relu"),
            keras.layers.MaxPooling2D(pool_size=(2, 2)),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    compiled(model)
    model.fit(IMAGES, LABELS, epochs=1, verbose=0)
    return model


def compiled(model):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])


def zipped_size(path, folder):
    target = os.path.join(folder, os.path.basename(path) + ".zip")
    with zipfile.ZipFile(target, "w", compression=zipfile.ZIP_DEFLATED) as file:
        file.write(path)
    return os.path.getsize(target)


def kernel_zeros(model):
    kernels = [each for each in model.get_weights() if each.ndim > 1]
    return sum(int((each == 0).sum()) for each in kernels) / sum(each.size for each in kernels)


@schedules
def test_pruning_with_keras(model, make_schedule, tmp_path):
    prune_low_magnitude = tfmot.sparsity.keras.prune_low_magnitude
    model_for_pruning = prune_low_magnitude(model, pruning_schedule=make_schedule())
    compiled(model_for_pruning)
    model_for_pruning.summary(print_fn=lambda line: None)
    callbacks = [
        tfmot.sparsity.keras.UpdatePruningStep(),
        tfmot.sparsity.keras.PruningSummaries(log_dir=str(tmp_path / "logs")),
    ]
    model_for_pruning.fit(
        IMAGES, LABELS, batch_size=BATCH_SIZE, epochs=EPOCHS, validation_split=0.0, callbacks=callbacks, verbose=0
    )
    _, accuracy = model_for_pruning.evaluate(IMAGES, LABELS, verbose=0)

    model_for_export = tfmot.sparsity.keras.strip_pruning(model_for_pruning)
    pruned_file, dense_file = tmp_path / "pruned.h5", tmp_path / "dense.h5"
    keras.models.save_model(model_for_export, pruned_file, include_optimizer=False)
    keras.models.save_model(model, dense_file, include_optimizer=False)
    assert zipped_size(pruned_file, tmp_path) < zipped_size(dense_file, tmp_path)
    converter = tf.lite.TFLiteConverter.from_keras_model(model_for_export)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    (tmp_path / "pruned.tflite").write_bytes(converter.convert())
    compiled(model_for_export)
    assert model_for_export.evaluate(IMAGES, LABELS, verbose=0)[1] == pytest.approx(accuracy, abs=0.02)
    assert kernel_zeros(tfmot.sparsity.keras.strip_pruning(model_for_pruning, remove_channels=False)) > 0.7


@schedules
def test_comprehensive_guide_some_layers_and_a_loop_of_ones_own(model, make_schedule):
    def apply_pruning_to_dense(layer):
        if isinstance(layer, keras.layers.Dense):
            return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=make_schedule())
        return layer

    model_for_pruning = keras.models.clone_model(model, clone_function=apply_pruning_to_dense)
    unused_arg = -1
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.Adam()
    # Boilerplate of the guide.
    model_for_pruning.optimizer = optimizer
    step_callback = tfmot.sparsity.keras.UpdatePruningStep()
    step_callback.set_model(model_for_pruning)
    step_callback.on_train_begin()
    for _ in range(EPOCHS):
        for start in range(0, len(IMAGES), BATCH_SIZE):
            step_callback.on_train_batch_begin(batch=unused_arg)
            x, y = IMAGES[start : start + BATCH_SIZE], LABELS[start : start + BATCH_SIZE]
            with tf.GradientTape() as tape:
                logits = model_for_pruning(x, training=True)
                loss_value = loss(y, logits)
            grads = tape.gradient(loss_value, model_for_pruning.trainable_variables)
            optimizer.apply_gradients(zip(grads, model_for_pruning.trainable_variables, strict=True))
        step_callback.on_epoch_end(batch=unused_arg)
    step_callback.on_train_end()
    stripped = tfmot.sparsity.keras.strip_pruning(model_for_pruning, remove_channels=False)
    assert (stripped.layers[-1].get_weights()[0] == 0).mean() > 0.7
    assert (stripped.layers[1].get_weights()[0] == 0).mean() == 0


class MyDenseLayer(keras.layers.Dense, tfmot.sparsity.keras.PrunableLayer):
    """The guide's layer that names what is pruned: also the bias, which it says usually harms accuracy."""

    def get_prunable_weights(self):
        return [self.kernel, self.bias]


def test_comprehensive_guide_a_custom_layer_and_functional_models():
    prune = tfmot.sparsity.keras.prune_low_magnitude
    inputs = keras.Input(shape=(20,))
    x = prune(keras.layers.Dense(10), pruning_schedule=selective())(inputs)
    outputs = keras.layers.Flatten()(x)
    functional = keras.Model(inputs=inputs, outputs=outputs)
    sequential = keras.Sequential(
        [
            prune(MyDenseLayer(20, input_shape=(20,)), pruning_schedule=selective()),
            keras.layers.Flatten(),
        ]
    )
    x = RNG.normal(size=(96, 20)).astype(np.float32)
    for model, y in ((functional, x[:, :10]), (sequential, x)):
        model.compile("adam", "mse")
        callbacks = [tfmot.sparsity.keras.UpdatePruningStep()]
        model.fit(x, y, batch_size=BATCH_SIZE, epochs=EPOCHS, callbacks=callbacks, verbose=0)
    kernel, bias = tfmot.sparsity.keras.strip_pruning(sequential, remove_channels=False).get_weights()
    assert ((kernel == 0).sum() + (bias == 0).sum()) / (kernel.size + bias.size) > 0.7


def test_comprehensive_guide_checkpoint_and_deserialize(model, tmp_path):
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(model, pruning_schedule=magnitude())
    path = tmp_path / "model.h5"
    wrapped.save(path, include_optimizer=True)
    with tfmot.sparsity.keras.prune_scope():
        loaded = keras.models.load_model(path)
    np.testing.assert_allclose(loaded.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0), atol=1e-6)


def fine_tuned(model, make_schedule):
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(model, pruning_schedule=make_schedule())
    compiled(wrapped)
    callbacks = [tfmot.sparsity.keras.UpdatePruningStep()]
    wrapped.fit(IMAGES, LABELS, batch_size=BATCH_SIZE, epochs=EPOCHS, verbose=0, callbacks=callbacks)
    return tfmot.sparsity.keras.strip_pruning(wrapped)


def test_pruning_preserving_quantization_aware_training(model):
    stripped = fine_tuned(model, selective)
    zeros = kernel_zeros(stripped)
    annotated = tfmot.quantization.keras.quantize_annotate_model(stripped)
    scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme()
    aware = tfmot.quantization.keras.quantize_apply(annotated, scheme)
    compiled(aware)
    aware.fit(IMAGES, LABELS, batch_size=BATCH_SIZE, epochs=1, verbose=0)
    converter = tf.lite.TFLiteConverter.from_keras_model(aware)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    assert converter.convert()
    kernels = [each for each in aware.trainable_weights if "kernel" in each.name]
    kept = sum(int((each.numpy() == 0).sum()) for each in kernels) / sum(int(tf.size(each)) for each in kernels)
    assert kept >= zeros - 1e-6


def test_sparsity_and_cluster_preserving_quantization_aware_training(model):
    stripped = fine_tuned(model, magnitude)
    zeros = kernel_zeros(stripped)
    clustered = cluster_weights(
        stripped,
        number_of_clusters=8,
        cluster_centroids_init=tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS,
        preserve_sparsity=True,
    )
    compiled(clustered)
    clustered.fit(IMAGES, LABELS, batch_size=BATCH_SIZE, epochs=1, verbose=0)
    plain = tfmot.clustering.keras.strip_clustering(clustered)
    assert kernel_zeros(plain) >= zeros - 0.02
    scheme = tfmot.experimental.combine.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=True)
    aware = tfmot.quantization.keras.quantize_apply(tfmot.quantization.keras.quantize_annotate_model(plain), scheme)
    compiled(aware)
    aware.fit(IMAGES, LABELS, batch_size=BATCH_SIZE, epochs=1, verbose=0)
    assert np.isfinite(aware.evaluate(IMAGES, LABELS, verbose=0)[0])


def test_forms_of_the_import_that_scripts_have():
    module = importlib.import_module("tfmot_swd.tfmot.sparsity.keras")
    assert module is tfmot.sparsity.keras
    assert module.prune_low_magnitude is tfmot_swd.prune_low_magnitude
    assert importlib.import_module("tfmot_swd.tfmot.sparsity").keras is module
    assert tfmot.__version__.startswith("0.8")
