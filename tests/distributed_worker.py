"""One process of a distributed training; prints the stripped model's weights as JSON. Run by the tests."""

import json
import os
import sys

import numpy as np
import tensorflow as tf
import tf_keras as keras

import tfmot_swd

STEPS, BATCH = 20, 16


def strategy_named(name: str) -> tf.distribute.Strategy:
    if name == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    if name == "multiworker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def schedule_named(name: str) -> tfmot_swd.SelectiveDecay | tfmot_swd.StructuredDecay:
    if name == "channels":
        return tfmot_swd.StructuredDecay(0.5, STEPS - 5, frequency=2)
    if name == "coupled":
        return tfmot_swd.SelectiveDecay.paper(0.8, STEPS - 5, mu=5e-4)
    changes = {"floors": {"minimum_kept": 1.0}, "forward": {"penalty": "forward"}}.get(name, {})
    return tfmot_swd.SelectiveDecay(0.8, STEPS - 5, frequency=2, **changes)


def main(strategy_name: str, schedule_names: str, precision: str) -> None:
    strategy = strategy_named(strategy_name)
    keras.mixed_precision.set_global_policy(precision)
    for name in schedule_names.split(","):
        print("RESULT " + json.dumps(trained(strategy, schedule_named(name))), flush=True)


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


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main(*sys.argv[1:])
