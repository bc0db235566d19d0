"""A user's own importance of the weights alone: one object in each method, and at once."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import BATCH, X, Y, compiled, fit, layer_of, network, residual, small
from tfmot_swd import ProgressiveRate, StructuredDecay, prune_selective_decay
from tfmot_swd.channels import ChannelCriterion
from tfmot_swd.channels.criteria import CRITERIA, register_criterion, resolve_criterion, slices_of

OF_WEIGHTS = ("auto", "scale", "magnitude", "filter_norm", "l1", "l2", "geometric_median")


@keras.utils.register_keras_serializable("tests")
@dataclasses.dataclass(frozen=True)
class Peak(ChannelCriterion):
    """The largest |w| of a filter, to a power."""

    power: float = 1.0

    def importance(self, weight, axis):
        return tf.reduce_max(tf.abs(slices_of(weight, axis)), axis=1) ** self.power


def peaks(kernel) -> np.ndarray:
    return np.abs(kernel).reshape(-1, kernel.shape[-1]).max(axis=0)


def peaked(build=small):
    """A net in whose first layer L1 and L2 would keep other filters than the peak does."""
    net = build()
    layer = layer_of(net, "a")
    kernel = np.full(layer.kernel.shape, 0.1, np.float32)
    kernel[0, 0, 0] = np.linspace(0.3, 0.44, 8)
    kernel[1:, :, :, :4] = 0.29
    layer.kernel.assign(kernel)
    return net


def test_progressive_gradient_pruning_removes_the_least(monkeypatch, tmp_path):
    monkeypatch.setitem(CRITERIA, "peak", Peak(2.0))
    net = peaked()
    model = tfmot_swd.prune_progressive_gradient(net, ProgressiveRate(0.5, 2), "peak", hard_share=1.0)
    model.compile(keras.optimizers.SGD(0.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    fit(model, 2)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert layer_of(loaded, "prune_progressive_gradient_a").settings.criterion == Peak(2.0)
    kernel = layer_of(net, "a").kernel.numpy()
    left = layer_of(tfmot_swd.strip_pruning(loaded), "a").kernel.numpy()
    np.testing.assert_array_equal(left, kernel[..., np.argsort(peaks(kernel))[-left.shape[-1] :]])
    assert 0 < left.shape[-1] < 8


@pytest.mark.parametrize(("criterion", "form"), [(Peak(), "h5"), ("peak", "keras")])
def test_structured_decay_removes_the_least(criterion, form, monkeypatch, tmp_path):
    monkeypatch.setitem(CRITERIA, "peak", Peak())
    net = peaked()
    schedule = StructuredDecay(0.5, 2 * len(X) // BATCH, criterion=criterion)
    model = prune_selective_decay(net, schedule)
    model.compile(keras.optimizers.SGD(0.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.save(tmp_path / f"model.{form}")
    loaded = keras.models.load_model(tmp_path / f"model.{form}")
    assert layer_of(loaded, "prune_structured_decay_a").pruning_schedule == schedule
    loaded.fit(X, Y, batch_size=BATCH, epochs=2, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])
    kernel = layer_of(net, "a").kernel.numpy()
    left = layer_of(tfmot_swd.strip_pruning(loaded), "a").kernel.numpy()
    # What is targeted decays, and the rest is as it was.
    np.testing.assert_array_equal(left, kernel[..., np.argsort(peaks(kernel))[-left.shape[-1] :]])
    assert 0 < left.shape[-1] < 8


@pytest.mark.parametrize("criterion", [Peak(), "peak"])
def test_removal_at_once_removes_the_least(criterion, monkeypatch):
    monkeypatch.setitem(CRITERIA, "peak", Peak())
    net = peaked()
    kernel = layer_of(net, "a").kernel.numpy()
    scores = tfmot_swd.channels.channel_scores(net, criterion)
    np.testing.assert_allclose(scores["a"], peaks(kernel) / peaks(kernel).mean(), rtol=1e-6)
    fitted = tfmot_swd.costs.fit_budget(net, criterion, 0.5)
    kept = fitted.keep["a"]
    assert 0 < kept.sum() < 8
    assert peaks(kernel)[kept].min() > peaks(kernel)[~kept].max()
    # Of those that rounding brings back, too, the first is the one of the largest peak.
    plan = tfmot_swd.channels.plan_removal(net, {"a": np.arange(8) == 0}, round_to=2, criterion=criterion)
    assert np.flatnonzero(plan.keep()["a"]).tolist() == [0, 7]
    removed = tfmot_swd.channels.remove_channels(net, {"a": np.arange(8) == 0}, round_to=2, criterion=criterion)
    np.testing.assert_array_equal(layer_of(removed, "a").kernel, kernel[..., [0, 7]])


def test_another_default_brings_back_others():
    net = peaked()
    plan = tfmot_swd.channels.plan_removal(net, {"a": np.arange(8) == 0}, round_to=2)
    assert np.flatnonzero(plan.keep()["a"]).tolist() == [0, 3]


def test_makers_of_a_sum_are_averaged():
    net = residual()
    stem, second = (layer_of(net, name).kernel.numpy() for name in ("stem", "a2"))
    expected = (peaks(stem) + peaks(second)) / 2
    np.testing.assert_allclose(
        tfmot_swd.channels.channel_scores(net, Peak())["stem"], expected / expected.mean(), rtol=1e-6
    )


@pytest.mark.parametrize("name", OF_WEIGHTS)
def test_each_name_of_weights_alone_scores_all_groups(name):
    scores = tfmot_swd.channels.channel_scores(residual(), name)
    assert all(np.isfinite(each).all() for each in scores.values())


# The other names train below, on a net without a sum.
@pytest.mark.parametrize("name", ["auto", "l1", "geometric_median"])
def test_names_of_weights_alone_rank_where_channels_are_added(name):
    net = residual()
    model = compiled(tfmot_swd.prune_progressive_gradient(net, ProgressiveRate(0.5, 1), name))
    fit(model, 1)
    assert tfmot_swd.strip_pruning(model).count_params() < net.count_params()


@pytest.mark.parametrize("name", ["scale", "magnitude", "filter_norm", "l2", "geometric_median"])
def test_progressive_pruning_keeps_the_channels_of_the_largest_scores(name):
    net = network()
    layer_of(net, "norm").gamma.assign([0.8, 0.1, 0.7, 0.2, 0.6, 0.3, 0.5, 0.4])
    scores = tfmot_swd.channels.channel_scores(net, name)["a"]
    model = tfmot_swd.prune_progressive_gradient(net, ProgressiveRate(0.5, 1, "geometric"), name)
    model.compile(keras.optimizers.SGD(0.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    fit(model, 1)
    kept = np.sort(np.argsort(scores)[4:])
    left = layer_of(tfmot_swd.strip_pruning(model), "a").kernel.numpy()
    np.testing.assert_array_equal(left, layer_of(net, "a").kernel.numpy()[..., kept])


@pytest.mark.parametrize("criterion", ["rpgp", "pgp", "weight_change", "weight_taylor", "feature_taylor", "random"])
@pytest.mark.parametrize("given", [str, resolve_criterion])
def test_what_needs_a_training_is_refused_without_one(criterion, given):
    asked = given(criterion)
    said = "needs gradients.*auto, scale, magnitude, filter_norm, l1.*Received: "
    for use in (
        lambda: StructuredDecay(0.5, 10, criterion=asked),
        lambda: tfmot_swd.channels.channel_scores(small(), asked),
        lambda: tfmot_swd.costs.fit_budget(small(), asked, 0.5),
        lambda: tfmot_swd.channels.plan_removal(small(), {}, criterion=asked),
    ):
        with pytest.raises(ValueError, match=said):
            use()


class Unregistered(Peak):
    pass


def test_a_class_that_is_not_registered_does_at_once_and_is_refused_before_training():
    assert tfmot_swd.costs.fit_budget(peaked(), Unregistered(), 0.5).keep["a"].sum() < 8
    with pytest.raises(ValueError, match="must be registered.*Received: Unregistered"):
        StructuredDecay(0.5, 10, criterion=Unregistered())
    with pytest.raises(ValueError, match="must be registered.*Received: Unregistered"):
        tfmot_swd.prune_progressive_gradient(small(), ProgressiveRate(0.5, 1), Unregistered())


class Whole(ChannelCriterion):
    def importance(self, weight, axis):
        return tf.reduce_sum(weight)


def test_an_importance_that_is_not_one_a_slice_is_refused():
    with pytest.raises(ValueError, match=r"Whole.importance must return one number a slice.*\(8,\).*shape \(\)"):
        tfmot_swd.channels.channel_scores(small(), Whole())


def test_a_name_stands_for_a_criterion_and_for_nothing_else(monkeypatch):
    monkeypatch.setattr("tfmot_swd.channels.criteria.CRITERIA", dict(CRITERIA))
    assert register_criterion("peak", Peak()) == resolve_criterion("peak") == Peak()
    with pytest.raises(TypeError, match="as a ChannelCriterion under a name. Received: 'peak', <class"):
        register_criterion("peak", Peak)


@pytest.mark.parametrize("axis", [0, 2, 3])
def test_slices_are_rows(axis):
    weight = np.arange(120.0).reshape(2, 3, 4, 5)
    expected = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
    np.testing.assert_array_equal(slices_of(tf.constant(weight), axis), expected)


@keras.utils.register_keras_serializable("tests")
@dataclasses.dataclass(frozen=True)
class Logarithm(ChannelCriterion):
    """Orders filters as L1 does, by numbers below zero."""

    def importance(self, weight, axis):
        return tf.math.log(1e-6 * tf.reduce_mean(tf.abs(slices_of(weight, axis)), axis=1))


def test_scores_below_zero_keep_their_order():
    net = peaked()
    ours, l1 = (tfmot_swd.channels.channel_scores(net, each) for each in (Logarithm(), "l1"))
    for group, scores in ours.items():
        np.testing.assert_array_equal(np.argsort(scores, kind="stable"), np.argsort(l1[group], kind="stable"))


def test_a_criterion_that_defines_nothing_is_told():
    @keras.utils.register_keras_serializable("tests")
    class Nothing(ChannelCriterion):
        pass

    with pytest.raises(ValueError, match="must define one of importance, contribution.*Received: Nothing"):
        resolve_criterion(Nothing())
