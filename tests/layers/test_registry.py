"""Which rule a layer has, and rules of the user's own."""

import re

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tests.channels.exactness import assert_removal_is_exact, members, reasons, sizes
from tfmot_swd.channels.groups import channel_groups
from tfmot_swd.layers import convolution, dense, registry
from tfmot_swd.layers.registry import find_rule, register_channel_rule, register_layer, rule_of

L = keras.layers


@pytest.fixture
def _rules(monkeypatch):
    """Rules that a test registers are gone after it."""
    monkeypatch.setattr(registry, "_FAMILIES", dict(registry._FAMILIES))


def between(*layers) -> keras.Model:
    x = inputs = L.Input((4,))
    for layer in (L.Dense(6, activation="relu", name="a"), *layers, L.Dense(2, name="d")):
        x = layer(x)
    return keras.Model(inputs, x)


class Scale(L.Layer):
    def build(self, input_shape):
        self.scale = self.add_weight("scale", (input_shape[-1],))

    def call(self, x):
        return x * self.scale


class Centred(L.Layer):
    """Looks across channels."""

    def call(self, x):
        return x - tf.reduce_mean(x, -1, keepdims=True)


class Renamed(L.Dense):
    """Computes what Dense does."""

    def __init__(self, units, note="", **kwargs):
        super().__init__(units, **kwargs)
        self.note = note

    def build(self, input_shape):
        super().build(input_shape)

    def get_config(self):
        return {**super().get_config(), "note": self.note}


class OwnCall(L.Dense):
    def call(self, x):
        return super().call(x) * tf.reduce_sum(x, -1, keepdims=True)


class Standardized(L.Conv1D):
    """Its kernel loses its mean over the inputs: without some, the mean is another."""

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel - tf.reduce_mean(kernel, axis=(0, 1), keepdims=True))


class Mixed:
    def call(self, x):
        return super().call(x)[..., ::-1]


class FromTheSide(Mixed, L.Dense):
    pass


class Normalized(L.Dense):
    """Its kernel is computed from another weight."""

    def build(self, input_shape):
        self.direction = self.add_weight("direction", (input_shape[-1], self.units))
        self.bias = self.add_weight("bias", (self.units,))

    @property
    def kernel(self):
        return tf.math.l2_normalize(self.direction, axis=0)

    @kernel.setter
    def kernel(self, value):
        pass


def test_a_rule_is_found_through_the_ancestry():
    assert rule_of(L.Dense(1)) is rule_of(Renamed(1)) is dense.dense
    assert rule_of(L.Conv2D(1, 1)) is convolution.convolution
    assert rule_of(L.Conv2DTranspose(1, 1)) is convolution.transposed
    assert rule_of(L.DepthwiseConv2D(1)) is convolution.depthwise
    assert rule_of(Scale()) is rule_of(L.HashedCrossing(3)) is None


def test_a_subclass_without_a_call_of_its_own_has_the_rule():
    model = between(Renamed(5, note="mine", name="b"))

    assert sizes(model) == {"a": 6, "b": 5}
    assert assert_removal_is_exact(model).get_layer("b").note == "mine"


@pytest.mark.parametrize("kind", [OwnCall, FromTheSide, Normalized])
def test_a_subclass_that_computes_something_else_is_a_barrier(kind):
    model = between(kind(5, name="b"))

    assert rule_of(kind(5)) is None
    assert reasons(model) == {"a": (f"b: no channel rule for {kind.__name__}",)}
    assert_removal_is_exact(model)


def test_a_subclass_that_overrides_what_call_uses_is_a_barrier():
    x = L.Input((5, 4))
    hidden = Standardized(3, 2, name="b")(L.Dense(6, name="a")(x))
    model = keras.Model(x, L.Dense(2)(L.Flatten()(hidden)))

    assert reasons(model) == {"a": ("b: no channel rule for Standardized",)}
    assert_removal_is_exact(model)


