"""Putting the wrappers on: what is wrapped, what is left as it is, what is refused."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import L, X, compiled, fit, layer_of, network, residual, wrapped, wrapper_of
from tfmot_swd.pgp.settings import ProgressiveSettings

RATE = tfmot_swd.ProgressiveRate(0.5, 4)


def wrappers(model: keras.Model) -> list[str]:
    kind = tfmot_swd.pgp.PruneProgressiveGradient
    return [each.layer.name for each in model.submodules if isinstance(each, kind)]


def test_a_copy_with_the_same_predictions_is_wrapped():
    net = network()
    before = [each.copy() for each in net.get_weights()]
    model = tfmot_swd.prune_progressive_gradient(net, RATE)
    assert wrappers(model) == ["a", "b"]
    np.testing.assert_array_equal(model.predict(X, verbose=0), net.predict(X, verbose=0))
    layer_of(model, "a").kernel.assign(layer_of(model, "a").kernel + 1)
    assert wrappers(net) == []
    for old, new in zip(before, net.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_all_layers_that_rank_a_group_are_wrapped():
    model = wrapped(residual(), rate=0.5, epochs=4)
    assert sorted(wrappers(model)) == ["a1", "a2", "b1", "b2", "shortcut", "stem"]
    leads = {name: wrapper_of(model, name).scored[0].leads.numpy().all() for name in ("stem", "a2", "shortcut", "b2")}
    assert leads == {"stem": True, "a2": False, "shortcut": True, "b2": False}
    assert wrapper_of(model, "b2").scored[0].initial.numpy().tolist() == [6] * 6


def test_filters_outside_of_ranked_groups_are_not_enlisted():
    inputs = keras.Input((6, 6, 2))
    first, second = tf.split(L.Conv2D(8, 1, name="a")(inputs), 2, axis=-1)
    net = keras.Model(inputs, [first, L.Dense(3)(L.Flatten()(L.Conv2D(2, 1, name="b")(second)))])
    scored = wrapper_of(wrapped(net), "a").scored[0]
    # The first half is an output of the model.
    assert scored.initial.numpy().tolist() == [0] * 4 + [4] * 4
    assert scored.leads.numpy().tolist() == [False] * 4 + [True] * 4


def test_a_shared_layer_has_one_wrapper():
    inputs = keras.Input((6, 6, 2))
    shared = L.Conv2D(4, 3, name="shared")
    x = L.Concatenate()([shared(inputs), shared(L.ReLU()(inputs))])
    model = wrapped(keras.Model(inputs, L.Dense(2)(L.Flatten()(x))))
    assert wrappers(model) == ["shared"]


def test_nested_models_and_classes_stay_what_they_are():
    class Net(keras.Model):
        pass

    inputs = keras.Input((6, 6, 2))
    body = keras.Sequential([L.Conv2D(4, 1, name="inner", input_shape=(6, 6, 2))], name="body")
    model = wrapped(Net(inputs, L.Dense(2)(L.Flatten()(body(inputs)))))
    assert type(model) is Net
    assert type(model.get_layer("body")) is keras.Sequential
    assert wrappers(model) == ["inner"]


def test_layers_that_are_frozen_are_wrapped_for_when_they_are_not():
    net = network()
    net.get_layer("a").trainable = False
    model = wrapped(net)
    assert wrappers(model) == ["a", "b"]
    assert not layer_of(model, "a").trainable
    assert not wrapper_of(model, "a").takes_part()


def test_settings_reach_all_wrappers():
    settings = {
        "hard_share": 0.25,
        "reduction": "mean",
        "scope": "global",
        "soft_reset": "kernel",
        "reset_slots": False,
        "round_to": 2,
        "minimum": 3,
        "seed": 5,
    }
    model = tfmot_swd.prune_progressive_gradient(network(), RATE, "l2", **settings)
    for name in "ab":
        found = wrapper_of(model, name).settings
        assert found == ProgressiveSettings("l2", **settings)
        assert wrapper_of(model, name).pruning_schedule == RATE
    again = ProgressiveSettings.from_config(found.get_config())
    assert again == found
    assert hash(again) == hash(found)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hard_share": -0.1}, r"hard_share must be in \[0, 1\].*Received: -0.1"),
        ({"hard_share": 1.1}, r"hard_share must be in \[0, 1\].*Received: 1.1"),
        ({"hard_share": True}, r"hard_share must be in \[0, 1\].*Received: True"),
        ({"hard_share": float("nan")}, r"hard_share must be in \[0, 1\].*Received: nan"),
        ({"reduction": "max"}, "reduction must be one of leader, sum, mean. Received: 'max'"),
        ({"scope": "model"}, "scope must be one of layer, global. Received: 'model'"),
        ({"soft_reset": "none"}, "soft_reset must be one of all, kernel. Received: 'none'"),
        ({"round_to": 0}, "round_to must be a whole number, 1 or more. Received: round_to=0"),
        ({"minimum": 1.5}, "minimum must be a whole number, 1 or more. Received: minimum=1.5"),
        ({"criterion": "gradients"}, "criterion must be one of rpgp, .*Received: 'gradients'"),
        ({"layers": "dense"}, "layers must be one of convolutions, all. Received: 'dense'"),
        ({"skip": ["c"]}, r"skip names layers that the model does not have. Received: c$"),
    ],
)
def test_settings_outside_their_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        tfmot_swd.prune_progressive_gradient(network(), RATE, **settings)


@pytest.mark.parametrize("schedule", [0.5, tfmot_swd.SelectiveDecay(0.5, 10), None])
def test_another_schedule_is_refused(schedule):
    with pytest.raises(TypeError, match="schedule must be a tfmot_swd.ProgressiveRate.*Received: "):
        tfmot_swd.prune_progressive_gradient(network(), schedule)


def test_another_criterion_is_refused():
    with pytest.raises(TypeError, match="criterion must be a name or a ChannelCriterion. Received: float"):
        tfmot_swd.prune_progressive_gradient(network(), RATE, 1.0)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = L.Conv2D(4, 3)

    def call(self, inputs):
        return self.conv(inputs)


def test_models_that_have_no_graph_are_refused():
    model = Subclassed()
    model(X)
    with pytest.raises(ValueError, match="Subclassed models cannot be taken apart.*Received: .*Subclassed"):
        tfmot_swd.prune_progressive_gradient(model, RATE)
    with pytest.raises(ValueError, match="not built"):
        tfmot_swd.prune_progressive_gradient(keras.Sequential([L.Conv2D(4, 3)]), RATE)
    with pytest.raises(TypeError, match="Received: str"):
        tfmot_swd.prune_progressive_gradient("model.keras", RATE)


@pytest.mark.parametrize("method", ["progressive", "selective"])
def test_a_wrapped_model_is_refused(method):
    model = wrapped()
    if method == "selective":
        model = tfmot_swd.prune_selective_decay(network(), tfmot_swd.SelectiveDecay(0.5, 10))
    with pytest.raises(ValueError, match="already wrapped for pruning: strip it first.*'net' with wrapped layers"):
        tfmot_swd.prune_progressive_gradient(model, RATE)


def test_weights_that_are_nan_are_refused():
    net = network()
    layer_of(net, "a").kernel.assign(tf.fill((3, 3, 2, 8), np.nan))
    with pytest.raises(ValueError, match="NaN or infinite.*Received: a/kernel"):
        tfmot_swd.prune_progressive_gradient(net, RATE)


def test_a_model_of_which_nothing_can_leave_is_refused():
    net = keras.Sequential([L.Dense(4, input_shape=(3,), name="hidden"), L.Dense(2, name="out")])
    with pytest.raises(ValueError, match=r"No filter.*Received: hidden \(no convolution makes it\), out \("):
        tfmot_swd.prune_progressive_gradient(net, RATE)
    assert wrappers(tfmot_swd.prune_progressive_gradient(net, RATE, layers="all")) == ["hidden"]
    with pytest.raises(ValueError, match=r"Received: a \(left out by name\), b \(left out by name\)"):
        tfmot_swd.prune_progressive_gradient(network(), RATE, skip=["a", "b"])


def test_maps_of_a_layer_with_several_weights_tell_nothing():
    inputs = keras.Input((5, 2))
    net = keras.Model(inputs, L.Dense(3)(L.LSTM(4, name="lstm")(inputs)))
    with pytest.raises(
        ValueError, match="do not tell the importance of each.*Received: FeatureTaylor for layer 'lstm'"
    ):
        tfmot_swd.prune_progressive_gradient(net, RATE, "feature_taylor", layers="all")


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_changes_of_weights_of_other_types(dtype):
    net = keras.Sequential(
        [L.Conv2D(8, 3, activation="relu", dtype=dtype, input_shape=(6, 6, 2)), L.Flatten(), L.Dense(3)]
    )
    model = tfmot_swd.prune_progressive_gradient(
        net, tfmot_swd.ProgressiveRate(0.5, 2, curve="geometric"), "weight_change"
    )
    fit(compiled(model), epochs=2)
    assert tfmot_swd.strip_pruning(model).layers[0].filters == 4


def test_a_clone_of_a_wrapped_model_says_that_it_knows_no_filters():
    model = tfmot_swd.prune_progressive_gradient(network(), tfmot_swd.ProgressiveRate(0.5, 2, curve="geometric"))
    clone = compiled(keras.models.model_from_json(model.to_json()))
    with pytest.raises(ValueError, match="built from its config alone.*Received: 2 wrapped layers"):
        fit(clone, epochs=2)
    clone.set_weights(model.get_weights())
    fit(clone, epochs=2)
    assert tfmot_swd.strip_pruning(clone).get_layer("a").filters == 4


NOTHING_LEAVES = "No filter will be removed.*Received: "


@pytest.mark.parametrize(
    ("schedule", "settings"),
    [
        (tfmot_swd.ProgressiveRate(0.1, 2, curve="geometric"), {}),
        (tfmot_swd.ProgressiveRate(0.5, 2), {"minimum": 100}),
        (tfmot_swd.ProgressiveRate(0.5, 2), {"round_to": 64}),
        (tfmot_swd.ProgressiveRate(0.5, 2), {"round_to": 64, "scope": "global"}),
    ],
)
def test_a_schedule_that_removes_nothing_warns(schedule, settings):
    with pytest.warns(tfmot_swd.PruningWarning, match=NOTHING_LEAVES):
        tfmot_swd.prune_progressive_gradient(network(), schedule, **settings)


@pytest.mark.parametrize(
    ("schedule", "settings"),
    [
        (RATE, {}),
        (tfmot_swd.ProgressiveRate(0.1, 2, curve="geometric"), {"scope": "global"}),
        (tfmot_swd.ProgressiveRate(tfmot_swd.Budget(macs=0.9), 2), {}),
        (RATE, {"round_to": 4}),
    ],
)
def test_a_schedule_that_removes_a_filter_does_not_warn(schedule, settings, recwarn):
    tfmot_swd.prune_progressive_gradient(network(), schedule, **settings)
    assert not [each for each in recwarn if issubclass(each.category, tfmot_swd.PruningWarning)]


def test_settings_may_be_numbers_of_numpy():
    numbers = {
        "hard_share": np.float32(0.5),
        "round_to": np.int64(2),
        "minimum": np.int32(3),
        "seed": np.uint8(4),
    }
    plain = ProgressiveSettings("l1", hard_share=0.5, round_to=2, minimum=3, seed=4)
    found = ProgressiveSettings("l1", **numbers)
    assert found == plain
    assert json.loads(json.dumps(found.get_config()))["hard_share"] == 0.5


@pytest.mark.parametrize("seed", [-1, None, "a", 1.5, True])
def test_a_seed_that_is_none_is_refused_before_training(seed):
    with pytest.raises(ValueError, match=f"seed must be a whole number, 0 or more. Received: seed={seed!r}"):
        tfmot_swd.prune_progressive_gradient(network(), RATE, seed=seed)
