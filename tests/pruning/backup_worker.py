"""Trains with a backup, and may kill itself: run by test_backup.py, as kill -9 cannot be survived by a test.

Takes trainings, one after the other, each as METHOD OPTIMIZER DIRECTORY EPOCH BATCH. Those before the last one end at
their batch with an exception that no handler sees, so that one process can stop several; the last one with SIGKILL.
"""

import json
import os
import signal
import sys

from examples.quiet import load_tensorflow

load_tensorflow()

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf_keras as keras  # noqa: E402

import tfmot_swd  # noqa: E402

EPOCHS, STEPS = 4, 4


class Stopped(BaseException):
    """Ends a training as a signal does, and leaves the process to the next one."""


class Stopper(keras.callbacks.Callback):
    """Ends the training at one batch of one epoch; with the process, without mercy, as a power cut does."""

    def __init__(self, epoch: int, batch: int, with_process: bool) -> None:
        super().__init__()
        self.at, self.epoch, self.with_process = (epoch, batch), 0, with_process

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            if self.with_process:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Stopped


def build(method: str, optimizer: str) -> keras.Model:
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = skip = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    if method in ("rpgp", "structured"):
        x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="a")(x)
        x = keras.layers.Add()([keras.layers.Conv2D(8, 3, padding="same", name="b")(x), skip])
    net = keras.Model(inputs, keras.layers.Dense(3, name="head")(keras.layers.GlobalAveragePooling2D()(x)))
    if method == "structured":
        pruned = tfmot_swd.prune_selective_decay(net, tfmot_swd.StructuredDecay(0.5, end_step=3 * STEPS))
    elif method == "swd":
        pruned = tfmot_swd.prune_selective_decay(net, tfmot_swd.SelectiveDecay(0.8, end_step=3 * STEPS))
    else:
        pruned = tfmot_swd.prune_progressive_gradient(net, tfmot_swd.ProgressiveRate(0.5, 3), method)
    rate = keras.optimizers.schedules.CosineDecay(0.05, EPOCHS * STEPS)
    made = keras.optimizers.SGD(rate, 0.9, weight_decay=1e-3) if optimizer == "sgd" else keras.optimizers.Adam(0.01)
    pruned.compile(made, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return pruned


def main(method: str, optimizer: str, directory: str, epoch: int, batch: int, is_last: bool) -> None:
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    tf.config.experimental.enable_op_determinism()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8 * STEPS, 8, 8, 1)).astype("float32"), rng.integers(0, 3, 8 * STEPS)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    model = build(method, optimizer)
    callback = tfmot_swd.UpdatePruningStep(training_data=data, backup_dir=directory or None)
    try:
        seen = model.fit(data, epochs=EPOCHS, callbacks=[callback, Stopper(epoch, batch, is_last)], verbose=0)
    except Stopped:
        return
    small = tfmot_swd.strip_pruning(model)
    found = {
        "epochs": len(seen.epoch),
        "weights": [weight.tolist() for weight in small.get_weights()],
        "slots": [variable.numpy().tolist() for variable in model.optimizer.variables],
        "left": os.path.isdir(directory),
    }
    print("RESULT " + json.dumps(found), flush=True)


if __name__ == "__main__":
    for start in range(1, len(sys.argv), 5):
        method, optimizer, directory, epoch, batch = sys.argv[start : start + 5]
        main(method, optimizer, directory, int(epoch), int(batch), is_last=start + 5 == len(sys.argv))