def test_unknown_layers_and_functions_across_channels_are_barriers():
    model = between(Centred(name="s"), L.Dense(5, name="b"), L.Lambda(lambda x: x * tf.reduce_sum(x), name="l"))

    assert reasons(model) == {
        "a": ("s: no channel rule for Centred",),
        "b": ("l/<lambda>/tf.math.reduce_sum: a reduction over channels",),
    }
    assert_removal_is_exact(model)


@pytest.mark.usefixtures("_rules")
def test_a_rule_of_the_users():
    def scale(call):
        call.follow("scale", 0, call.channels(call.input, -1))
        return call.same(call.input)

    register_layer(Scale, channels=scale)

    model = between(Scale(name="s"))
    assert rule_of(Scale()) is scale
    assert members(model, "a", "follow") == {"s.scale[0]": [0, 1, 2, 3, 4, 5]}
    assert_removal_is_exact(model, train=True)


@pytest.mark.usefixtures("_rules")
def test_a_rule_of_the_users_for_a_layer_that_makes_channels():
    class Twice(L.Layer):
        """Two projections side by side."""

        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units = units

        def build(self, input_shape):
            self.left = self.add_weight("left", (input_shape[-1], self.units))
            self.right = self.add_weight("right", (input_shape[-1], self.units))

        def call(self, x):
            return tf.concat([x @ self.left, x @ self.right], -1)

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    def twice(call):
        units = call.new(call.layer.units)
        for weight in ("left", "right"):
            call.consume(weight, 0, call.channels(call.input, -1))
            call.produce(weight, 1, units)
        call.resize("units", units)
        return call.output([*units, *units], -1)

    register_layer(Twice, channels=twice)

    model = between(Twice(3, name="t"))
    assert sizes(model) == {"a": 6, "t": 3}
    assert members(model, "t", "consume") == {"d.kernel[0]": [0, 1, 2, 0, 1, 2]}
    assert_removal_is_exact(model, train=True)


@pytest.mark.usefixtures("_rules")
def test_a_rule_for_a_subclass_with_a_call_of_its_own():
    register_layer(OwnCall, channels=dense.dense)

    assert rule_of(OwnCall(1)) is dense.dense


@pytest.mark.usefixtures("_rules")
def test_the_last_rule_counts():
    first, second = (lambda call: call.same(call.input) for _ in range(2))
    register_layer(Scale, channels=first)
    register_layer(Scale, L.Lambda, channels=second)

    assert rule_of(Scale()) is rule_of(L.Lambda(tf.abs)) is second


@pytest.mark.parametrize("wrong", ["Dense", L.Dense(1), int, tf.Module])
def test_only_layer_classes_have_rules(wrong):
    with pytest.raises(TypeError, match=r"^register_layer takes classes of tf_keras layers. Received: "):
        register_layer(wrong, channels=dense.dense)


def test_a_layer_of_keras_3_is_told_to_have_a_pair():
    with pytest.raises(TypeError, match=r"both to tfmot_swd.keras3.register_layer_pair.*Received: <class 'keras\."):
        register_layer(keras3.layers.Dense, channels=dense.dense)


@pytest.mark.usefixtures("_rules")
def test_the_decorator_of_the_last_release_registers_a_channel_rule():
    def scale(call):
        return call.same(call.input)

    with pytest.warns(DeprecationWarning, match=r"write register_layer\(MyLayer, channels=rule\) instead"):
        assert register_channel_rule(Scale)(scale) is scale

    assert rule_of(Scale()) is scale


def assert_is_failure(kind: type, message: str) -> None:
    """Asserts that the rule of a layer fails, that the channels around it stay for it, and others leave."""
    model = between(L.Dense(5, name="b"), kind(name="s"), L.Dense(3, name="c"))
    groups = channel_groups(model)

    (failure,) = groups.trace.failures
    assert re.search(message, failure)
    assert reasons(model) == {"b": (failure,)}
    assert sizes(model) == {"a": 6, "c": 3}
    assert_removal_is_exact(model, failures=1)


