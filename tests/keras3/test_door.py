"""Every entry takes a Keras 3 model as it takes the tf_keras one, leaves it as it is, and gives Keras 3 back."""

import keras as keras3
import numpy as np
import pytest
import tf_keras as keras

from tests.keras3.entries import ENTRIES, WRAPS, X, Y, agrees, flat, residual, state_of
from tfmot_swd import (
    SelectiveDecay,
    UpdatePruningStep,
    export_tflite,
    plan_channels,
    plan_pruning,
    profile,
    prune_now,
    prune_selective_decay,
    quantize_aware,
    sparsity_report,
    strip_pruning,
)
from tfmot_swd.keras3 import from_keras3, import_model
from tfmot_swd.pruning.wrapped_models import is_from_keras3
from tfmot_swd.tflite import file_bytes

L = keras3.layers


def said_of(result):
    """Returns what an entry has found, as text."""
    if isinstance(result, keras.Model | keras3.Model):
        return f"{result.name}: {result.count_params()}"
    return str(result)


@pytest.fixture(scope="module")
def given():
    """Returns a compiled net that no test changes, its state, and what it is in tf_keras."""
    net = residual()
    net.compile("adam", "mse", metrics=["mae"])
    net.get_layer("norm").trainable = False
    net.evaluate(X, np.eye(3)[Y], verbose=0)
    return net, state_of(net), from_keras3(net)


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_converts_once_finds_the_same_and_changes_nothing(name, given, monkeypatch):
    net, before, as_keras2 = given
    converted = []
    convert = import_model.import_model
    monkeypatch.setattr(import_model, "import_model", lambda model: (converted.append(model), convert(model))[1])

    found = said_of(ENTRIES[name](net))

    assert converted == [net]
    assert found == said_of(ENTRIES[name](as_keras2))
    assert state_of(net) == before


def test_a_file_for_devices_and_a_quantization_aware_model_are_made_of_a_keras_3_model(tmp_path):
    model = flat()
    before = state_of(model)

    result = export_tflite(model, tmp_path / "net.tflite", check_data=(X, Y))
    aware = quantize_aware(model)

    assert result.keras_accuracy == pytest.approx((np.argmax(model(X), axis=1) == Y).mean())
    assert result.bytes == file_bytes(model, "float32")
    assert isinstance(aware, keras.Model)
    assert [layer.name for layer in aware.layers][-1] == "out"
    assert state_of(model) == before


@pytest.mark.parametrize("name", ["swd", "structured", "pgp", "magnitude"])
def test_a_pruned_keras_3_model_comes_back_as_one(name, net):
    before = state_of(net)
    pruned = WRAPS[name](net)
    assert isinstance(pruned, keras.Model)
    assert agrees(pruned, net)
    pruned.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    pruned.fit(X, Y, batch_size=8, epochs=2, verbose=0, callbacks=[UpdatePruningStep()])

    stripped = strip_pruning(pruned)

    assert isinstance(stripped, keras3.Model)
    assert type(stripped.get_layer("head")) is keras3.Sequential
    assert (stripped.name, stripped.inputs[0].name) == ("net", "image")
    assert agrees(stripped, pruned)
    report = sparsity_report(stripped)
    assert report.nonzero_prunable_weights < 0.6 * sparsity_report(net).nonzero_prunable_weights
    tf_keras_one = strip_pruning(pruned, keras2=True)
    assert isinstance(tf_keras_one, keras.Model)
    assert str(sparsity_report(tf_keras_one)) == str(report)
    assert state_of(net) == before


def test_a_tf_keras_model_comes_back_as_one_also_where_it_was_converted_by_hand(net):
    pruned = WRAPS["swd"](from_keras3(net))
    prune_now(pruned)

    assert isinstance(strip_pruning(pruned), keras.Model)
    assert not any("from_keras3" in layer.get_config() for layer in pruned.layers)


def saved_as(form):
    def load(pruned, folder):
        path = str(folder / f"net{form}")
        pruned.save(path, **({"save_format": "tf"} if not form else {}))
        return keras.models.load_model(path)

    return load


def checkpointed(pruned, folder):
    pruned.save_weights(str(folder / "checkpoint"))
    again = WRAPS["swd"](residual())
    again.load_weights(str(folder / "checkpoint")).expect_partial()
    return again


