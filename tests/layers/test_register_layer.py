"""A convolution of the user's own, registered once: plan, groups, removal, MACs and budgets know it."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tests.channels.exactness import assert_removal_is_exact, randomize, reasons, sizes
from tfmot_swd import Budget, plan_channels, plan_pruning, profile, register_layer
from tfmot_swd.layers import registry
from tfmot_swd.layers.constants import Linear, Moves, PerElement

L = keras.layers


@pytest.fixture(autouse=True)
def _families(monkeypatch):
    """Families that a test registers are gone after it."""
    monkeypatch.setattr(registry, "_FAMILIES", dict(registry._FAMILIES))


@keras.utils.register_keras_serializable("tests_register_layer")
class OwnConvolution(L.Layer):
    """Looks like Conv2D and inherits nothing from it."""

    def __init__(self, filters, size, strides=1, padding="valid", biased=True, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.size, self.strides, self.padding, self.biased = filters, size, strides, padding, biased

    def build(self, input_shape):
        self.kernel = self.add_weight("kernel", (self.size, self.size, input_shape[-1], self.filters))
        self.bias = self.add_weight("bias", (self.filters,)) if self.biased else None
        super().build(input_shape)

    def call(self, x):
        x = tf.nn.conv2d(x, self.kernel, self.strides, self.padding.upper())
        return x if self.bias is None else x + self.bias

    def get_config(self):
        own = {name: getattr(self, name) for name in ("filters", "size", "strides", "padding", "biased")}
        return {**super().get_config(), **own}


@keras.utils.register_keras_serializable("tests_register_layer")
class Clipped(L.Conv2D):
    """Has a call of its own."""

    def call(self, x):
        return super().call(tf.clip_by_value(x, -2.0, 2.0))


@keras.utils.register_keras_serializable("tests_register_layer")
class Noted(OwnConvolution):
    """A subclass that computes the same."""


KINDS = [OwnConvolution, Clipped]


def network(kind, padding: str = "valid", **options) -> keras.Model:
    """Returns four convolutions, two of them residual, between plain layers."""
    inputs = keras.Input((10, 10, 3), name="in")
    x = L.Conv2D(4, 1, name="stem")(inputs)
    x = kind(6, 3, name="a", **options)(x)
    x = L.ReLU(name="relu")(L.BatchNormalization(name="norm")(x))
    first = x = kind(8, 3, strides=2, name="b", **options)(x)
    x = L.Add(name="sum")([first, kind(8, 3, padding="same", name="c", **options)(L.ReLU(name="relu_2")(x))])
    x = kind(5, 3, padding=padding, name="d", **options)(x)
    return keras.Model(inputs, L.Dense(2, name="out")(L.GlobalAveragePooling2D(name="pool")(x)))


def unknown(kind: str) -> dict[str, tuple[str, ...]]:
    """Returns the reasons of a network whose four convolutions are of an unknown class."""
    return {
        keeps: (f"{name}: no channel rule for {kind}",) for keeps, name in zip(("stem", *"bcd"), "abcd", strict=True)
    }


def test_without_a_registration_nothing_is_known_of_it():
    model = network(OwnConvolution)

    assert sizes(model) == {}
    assert {row.layer for row in plan_pruning(model).pruned} == {"stem", "out"}
    assert profile(model).unknown == ("a", "b", "c", "d")
    assert reasons(network(Clipped)) == unknown("Clipped")


@pytest.mark.parametrize("kind", KINDS)
def test_one_registration_is_enough_for_plans_groups_and_costs(kind):
    register_layer(kind, like=L.Conv2D)
    model, plain = network(kind), network(L.Conv2D)

    assert sizes(model) == sizes(plain) == {"stem": 4, "a": 6, "b": 8, "d": 5}
    plan, expected = plan_pruning(model), plan_pruning(plain)
    assert [(row.layer, row.pool, row.uncounted) for row in plan.rows] == [
        (row.layer, row.pool, row.uncounted) for row in expected.rows
    ]
    assert [(row.group, row.reason) for row in plan_channels(model).rows] == [(each, "") for each in ("stem", *"abd")]
    assert profile(model).unknown == ()
    assert [(row.layer, row.macs, row.parameters) for row in profile(model).rows] == [
        (row.layer, row.macs, row.parameters) for row in profile(plain).rows
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_removal_is_exact_and_rebuilds_from_the_config(kind):
    register_layer(kind, like=L.Conv2D)
    model = network(kind)
    keep = {"a": [True, False] * 3, "b": [True] * 5 + [False] * 3, "d": [False, True, True, True, False]}

    small = assert_removal_is_exact(model, keep, save=True, train=kind is OwnConvolution)

    assert [small.get_layer(name).filters for name in "abcd"] == [3, 5, 5, 3]
    assert [type(small.get_layer(name)) for name in "abcd"] == [kind] * 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_budget_is_met(kind):
    register_layer(kind, like=L.Conv2D)
    model = network(kind)
    randomize(model, np.random.default_rng(1))
    fitted = tfmot_swd.fit_budget(model, tfmot_swd.channel_scores(model), Budget(macs=0.5, parameters=0.6))
    found = profile(tfmot_swd.remove_channels(model, fitted.keep))

    assert fitted.costs == {"macs": found.macs, "parameters": found.parameters}
    assert all(fitted.costs[name] <= limit for name, limit in fitted.limits.items())
    assert found.macs > 0.3 * profile(model).macs


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_pruned_and_stripped(kind):
    register_layer(kind, like=L.Conv2D)
    pruned = tfmot_swd.prune_selective_decay(
        network(kind), tfmot_swd.StructuredDecay(Budget(parameters=0.5), end_step=2)
    )
    tfmot_swd.prune_now(pruned)
    stripped = tfmot_swd.strip_pruning(pruned)
    x = np.random.default_rng(0).normal(size=(2, 10, 10, 3)).astype(np.float32)

    assert profile(stripped).parameters <= 0.5 * profile(network(kind)).parameters
    np.testing.assert_allclose(stripped(x), pruned(x), atol=1e-5)


@pytest.mark.parametrize(("padding", "left"), [("valid", 3), ("same", 6)])
@pytest.mark.parametrize("biased", [True, False])
def test_constants_are_added_to_its_bias_where_it_has_one_and_pads_nothing(padding, left, biased):
    register_layer(OwnConvolution, like=L.Conv2D)
    x = inputs = keras.Input((6, 6, 3))
    x = L.Conv2D(6, 1, name="a")(x)
    x = OwnConvolution(4, 3, padding=padding, biased=biased, name="b")(x)
    model = keras.Model(inputs, x)
    randomize(model, np.random.default_rng(0))
    kernel, bias = model.get_layer("a").get_weights()
    model.get_layer("a").set_weights([kernel * [1, 0, 1, 0, 1, 0], bias])
    small = tfmot_swd.remove_dead_channels(model)
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype(np.float32)

    # Its config has no entry "use_bias", so no bias can be made for the constants.
    assert small.get_layer("a").filters == (left if biased else 6)
    np.testing.assert_allclose(small(x), model(x), atol=1e-5)


def test_a_subclass_of_a_registered_class_is_known_and_one_with_a_call_of_its_own_is_not():
    class Other(OwnConvolution):
        def call(self, x):
            return tf.reverse(super().call(x), [-1])

    register_layer(OwnConvolution, like=L.Conv2D)

    assert sizes(network(Noted)) == sizes(network(L.Conv2D))
    assert reasons(network(Other)) == unknown("Other")


def test_what_is_given_comes_before_what_like_says():
    register_layer(OwnConvolution, like=L.Conv2D, prunable=["kernel", "bias"], macs=lambda *_: 7, filters=False)
    model = network(OwnConvolution)

    assert plan_pruning(model).rows[1].pool == 3 * 3 * 4 * 6 + 6
    assert profile(model).rows[2].macs == 7
    assert [row.reason for row in plan_channels(model).rows] == ["", *["no convolution makes it"] * 3]
    assert len(plan_channels(model, layers="all").ranked) == 4


def test_a_later_registration_says_the_rest():
    register_layer(OwnConvolution, macs=lambda layer, call: 7)
    register_layer(OwnConvolution, prunable=lambda layer: [layer.kernel])
    model = network(OwnConvolution)

    assert profile(model).rows[2].macs == 7
    assert plan_pruning(model).rows[1].pool == 3 * 3 * 4 * 6


def test_layers_that_hand_values_on_write_no_activations():
    @keras.utils.register_keras_serializable("tests_register_layer")
    class Pass(L.Layer):
        def call(self, x):
            return tf.identity(x)

    def activation_bytes():
        return profile(keras.Sequential([L.Dense(3, input_shape=(2,)), Pass(), L.Dense(1)])).activation_bytes

    before = activation_bytes()
    register_layer(Pass, like=L.Dropout)

    assert before - activation_bytes() == 3 * 4


def test_a_config_without_the_count_of_filters_is_told_before_anything_is_removed():
    class Nameless(OwnConvolution):
        def get_config(self):
            config = super().get_config()
            return {**{name: config[name] for name in config if name != "filters"}, "channels": self.filters}

    register_layer(Nameless, like=L.Conv2D)
    (reason,) = reasons(network(Nameless))["stem"]

    assert "a: its channel rule failed with ValueError: the layer's config has no such entry" in reason
    assert "['filters']" in reason


def test_a_prunable_weight_that_the_layer_does_not_have_is_an_error():
    register_layer(OwnConvolution, like=L.Conv2D, prunable=["kernal"])

    with pytest.raises(ValueError, match=r"OwnConvolution are attributes .* Received: 'kernal', which layer 'a' does "):
        plan_pruning(network(OwnConvolution))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, r"give like=, .* or at least one of prunable, .*Received: no argument but classes"),
        ({"like": L.HashedCrossing}, ValueError, r"Received: like=HashedCrossing, an unknown class"),
        ({"like": "Conv2D"}, TypeError, r"like must be a class of tf_keras layers.* Received: 'Conv2D'"),
        ({"like": L.Conv2D(1, 1)}, TypeError, r"like must be a class"),
        ({"prunable": "kernel"}, TypeError, r"as \['kernel'\], or a function of a layer. Received: 'kernel'"),
        ({"whole": "kernel"}, TypeError, r"as \['kernel'\]\. Received: 'kernel'"),
        ({"prunable": [1]}, TypeError, r"Received: \[1\]"),
        ({"channels": "rule"}, TypeError, r"channels must be a function. Received: 'rule'"),
        ({"macs": 7}, TypeError, r"macs must be a function. Received: 7"),
        ({"constants": "zero"}, TypeError, r"Linear, Moves or PerElement .* Received: 'zero'"),
        ({"filters": "yes"}, TypeError, r"filters must be True or False. Received: 'yes'"),
        ({"view": 1}, TypeError, r"view must be True or False. Received: 1"),
    ],
)
def test_what_cannot_be_registered_is_told_at_once(arguments, error, message):
    with pytest.raises(error, match=message):
        register_layer(OwnConvolution, **arguments)

    assert OwnConvolution not in registry._FAMILIES


def test_no_class_at_all_is_an_error():
    with pytest.raises(ValueError, match=r"takes at least one class of tf_keras layers\. Received: none"):
        register_layer(like=L.Conv2D)


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (L.Conv2D(1, 1), Linear),
        (L.Dense(1), Linear),
        (L.Flatten(), Moves),
        (L.ZeroPadding2D(), Moves),
        (L.Multiply(), PerElement),
        (L.BatchNormalization(), PerElement),
        (Clipped(1, 1), type(None)),
        (L.LSTM(1), type(None)),
    ],
)
def test_families_say_what_becomes_of_constants(layer, kind):
    assert type(registry.constants_of(layer)) is kind