@pytest.mark.usefixtures("_rules")
@pytest.mark.parametrize(
    "returned",
    [
        lambda call: [],
        lambda call: [call.input, call.input],
        lambda call: call.output([1, 2], -1),
        lambda call: type(call.input)(call.input.ids[0], (6,)),
    ],
    ids=["none", "two", "too few", "of another rank"],
)
def test_a_rule_that_returns_no_labels_of_its_outputs_is_a_barrier(returned):
    register_layer(Scale, channels=returned)

    assert_is_failure(Scale, r"s: its channel rule failed with ValueError: .* must return .* Received: .* in 's'$")


@pytest.mark.usefixtures("_rules")
def test_a_rule_that_gives_a_weight_too_few_channels_is_a_barrier():
    def scale(call):
        call.follow("scale", 0, call.channels(call.input, -1)[:2])
        return call.same(call.input)

    register_layer(Scale, channels=scale)

    assert_is_failure(Scale, r"as many channels as it has slices. Received: 2 channels for shape \(5,\)")


@pytest.mark.usefixtures("_rules")
def test_a_rule_that_does_not_describe_its_layer_is_told():
    class Half(L.Layer):
        def call(self, x):
            return x[..., : x.shape[-1] // 2]

    register_layer(Half, channels=lambda call: call.output(call.input.along(-1)[3:], -1))
    model = between(Half(name="h"))

    with pytest.raises(RuntimeError, match=r"The channel rule of Half does not describe what the layer does"):
        assert_removal_is_exact(model, {"a": [True, True, True, False, False, True]})


ENTRIES = [
    channel_groups,
    tfmot_swd.plan_channels,
    tfmot_swd.channels.plan_dead_removal,
    tfmot_swd.channels.remove_dead_channels,
    lambda model: tfmot_swd.channels.plan_removal(model, {"a": [True, False] * 3}),
    lambda model: tfmot_swd.channels.remove_channels(model, {"a": [True, False] * 3}),
    lambda model: tfmot_swd.channels.shrink_model(model, {"a": [True, False] * 3}),
    lambda model: tfmot_swd.costs.fit_budget(model, {"a": np.arange(6.0)}, tfmot_swd.Budget(parameters=0.8)),
    lambda model: tfmot_swd.profile(model),
    lambda model: tfmot_swd.prune_progressive_gradient(model, tfmot_swd.ProgressiveRate(0.5, 3), layers="all"),
    lambda model: stripped(model, tfmot_swd.SelectiveDecay(final_sparsity=0.9, end_step=4)),
    lambda model: stripped(model, tfmot_swd.StructuredDecay(tfmot_swd.Budget(sparsity=0.3), end_step=4, layers="all")),
]


def stripped(model: keras.Model, schedule) -> keras.Model:
    pruned = tfmot_swd.prune_selective_decay(model, schedule)
    tfmot_swd.prune_now(pruned)
    return tfmot_swd.strip_pruning(pruned)


@pytest.mark.usefixtures("_rules")
@pytest.mark.parametrize("entry", ENTRIES)
def test_a_rule_that_fails_takes_no_entry_point_down(entry):
    def scale(call):
        call.consume("scale", 0, call.channels(call.input, -1))
        raise RuntimeError("not today")

    register_layer(Scale, channels=scale)

    model = between(L.Dense(5, name="b"), Scale(name="s"), L.Dense(3, name="c"))
    assert reasons(model) == {"b": ("s: its channel rule failed with RuntimeError: not today",)}

    assert entry(model) is not None


@pytest.mark.usefixtures("_rules")
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda call: call.resize("size", call.input.along(-1)), r"no such entry. Received: \['size'\]"),
        (lambda call: call.reconfigure("x", lambda config, kept: config["x"]), "KeyError: 'x'"),
        (lambda call: call.edit_arguments(lambda arguments, kept: arguments["y"]), "KeyError: 'y'"),
        (lambda call: call.follow("scale", 0, np.arange(5) + 1000), "ids that this model's walk has given out"),
    ],
)
def test_a_rule_with_edits_that_fail_is_a_barrier(edit, message):
    def scale(call):
        call.follow("scale", 0, call.channels(call.input, -1))
        edit(call)
        return call.same(call.input)

    register_layer(Scale, channels=scale)

    assert_is_failure(Scale, message)


