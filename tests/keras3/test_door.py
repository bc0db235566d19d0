"""Every entry takes a Keras 3 model as it takes the tf_keras one, leaves it as it is, and gives Keras 3 back."""

import keras as keras3
import numpy as np
import pytest
import tensorflow_model_optimization as tfmot
import tf_keras as keras

from tfmot_swd import (
    Budget,
    ProgressiveRate,
    SelectiveDecay,
    StructuredDecay,
    UpdatePruningStep,
    device_report,
    export_tflite,
    plan_channels,
    plan_pruning,
    profile,
    prune_low_magnitude,
    prune_now,
    prune_progressive_gradient,
    prune_selective_decay,
    quantize_aware,
    sparsity_report,
    strip_pruning,
)
from tfmot_swd.channels import (
    channel_groups,
    channel_scores,
    plan_dead_removal,
    plan_removal,
    remove_channels,
    remove_dead_channels,
    shrink_model,
)
from tfmot_swd.channels.shrink import shrink_to
from tfmot_swd.costs import find_cost, fit_budget
from tfmot_swd.keras3 import from_keras3, import_model
from tfmot_swd.magnitude import prune_magnitude
from tfmot_swd.pruning.wrapped_models import is_from_keras3
from tfmot_swd.tflite import file_bytes

L = keras3.layers
X = np.random.default_rng(0).normal(size=(16, 6, 6, 2)).astype("float32")
Y = np.arange(16) % 3
HALF = {"stem": [True, False] * 4}
SCHEDULE = tfmot.sparsity.keras.ConstantSparsity(0.5, 0, frequency=1)


def residual(name="net"):
    """Returns a net of a residual block with a batch norm, and a model inside it."""
    inputs = keras3.Input((6, 6, 2), name="image")
    stem = L.Conv2D(8, 3, padding="same", name="stem")(inputs)
    x = L.ReLU(name="relu")(L.BatchNormalization(name="norm")(stem))
    x = stem + L.Conv2D(8, 3, padding="same", name="conv")(x)
    head = keras3.Sequential(
        [keras3.Input((8,)), L.Dense(6, "relu", name="hidden"), L.Dense(3, name="out")], name="head"
    )
    return keras3.Model(inputs, head(L.GlobalAveragePooling2D(name="pool")(x)), name=name)


def flat():
    """Returns a net without a model inside it."""
    layers = [L.Conv2D(8, 3, name="stem"), L.ReLU(name="relu"), L.Flatten(name="flat"), L.Dense(3, name="out")]
    return keras3.Sequential([keras3.Input((6, 6, 2), name="image"), *layers], name="net")


@pytest.fixture
def net():
    keras3.utils.set_random_seed(0)
    return residual()


def state_of(model):
    """Returns all that a user could miss of a Keras 3 model."""
    variables = [*model.variables, *(model.optimizer.variables if model.compiled else ())]
    return (
        model.get_config(),
        model.get_compile_config(),
        [(each.path, each.trainable, each.numpy().tolist()) for each in variables],
        [(layer.name, layer.trainable, layer.losses) for layer in model._flatten_layers()],
    )


def agrees(given_back, model):
    """Returns whether two models, each of either Keras, compute the same."""
    found, wanted = (np.asarray(each(X, training=False)) for each in (given_back, model))
    return np.allclose(found, wanted, rtol=1e-4, atol=1e-5)


