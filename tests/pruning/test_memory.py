"""What stays in the process after a training: nothing of the model, its variables and its graphs."""

import gc
from collections import Counter

import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import BATCH, X, Y, compiled, fit, small, wrapped
from tfmot_swd.magnitude.entry import prune_magnitude

KINDS = {
    "graphs": tf.__internal__.FuncGraph,
    "operations": tf.Operation,
    "variables": tf.Variable,
    "layers": keras.layers.Layer,
    "optimizers": keras.optimizers.Optimizer,
}
METHODS = {
    "SWD": lambda net: tfmot_swd.prune_selective_decay(net, tfmot_swd.SelectiveDecay(0.5, end_step=4)),
    "SWD in the forward pass": lambda net: tfmot_swd.prune_selective_decay(
        net, tfmot_swd.SelectiveDecay(0.5, end_step=4, penalty="forward")
    ),
    "structured SWD": lambda net: tfmot_swd.prune_selective_decay(
        net, tfmot_swd.StructuredDecay(tfmot_swd.Budget(parameters=0.5), end_step=4)
    ),
    "PGP": lambda net: tfmot_swd.prune_progressive_gradient(net, tfmot_swd.ProgressiveRate(0.5, 1)),
    "magnitude": lambda net: prune_magnitude(net, tfmot.sparsity.keras.ConstantSparsity(0.5, 0)),
}


def alive() -> dict[str, int]:
    """Returns how many objects of each kind the process holds, once all that is free has been collected."""
    gc.collect()
    types = Counter(map(type, gc.get_objects()))
    return {name: sum(types[each] for each in types if issubclass(each, kind)) for name, kind in KINDS.items()}


@pytest.mark.parametrize("method", METHODS)
def test_trainings_in_one_process_leave_nothing_behind(method):
    def train():
        model = compiled(METHODS[method](small()))
        model.fit(X, Y, batch_size=BATCH, epochs=2, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])
        found = alive()
        assert found["graphs"] > 0 < found["variables"]

    # The first one fills what is made once for the process.
    train()
    before = alive()
    for _ in range(2):
        train()
    assert alive() == before


def test_removals_in_one_training_leave_nothing_behind():
    model = compiled(wrapped(small(), rate=0.9, epochs=8, curve="linear", hard_share=1.0))
    found = []

    class Count(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                found.append(alive())

    callback = fit(model, 9, callbacks=[Count()])
    assert [each.removed for each in callback.history] == [0, 1, 1, 1, 1, 1, 1, 1]
    # Of its first step Keras keeps two traces, until filters leave.
    assert found[0] == found[1]
    assert found[0]["graphs"] == found[2]["graphs"] + 1
    assert found[2:8] == [found[2]] * 6
    # After the last one nothing is scored.
    assert found[8] == {**found[2], "operations": found[8]["operations"]}
    assert found[8]["operations"] < found[2]["operations"]


def test_a_training_step_that_has_lost_its_gradients_goes_on():
    """TensorFlow registers a gradient of each trace, which goes when a fit ends; the next fit uses the trace."""
    model = compiled(tfmot_swd.prune_selective_decay(small(), tfmot_swd.SelectiveDecay(0.5, end_step=8)))
    fit(model, 1, partial_fit=True)
    function = model.train_function
    traces = function.experimental_get_tracing_count()
    before = model.get_layer(index=-1).layer.bias.numpy()
    fit(model, 1)
    assert model.train_function is function
    assert function.experimental_get_tracing_count() == traces
    assert (model.get_layer(index=-1).layer.bias.numpy() != before).any()
