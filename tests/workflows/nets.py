"""A net whose error after pruning can be told by hand, and one-shot pruning in place of a training."""

import numpy as np
import tf_keras as keras

from tfmot_swd.workflows.training import Trained, prune_at_once

X = np.random.default_rng(0).uniform(0.9, 1.1, (40, 8)).astype("float32")
Y = (X @ np.arange(1.0, 9.0, dtype="float32"))[:, None]
TRAIN, VALIDATION = (X, Y), (np.ones((6, 8), "float32"), np.full((6, 1), 36.0, "float32"))


def ladder(package=keras):
    """Returns a net that adds up eight channels, 1 to 8: 36 for ones. 72 parameters, 9 of them for each channel."""
    net = package.Sequential(
        [
            package.Input((8,), name="x"),
            package.layers.Dense(8, use_bias=False, name="hidden"),
            package.layers.Dense(1, use_bias=False, name="head"),
        ],
        name="ladder",
    )
    net.set_weights([np.diag(np.arange(1.0, 9.0)), np.ones((8, 1))])
    net.compile("sgd", "mse", metrics=["mae"])
    return net


class Cut:
    """In place of `Job.trained_to`: the weakest channels are removed at once, nothing is trained.

    Args:
      dies_at: number of the call that the process does not survive.
    """

    def __init__(self, dies_at=None):
        self.goals, self._dies_at = [], dies_at

    def __get__(self, job, kind=None):
        return lambda goal, backup_dir=None: self(job, goal)

    def __call__(self, job, goal):
        self.goals.append(goal)
        if len(self.goals) == self._dies_at:
            raise KeyboardInterrupt
        return Trained(prune_at_once(job.model, goal), {"loss": [1.0, 0.5], "val_mae": [2.0, 1.0]})