@pytest.mark.usefixtures("_rules")
def test_a_failure_takes_back_what_the_rule_has_said_and_keeps_all_calls_whole():
    calls = []

    def scale(call):
        calls.append(call)
        call.follow("scale", 0, call.channels(call.input, -1))
        if len(calls) % 2 == 0:
            raise RuntimeError("at the second call")
        return call.same(call.input)

    register_layer(Scale, channels=scale)

    x = L.Input((4,))
    shared = Scale(name="s")
    made = [shared(L.Dense(6, name=name)(x)) for name in "ab"]
    model = keras.Model(x, L.Dense(2)(L.Concatenate()(made)))

    assert sizes(model) == {}
    assert_removal_is_exact(model, failures=1)


@pytest.mark.usefixtures("_rules")
def test_a_weight_that_the_rule_has_no_word_for_is_a_barrier():
    class Tempered(Scale):
        def build(self, input_shape):
            super().build(input_shape)
            self.temperature = self.add_weight("temperature", ())

    def scale(call):
        call.follow("scale", 0, call.channels(call.input, -1))
        return call.same(call.input)

    register_layer(Scale, channels=scale)

    model = between(Tempered(name="s"))
    assert reasons(model) == {"a": ("s: its channel rule knows nothing of s/temperature:0",)}
    assert_removal_is_exact(model)

    def tempered(call):
        call.whole("temperature")
        return scale(call)

    register_layer(Tempered, channels=tempered)

    assert reasons(model) == {}
    assert_removal_is_exact(model)


def standardized(layer: L.Layer) -> None:
    plain = layer.call
    layer.call = lambda x: plain(x) - tf.reduce_mean(x, -1, keepdims=True)


def computed(layer: L.Layer) -> None:
    layer.kernel = tf.math.l2_normalize(layer.kernel, axis=0)


def spare(layer: L.Layer) -> None:
    layer.spare = tf.Variable(tf.ones(5))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (standardized, "no channel rule for Dense with another call on the object"),
        (computed, "kernel is no weight of the layer but computed, or kept by something else"),
        (spare, "its channel rule knows nothing of Variable:0"),
    ],
)
def test_an_object_that_is_not_what_its_class_says_is_a_barrier(change, reason):
    layer = L.Dense(5, name="b")
    model = between(layer)
    change(layer)

    assert reasons(model) == {"a": (f"b: {reason}",)}
    assert_removal_is_exact(model)


def test_a_class_whose_method_was_replaced_since_is_a_barrier(monkeypatch):
    plain = L.Dense.call
    monkeypatch.setattr(L.Dense, "call", lambda self, x: plain(self, x))

    assert find_rule(L.Dense(1)) == (None, "no channel rule for Dense with another call in Dense")


@pytest.mark.parametrize("attribute", ["cell", "_softmax"])
def test_a_part_that_was_replaced_is_a_barrier(attribute):
    x = L.Input((3, 4))
    hidden = L.Dense(6, name="a")(x)
    layer = L.GRU(5, return_sequences=True, name="b") if attribute == "cell" else L.MultiHeadAttention(2, 3, name="b")
    made = layer(hidden) if attribute == "cell" else layer(hidden, hidden)
    part = getattr(layer, attribute)
    plain = part.call
    part.call = lambda *args, **kwargs: plain(*args, **kwargs)
    model = keras.Model(x, L.Dense(2)(made))

    assert "another call on its" in str(reasons(model)["a"])
    assert_removal_is_exact(model)
