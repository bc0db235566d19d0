"""Soft filter pruning, the baseline, out of the same parts, against its published loop."""

import numpy as np
import tf_keras as keras

from tests.pgp.nets import BATCH, X, Y, compiled, fit, layer_of, network, widths, wrapped, wrapper_of
from tests.pgp.test_soft_pruning import slots_of, weights_of


def test_soft_filter_pruning_leaves_all_else_alone(seen):
    """SFP: after each epoch int(N·P) kernels of least L2 norm become zero, and nothing else does until the last."""
    settings = {"curve": "constant", "hard_share": 0.0, "soft_reset": "kernel", "reset_slots": False}
    model = compiled(wrapped(rate=0.4, epochs=3, criterion="l2", **settings), run_eagerly=True)
    twin = compiled(network(), run_eagerly=True)
    silent = []

    class Zero(keras.callbacks.Callback):
        """The published loop, on the plain model."""

        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                silent.append({})
                for name, count in (("a", 3), ("b", 2)):
                    kernel = layer_of(self.model, name).kernel
                    norms = np.sqrt(np.square(kernel.numpy()).sum(axis=(0, 1, 2)))
                    weak = np.argsort(norms)[:count]
                    silent[-1][name] = np.sort(weak)
                    value = kernel.numpy()
                    value[..., weak] = 0
                    kernel.assign(value)

    callback = fit(model, 2, partial_fit=True)
    twin.fit(X, Y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0, callbacks=[Zero()])
    assert [(each.channels, each.soft_pruned) for each in callback.history] == [(14, 5), (14, 5)]
    ours, theirs = weights_of(model), weights_of(twin)
    for key, value in theirs.items():
        np.testing.assert_array_equal(ours[key].numpy(), value.numpy(), err_msg=str(key))
    for (key, slot), other in zip(
        slots_of(model.optimizer, model).items(), slots_of(twin.optimizer, twin).values(), strict=True
    ):
        np.testing.assert_array_equal(slot.numpy(), other.numpy(), err_msg=str(key))
    for name, weak in silent[-1].items():
        np.testing.assert_array_equal(np.flatnonzero(wrapper_of(model, name).scored[0].mask.numpy() == 0), weak)
    fit(model)
    assert {name: widths(model)[name] for name in ("a", "b")} == {"a": 5, "b": 4}