def cloned(pruned, folder):
    again = keras.models.clone_model(pruned)
    again.set_weights(pruned.get_weights())
    return again


@pytest.mark.parametrize(
    "carry",
    [saved_as(".keras"), saved_as(".h5"), saved_as(""), checkpointed, cloned],
    ids=["keras", "h5", "saved_model", "checkpoint", "clone"],
)
def test_a_training_carried_on_from_a_file_still_gives_keras_3(carry, tmp_path):
    pruned = WRAPS["swd"](residual())
    pruned.compile("sgd", "mse")

    again = carry(pruned, tmp_path)
    prune_now(again)

    assert is_from_keras3(again)
    stripped = strip_pruning(again)
    assert isinstance(stripped, keras3.Model)
    assert agrees(stripped, again)


def test_a_model_of_two_nets_of_which_one_is_of_tf_keras_is_of_tf_keras(net):
    other = keras.Sequential([keras.layers.Dense(4, input_shape=(3,))])
    inputs = keras.Input((6, 6, 2))
    both = keras.Model(inputs, WRAPS["swd"](other)(WRAPS["swd"](net)(inputs)))
    prune_now(both)

    assert type(strip_pruning(both)).__module__.startswith("tf_keras")


def test_a_class_around_the_wrapped_model_trains_it_and_gives_keras_3():
    class Own(keras.Model):
        def train_step(self, data):
            return super().train_step(data)

    class Gan(keras.Model):
        def __init__(self, generator):
            super().__init__(name="gan")
            self.generator = generator

    pruned = WRAPS["swd"](residual())
    prune_now(pruned)

    assert isinstance(strip_pruning(Own(pruned.inputs, pruned.outputs)), keras3.Model)
    assert isinstance(strip_pruning(Gan(pruned).generator), keras3.Model)
    with pytest.raises(ValueError, match="inside it one by one. Received: 'gan' of class Gan, around net"):
        strip_pruning(Gan(pruned))


def test_several_inputs_and_outputs_keep_their_structure():
    a, b = keras3.Input((4,), name="a"), keras3.Input((4,), name="b")
    shared = L.Dense(8, "relu", name="shared")
    left, right = shared(a), shared(b)
    outputs = {"sum": L.Dense(2, name="first")(left + right), "one": L.Dense(1, name="second")(left)}
    model = keras3.Model({"a": a, "b": b}, outputs)
    data = {name: np.random.default_rng(seed).normal(size=(5, 4)) for seed, name in enumerate("ab")}
    pruned = prune_selective_decay(model, SelectiveDecay(0.5, end_step=4))
    prune_now(pruned)

    found, wanted = strip_pruning(pruned)(data), pruned(data)

    assert found.keys() == {"sum", "one"}
    assert all(np.allclose(found[name], wanted[name], atol=1e-5) for name in found)


def squared(inputs):
    return inputs * inputs


class Gate(L.Layer):
    """As many write it: neither registered nor with a name in its config, so that Keras 3 renames each copy."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = L.Dense(8, activation=squared)

    def call(self, inputs):
        return inputs * self.dense(inputs)


def test_a_layer_of_the_users_keeps_its_name_from_call_to_call(tmp_path):
    inputs = keras3.Input((4,))
    outputs = L.Dense(2, name="out")(Gate(name="gate")(L.Dense(8, name="hidden")(inputs)))
    model = keras3.Model(inputs, outputs)

    rows = plan_pruning(model).rows
    names = [row.layer for row in rows]
    pruned = prune_selective_decay(model, SelectiveDecay(0.5, end_step=4), skip=["gate"])
    prune_now(pruned)

    assert names == ["hidden", "gate", "out"]
    assert [row.kind for row in rows] == [row.kind for row in profile(model).rows][1:] == ["Dense", "Gate", "Dense"]
    assert "no channel rule for Gate" in plan_channels(model, layers="all").summary()
    assert [layer.name for layer in strip_pruning(pruned).layers][1:] == names
    pruned.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras", custom_objects={"Gate": Gate})
    assert [layer.name for layer in strip_pruning(again).layers][1:] == names
