"""What entries refuse of Keras 3, and what their messages say to do."""

import keras as keras3
import numpy as np
import pytest
import tf_keras as keras

from tests.keras3.entries import ENTRIES, WRAPS, X, Y, residual
from tfmot_swd import (
    UpdatePruningStep,
    export_tflite,
    prune_now,
    quantize_aware,
    strip_pruning,
)
from tfmot_swd.pruning.after_pruning import AfterPruning
from tfmot_swd.pruning.summaries import PruningSummaries

L = keras3.layers


def subclassed():
    class Own(keras3.Model):
        def call(self, inputs):
            return inputs

    return Own(name="own")


@pytest.mark.parametrize("name", [*ENTRIES, "export_tflite", "quantize_aware"])
def test_a_model_that_cannot_be_taken_apart_is_refused(name, tmp_path):
    entry = {
        **ENTRIES,
        "export_tflite": lambda model: export_tflite(model, tmp_path / "net.tflite"),
        "quantize_aware": quantize_aware,
    }[name]
    with pytest.raises(ValueError, match=r"build the network as a Sequential or Functional model.*Received: 'own' of"):
        entry(subclassed())
    with pytest.raises(ValueError, match=r"begin with keras\.Input\(shape\).*Received: 'late', not built"):
        entry(keras3.Sequential([L.Dense(2)], name="late"))


@pytest.mark.parametrize("to_prune", [L.Dense(2), [L.Dense(2), L.ReLU()]], ids=["layer", "layers"])
@pytest.mark.parametrize("wrap", [WRAPS[name] for name in ("swd", "pgp", "drop-in", "drop-in channels")])
def test_a_keras_3_layer_is_told_to_come_as_a_model(wrap, to_prune):
    with pytest.raises(TypeError, match=r"Keras 3 layer.*wrap the model.*only=\[\.\.\.\].*Received: Dense"):
        wrap(to_prune)


@pytest.mark.parametrize("function", [strip_pruning, prune_now])
def test_what_works_on_the_wrapped_model_says_so(function, net):
    message = r"tf_keras model.*pass what prune_selective_decay.*Received: a Keras 3 object of class keras\."
    with pytest.raises(TypeError, match=message):
        function(net)


def test_weights_that_are_no_numbers_are_named(net):
    kernel, bias = net.get_layer("stem").get_weights()
    net.get_layer("stem").set_weights([kernel * np.nan, bias])

    with pytest.raises(ValueError, match=r"NaN or infinite.*Received: stem/kernel"):
        WRAPS["swd"](net)


@pytest.mark.parametrize("name", ["swd", "structured", "pgp"])
def test_a_training_step_of_the_users_is_not_lost(name):
    class Own(keras3.Model):
        def train_step(self, data):
            return super().train_step(data)

    net = residual()
    own = Own(net.inputs, net.outputs)

    with pytest.raises(ValueError, match=r"around the wrapped one\. Received: .* of class Own with its own train_step"):
        WRAPS[name](own)


def test_a_failure_to_give_keras_3_back_says_how_to_get_the_result(net, monkeypatch):
    pruned = WRAPS["swd"](net)
    prune_now(pruned)

    def fails(model):
        raise ValueError("no counterpart")

    monkeypatch.setattr("tfmot_swd.keras3.export_model.export_model", fails)

    with pytest.raises(ValueError, match="no counterpart") as caught:
        strip_pruning(pruned)
    assert "keras2=True" in caught.value.__notes__[0]
    assert isinstance(strip_pruning(pruned, keras2=True), keras.Model)


def unwrapped(pruned):
    return residual()


def around(pruned):
    class Around(keras3.Model):
        def __init__(self):
            super().__init__(name="around")
            self.net = pruned

        def call(self, inputs):
            return self.net(inputs)

    return Around()


@pytest.mark.parametrize(
    "callback",
    [
        UpdatePruningStep,
        lambda: PruningSummaries("logs"),
        lambda: AfterPruning(keras3.callbacks.EarlyStopping("loss")),
    ],
    ids=["UpdatePruningStep", "PruningSummaries", "AfterPruning"],
)
@pytest.mark.parametrize("trained", [unwrapped, around])
def test_a_keras_3_model_is_not_trained_with_the_callbacks_of_a_pruning(callback, trained, net):
    model = trained(WRAPS["swd"](net))
    model.compile("sgd", "sparse_categorical_crossentropy")

    message = rf"fit what .* has returned.*subclass tf_keras\.Model\. Received: the Keras 3 model '{model.name}'"
    with pytest.raises(TypeError, match=message):
        model.fit(X, Y, verbose=0, callbacks=[callback()])
