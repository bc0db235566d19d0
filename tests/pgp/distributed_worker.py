"""Trains the same models on one device and on two mirrored ones; prints what came out as JSON. Run by the tests."""

import json
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import BATCH, X, Y, layer_of, network, small, wrapped, wrapper_of
from tfmot_swd.pgp import selection as decision

SEEN: list[list[float]] = []


def record() -> None:
    """Has the scores of the first layer noted whenever filters are ranked."""
    original = decision._scores

    def recorded(pool, *args):
        scores = original(pool, *args)
        SEEN.append(scores[id(pool.leader.layer.kernel)].values.tolist())
        return scores

    decision._scores = recorded


def plain() -> keras.Model:
    net = network(keras.regularizers.L2(1e-3))
    # It would normalize by the part of a batch that each replica has.
    layer_of(net, "norm").trainable = False
    return net


def numbers(model: keras.Model) -> dict:
    return {
        "weights": [each.numpy().tolist() for each in model.trainable_variables],
        "slots": [np.asarray(each).tolist() for each in model.optimizer.variables[1:]],
        "iterations": int(model.optimizer.iterations.numpy()),
        "replicas": model.distribute_strategy.num_replicas_in_sync,
        "scores": SEEN.copy(),
        "mask": wrapper_of(model, "a").scored[0].mask.numpy().tolist(),
    }


def fitted(strategy: tf.distribute.Strategy, net: Callable[[], keras.Model], criterion: str, **options) -> dict:
    SEEN.clear()
    with strategy.scope():
        model = wrapped(net(), rate=0.5, epochs=3, criterion=criterion)
        optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, metrics=["accuracy"], **options)
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH)
    callback = tfmot_swd.UpdatePruningStep(training_data=data, partial_fit=True)
    validation = data if options else None
    history = model.fit(data, epochs=2, verbose=0, callbacks=[callback], validation_data=validation).history
    found = numbers(model)
    # Once more, out of the scope in which fit runs its callbacks.
    tfmot_swd.prune_now(model)
    return {**found, "logs": history, "left": [row.sizes for row in callback.history], "in the end": sizes(model)}


def looped(strategy: tf.distribute.Strategy, net: Callable[[], keras.Model], criterion: str) -> dict:
    SEEN.clear()
    with strategy.scope():
        model = wrapped(net(), rate=0.5, epochs=3, criterion=criterion)
        model.optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    callback = tfmot_swd.UpdatePruningStep(partial_fit=True)
    callback.set_model(model)
    callback.on_train_begin()

    def step(x, y):
        with tf.GradientTape() as tape:
            losses = keras.losses.sparse_categorical_crossentropy(y, model(x, training=True), from_logits=True)
            loss = tf.nn.compute_average_loss(losses, global_batch_size=BATCH)
        model.optimizer.minimize(loss, model.trainable_variables, tape=tape)

    data = strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH))
    for epoch in range(2):
        run = tf.function(lambda x, y: strategy.run(step, args=(x, y)))
        for x, y in data:
            run(x, y)
        callback.on_epoch_end(epoch)
    return {**numbers(model), "logs": {}, "left": [row.sizes for row in callback.history]}


def sizes(model: keras.Model) -> list[list[int]]:
    return [list(each.shape) for each in tfmot_swd.strip_pruning(model).weights]


CASES = {
    "steps_per_execution": lambda strategy: fitted(strategy, plain, "rpgp", steps_per_execution=2),
    "extra_pass": lambda strategy: fitted(strategy, small, "pgp"),
    "own_loop": lambda strategy: looped(strategy, small, "feature_taylor"),
}


def main() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategies = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    record()
    for name, case in CASES.items():
        print("RESULT " + json.dumps([name, [case(each) for each in strategies]]), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
