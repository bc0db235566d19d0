"""One process of a distributed training; prints stripped weights and what it communicates. Run by the tests."""

import dataclasses
import json
import os
import sys

import numpy as np
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from research.collectives import collectives_of

STEPS, BATCH = 20, 16
CRITERIA = ("rpgp", "feature_taylor", "weight_change")


def schedule_named(name: str) -> tfmot_swd.SelectiveDecay | tfmot_swd.StructuredDecay:
    if name == "channels":
        return tfmot_swd.StructuredDecay(0.5, STEPS - 5, frequency=2)
    if name == "coupled":
        return tfmot_swd.SelectiveDecay.paper(0.8, STEPS - 5, mu=5e-4)
    changes = {"floors": {"minimum_kept": 1.0}, "forward": {"penalty": "forward"}}.get(name, {})
    return tfmot_swd.SelectiveDecay(0.8, STEPS - 5, frequency=2, **changes)


def mirrored() -> tf.distribute.Strategy:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def main(strategy: str, *schedules: str) -> None:
    if strategy == "multiworker":
        workers = tf.distribute.MultiWorkerMirroredStrategy()
        for name in schedules:
            say(trained(workers, schedule_named(name)))
        say(communicated(workers))
        return
    # Before a strategy is asked for, as it looks for the devices that there are.
    replicas = mirrored()
    if strategy == "devices":
        say([trained_on(device, eagerly) for eagerly in (False, True) for device in ("CPU:0", "CPU:1")])
        return
    for name in schedules:
        say([trained(each, schedule_named(name)) for each in (tf.distribute.get_strategy(), replicas)])
    keras.mixed_precision.set_global_policy("mixed_float16")
    say(trained(replicas, schedule_named("implicit")))


def say(found: object) -> None:
    print("RESULT " + json.dumps(found), flush=True)


def trained(
    strategy: tf.distribute.Strategy, schedule: tfmot_swd.SelectiveDecay | tfmot_swd.StructuredDecay
) -> dict[str, object]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(STEPS * BATCH, 6)).astype(np.float32)
    y = rng.integers(0, 3, STEPS * BATCH)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    keras.utils.set_random_seed(1)
    with strategy.scope():
        layers = [keras.layers.Dense(16, "relu", input_shape=(6,)), keras.layers.Dense(3, dtype="float32")]
        model = tfmot_swd.prune_selective_decay(keras.Sequential(layers), schedule)
        model.compile(
            keras.optimizers.SGD(0.1, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
    callback = tfmot_swd.UpdatePruningStep()
    model.fit(data.with_options(options), verbose=0, callbacks=[callback])
    weights = [value.tolist() for value in tfmot_swd.strip_pruning(model, remove_channels=False).get_weights()]
    return {
        "weights": weights,
        "step": callback.history[-1].step,
        "replicas": strategy.num_replicas_in_sync,
    }


def trained_on(device: str, eagerly: bool) -> dict[str, object]:
    """Returns the weights of a training without a strategy, those of the first layer on a device."""

    class Placed(keras.layers.Dense):
        def build(self, shape):
            with tf.device(device):
                super().build(shape)

    keras.utils.set_random_seed(1)
    plain = keras.Sequential([Placed(16, "relu", input_shape=(6,)), keras.layers.Dense(6)])
    model = tfmot_swd.prune_selective_decay(plain, schedule_named("implicit"))
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=eagerly)
    x = np.random.default_rng(0).normal(size=(STEPS * BATCH, 6)).astype(np.float32)
    model.fit(x, x, BATCH, shuffle=False, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])
    weights = [value.tolist() for value in tfmot_swd.strip_pruning(model, remove_channels=False).get_weights()]
    devices = [variable.device.rpartition("device:")[2] for variable in model.trainable_weights]
    return {"weights": weights, "step": STEPS, "devices": devices}


def network() -> keras.Model:
    convolution = keras.layers.Conv2D(4, 3, input_shape=(6, 6, 2), name="conv")
    head = keras.layers.Dense(3, name="head")
    return keras.Sequential([convolution, keras.layers.BatchNormalization(), keras.layers.Flatten(), head])


def pruned(kind: str) -> keras.Model:
    if kind == "plain":
        return network()
    if kind in CRITERIA:
        return tfmot_swd.prune_progressive_gradient(network(), tfmot_swd.ProgressiveRate(0.5, epochs=2), kind)
    model = tfmot_swd.prune_selective_decay(network(), schedule_named("channels" if kind == "channels" else "implicit"))
    if kind == "finished":
        tfmot_swd.prune_now(model)
    return model


def communicated(strategy: tf.distribute.Strategy) -> dict[str, list[tuple]]:
    """Returns the collective operations of a training step by what it prunes; traced, not run."""
    found = {}
    for kind in ("plain", "implicit", "channels", "finished", *CRITERIA):
        with strategy.scope():
            model = pruned(kind)
            model.compile(
                keras.optimizers.SGD(0.1, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            )
        if kind != "plain":
            callback = tfmot_swd.UpdatePruningStep(partial_fit=True)
            callback.set_model(model)
            callback.on_train_begin()
        batch = np.zeros((BATCH, 6, 6, 2), np.float32), np.zeros(BATCH, np.int64)
        data = strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensors(batch).repeat())
        # All workers trace, as a step makes variables, whose first values are sent.
        step = model.make_train_function().get_concrete_function(iter(data))
        found[kind] = [dataclasses.astuple(each) for each in collectives_of(step)]
    return found


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main(*sys.argv[1:])
