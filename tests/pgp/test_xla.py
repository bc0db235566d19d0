"""Trainings whose step XLA compiles as a whole, with removals in between, against the same without it."""

import numpy as np
import pytest
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import BATCH, X, Y, batches, compiled, fit, network, widths, wrapped

# As XLA fuses operations, sums are rounded otherwise.
CLOSE = {"rtol": 1e-4, "atol": 2e-6}


class Compiled(keras.callbacks.Callback):
    """Notes of each epoch whether XLA compiles the step in all traces that there are."""

    def __init__(self):
        super().__init__()
        self.found = []

    def on_train_batch_end(self, batch, logs=None):
        traces = self.model.train_function._list_all_concrete_functions()
        # None of a step that is new since filters have left.
        if traces:
            self.found.append([any(map(is_compiled, trace.graph.as_graph_def().library.function)) for trace in traces])


def is_compiled(function):
    return function.attr["_XlaMustCompile"].b


def trained(criterion, **options):
    model, noted = compiled(wrapped(rate=0.5, epochs=2, criterion=criterion), **options), Compiled()
    return model, fit(model, 3, callbacks=[noted], training_data=batches()), noted.found


@pytest.mark.parametrize(
    ("criterion", "options"),
    [("rpgp", {"steps_per_execution": 2}), ("feature_taylor", {})],
    ids=["kernels", "outputs"],
)
def test_a_training_with_removals_is_that_without_xla(criterion, options):
    found, of_found, compiles = trained(criterion, jit_compile=True, **options)
    wanted, of_wanted, _ = trained(criterion, **options)
    assert all(map(all, compiles))
    assert len(compiles) >= 3
    assert [each.removed for each in of_found.history] == [each.removed for each in of_wanted.history]
    assert all(each.removed for each in of_found.history)
    assert widths(found) == widths(wanted)
    pairs = zip(found.weights + found.optimizer.variables, wanted.weights + wanted.optimizer.variables, strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one.numpy(), other.numpy(), **CLOSE)


def test_updates_that_a_loss_scale_skips_count_neither(seen):
    """In float16, of four updates the second overflows."""

    class Spoil(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.optimizer._loss_scale.current_loss_scale.assign(2.0**60 if batch == 1 else 64.0)

    for compiles in (False, True):
        keras.mixed_precision.set_global_policy("mixed_float16")
        try:
            optimizer = keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD(0.05), initial_scale=64.0)
            model = compiled(wrapped(network(), rate=0.5, epochs=2), optimizer, jit_compile=compiles)
        finally:
            keras.mixed_precision.set_global_policy("float32")
        step = tfmot_swd.UpdatePruningStep()
        model.fit(X, Y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0, callbacks=[Spoil(), step])
        assert model.optimizer.iterations.numpy() == 8
        assert step._run.skipped == 2
    (without, _, with_xla, _) = seen
    for name, scores in without.items():
        np.testing.assert_allclose(with_xla[name], scores, rtol=0.03)