WRAPS = {
    "swd": lambda model: prune_selective_decay(model, SelectiveDecay(0.5, end_step=4)),
    "structured": lambda model: prune_selective_decay(model, StructuredDecay(0.5, end_step=4)),
    "pgp": lambda model: prune_progressive_gradient(model, ProgressiveRate(0.5, epochs=1), layers="all"),
    "magnitude": lambda model: prune_magnitude(model, SCHEDULE),
    "drop-in": lambda model: prune_low_magnitude(model, SCHEDULE),
    "drop-in channels": lambda model: prune_low_magnitude(model, StructuredDecay(0.5, end_step=4)),
}
ENTRIES = {
    **WRAPS,
    "plan_pruning": plan_pruning,
    "plan_channels": plan_channels,
    "channel_groups": channel_groups,
    "channel_scores": channel_scores,
    "plan_removal": lambda model: plan_removal(model, HALF),
    "plan_dead_removal": plan_dead_removal,
    "remove_channels": lambda model: remove_channels(model, HALF),
    "remove_dead_channels": remove_dead_channels,
    "fit_budget": lambda model: fit_budget(model, "l1", Budget(macs=0.5)),
    "profile": profile,
    "sparsity_report": sparsity_report,
    "parameters": lambda model: find_cost("parameters").of(model),
    "macs": lambda model: find_cost("macs").of(model),
    "device_report": lambda model: device_report(model, model).layers,
}


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


def test_a_model_made_smaller_while_it_trains_still_gives_keras_3(net):
    pruned = WRAPS["swd"](net)
    shrink_model(pruned, {"prune_selective_decay_stem": [True, False] * 4})
    prune_now(pruned)

    stripped = strip_pruning(pruned, remove_channels=False)

    assert stripped.get_layer("stem").filters == 4
    assert agrees(stripped, pruned)


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


def test_channels_are_removed_from_a_keras_3_model(net):
    silent = keras3.models.clone_model(net)
    silent.set_weights(net.get_weights())
    for name in ("stem", "conv"):
        kernel, bias = net.get_layer(name).get_weights()
        silent.get_layer(name).set_weights([kernel * HALF["stem"], bias * HALF["stem"]])
    norm = silent.get_layer("norm")
    norm.set_weights([norm.get_weights()[0] * HALF["stem"], *norm.get_weights()[1:]])

    for smaller in (remove_channels(net, HALF), plan_removal(net, HALF).apply(), remove_dead_channels(silent)):
        assert isinstance(smaller, keras3.Model)
        assert smaller.get_layer("conv").filters == 4
        assert agrees(smaller, silent)
    for plan in (plan_removal(net, HALF), plan_dead_removal(silent)):
        assert isinstance(plan.apply(keras2=True), keras.Model)
    assert isinstance(remove_channels(net, HALF, keras2=True), keras.Model)
    assert isinstance(remove_dead_channels(silent, keras2=True), keras.Model)


def test_what_one_call_names_the_next_one_knows(net):
    fit = fit_budget(net, channel_scores(net), Budget(parameters=0.5))

    smaller = remove_channels(net, fit.keep)

    assert set(fit.keep) == {"stem", "head/hidden"}
    assert profile(smaller).parameters == fit.costs["parameters"]
    groups = channel_groups(net)
    assert (groups.keras3, plan_channels(net).groups.keras3) == (net, net)
    assert fit_budget(net, "l1", 0.5, groups=groups).keep.keys() == fit.keep.keys()


def test_groups_found_before_the_weights_changed_do_not_bring_the_old_ones_back(net):
    groups = channel_groups(net)
    kernel, bias = net.get_layer("head").get_layer("hidden").get_weights()
    net.get_layer("head").get_layer("hidden").set_weights([kernel * [1, 1, 1, 1, 0, 0], bias])

    smaller = remove_dead_channels(net, groups=groups)

    assert smaller.get_layer("head").get_layer("hidden").units == 4
    with pytest.raises(ValueError, match="groups must be those of the model itself"):
        plan_removal(residual("other"), HALF, groups=groups)


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


def test_a_keras_3_model_does_not_shrink_in_place(net):
    with pytest.raises(TypeError, match=r"remove_channels returns a smaller copy.*Received: the Keras 3 model 'net'"):
        shrink_model(net, HALF)
    with pytest.raises(TypeError, match=r"plan\.apply\(\) returns.*Received: a plan for the Keras 3 model 'net'"):
        shrink_to(plan_removal(net, HALF))


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
