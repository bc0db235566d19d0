"""A pruning from wrapping to stripping whose peaks of resident memory are printed, in bytes a weight."""

import json

import numpy as np
import tf_keras as keras

import tfmot_swd
from research.peak_memory import dense_network, reset_peak, status

# 16.8 million weights, nearly all in one matrix: what is done layer by layer does not help.
WIDTHS = (4096, 4096, 2)
UPDATES, BATCH = 5, 1
# After it the training step has taken what it takes.
SETTLED = 2


class Peak(keras.callbacks.Callback):
    """The peak until the training step has run a few times."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == SETTLED:
            self.peak = status("VmHWM")
            reset_peak()


def main():
    start = status("VmRSS")
    reset_peak()
    model = dense_network(WIDTHS)
    weights = model.count_params()
    model = tfmot_swd.prune_selective_decay(model, tfmot_swd.SelectiveDecay(0.9, end_step=UPDATES))
    model.compile(keras.optimizers.SGD(1e-4, momentum=0.9), "mse")
    x, y = np.ones((UPDATES * BATCH, WIDTHS[0]), np.float32), np.zeros((UPDATES * BATCH, WIDTHS[-1]), np.float32)
    peak = Peak()
    callbacks = [tfmot_swd.UpdatePruningStep(), peak]
    model.fit(x, y, batch_size=BATCH, verbose=0, shuffle=False, callbacks=callbacks)
    kept = tfmot_swd.sparsity_report(tfmot_swd.strip_pruning(model)).prunable_weights
    more = status("VmHWM")
    found = {
        "removed": weights - kept,
        "training": (peak.peak - start) / weights,
        "afterwards": (more - start) / weights,
    }
    print("RESULT " + json.dumps(found))


if __name__ == "__main__":
    main()
