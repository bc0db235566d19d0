"""Filter importance: each criterion against numbers worked out by hand on a net of two filters."""

import dataclasses
import math
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import L, fit, layer_of
from tfmot_swd.channels.criteria import CRITERIA, ChannelCriterion, Magnitude, resolve_criterion, slices_of

RNG = np.random.default_rng(0)

# p = x·W·v for x of two channels, W of 2 by 2 (a filter is a column), v = (1, 2); the loss is (p - y)².
W = np.array([[1.0, 2.0], [3.0, -1.0]], np.float32)
V = np.array([[1.0], [2.0]], np.float32)
INPUTS = np.array([[1.0, 2.0], [-1.0, 1.0]], np.float32).reshape(2, 1, 1, 2)
# p is 7 and -4, so p - y is 1 and -1, and the gradients 2 (p - y) x vᵀ are [[2, 4], [4, 8]] and [[2, 4], [-2, -4]].
LABELS = np.array([[6.0], [-3.0]], np.float32)
BY_HAND = {
    # |2| + |4| + |2| + |-2|, and |4| + |8| + |4| + |-4|
    "rpgp": [10.0, 20.0],
    # Their sum is [[4, 8], [2, 4]].
    "pgp": [6.0, 12.0],
    # 1·4 + 3·2, and 2·8 - 1·4
    "weight_taylor": [10.0, 12.0],
    # Maps x·W are (7, 0) and (2, -3), their gradients (2, 4) and (-2, -4): 7·2 - 2·2, and 0.
    "feature_taylor": [10.0, 0.0],
    "l1": [4.0, 3.0],
    "l2": [math.sqrt(10), math.sqrt(5)],
    # Two filters are as far from each other: |(-1, 4)|.
    "geometric_median": [math.sqrt(17), math.sqrt(17)],
}


def two_filters() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((1, 1, 2)),
            L.Conv2D(2, 1, use_bias=False, name="conv"),
            L.Flatten(),
            L.Dense(1, use_bias=False, name="out"),
        ]
    )
    model.set_weights([W.reshape(1, 1, 2, 2), V])
    return model


def trained(criterion, rate: float = 0.01, learning_rate: float = 0.0, epochs: int = 1, **settings):
    schedule = tfmot_swd.ProgressiveRate(rate, epochs)
    model = tfmot_swd.prune_progressive_gradient(two_filters(), schedule, criterion, **settings)
    model.compile(keras.optimizers.SGD(learning_rate), "mse", run_eagerly=True)
    data = tf.data.Dataset.from_tensor_slices((INPUTS, LABELS)).batch(1)
    fit(model, epochs, data=data, training_data=data)
    return model


@pytest.mark.parametrize("criterion", BY_HAND)
def test_scores_of_two_filters_by_hand(criterion, seen):
    trained(criterion)
    np.testing.assert_allclose(seen[0]["conv"], BY_HAND[criterion], rtol=1e-6)


def test_change_of_weights_by_hand(seen):
    # A step of .1 along the first gradient leaves W·v = (4, -1) and p = -5 for the second, whose gradient
    # is then 2·(-2)·(-1, 1)·vᵀ = [[4, 8], [-4, -8]]: in sum [[6, 12], [0, 0]].
    trained("weight_change", learning_rate=0.1)
    moved = np.array([[2.0, 4.0], [4.0, 8.0]])
    first = W - 0.1 * moved
    out = V - 0.1 * 2 * (INPUTS[0].reshape(1, 2) @ W).T
    p = INPUTS[1].reshape(1, 2) @ first @ out
    second = 2 * (p - LABELS[1]) * INPUTS[1].reshape(2, 1) @ out.T
    np.testing.assert_allclose(seen[0]["conv"], 0.1 * np.abs(moved + second).sum(axis=0), rtol=1e-5)


@pytest.mark.parametrize("criterion", ["rpgp", "pgp", "weight_taylor", "feature_taylor", "l1", "l2"])
def test_the_filter_of_the_smallest_score_leaves(criterion):
    model = trained(criterion, rate=0.5)
    kept = int(np.argmax(BY_HAND[criterion]))
    np.testing.assert_array_equal(layer_of(model, "conv").kernel.numpy().reshape(2), W[:, kept])


def test_an_epoch_forgets_the_one_before(seen):
    trained("rpgp", epochs=2)
    np.testing.assert_allclose(seen[1]["conv"], BY_HAND["rpgp"], rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_norms_are_taken_over_all_axes_but_that_of_the_filters(axis):
    weight = np.array([[3.0, -4.0], [0.0, 1.0]])
    norms = {1: [7.0, 1.0] if axis == 0 else [3.0, 5.0], 2: [5.0, 1.0] if axis == 0 else [3.0, math.sqrt(17)]}
    for order, wanted in norms.items():
        np.testing.assert_allclose(Magnitude(order).scores(weight, np.zeros(2), None, axis, RNG), wanted)


def test_geometric_median_of_three():
    # (0, 0), (3, 4), (0, 1): the last is nearest to the others.
    weight = np.array([[0.0, 3.0, 0.0], [0.0, 4.0, 1.0]])
    found = CRITERIA["geometric_median"].scores(weight, np.zeros(3), None, 1, RNG)
    np.testing.assert_allclose(found, [5 + 1, 5 + math.sqrt(18), 1 + math.sqrt(18)])


def test_chance_is_the_same_in_each_run_and_another_in_each_epoch(seen):
    for _ in range(2):
        trained("random", epochs=2, seed=7)
    trained("random", epochs=2, seed=8)
    epochs = [each["conv"].tolist() for each in seen]
    assert epochs[:2] == epochs[2:4]
    assert len({tuple(each) for each in epochs}) == 4


@keras.utils.register_keras_serializable("tests")
@dataclasses.dataclass(frozen=True)
class LastFirst(ChannelCriterion):
    """A user's own: by place, the last filter first, times the sum of |w·g|; counts in whole filters."""

    power: float = 1.0
    watches: ClassVar[str] = "weight"

    def contribution(self, value, gradient, axis):
        return tf.reduce_sum(tf.abs(value) * gradient, [0, 1, 2])

    def settled(self, update, axis):
        return tf.abs(update) ** self.power

    def scores(self, weight, total, start, axis, rng):
        return total[::-1].astype(np.float64)


def test_a_criterion_of_ones_own(seen, tmp_path):
    model = trained(LastFirst(2.0), rate=0.5, epochs=2, hard_share=1.0)
    # |1|·2 + |3|·4 and 2·4 + 1·8; |1|·2 - |3|·2 and 2·4 - 1·4: squares 196 + 16 and 256 + 16, turned round.
    np.testing.assert_allclose(seen[0]["conv"], [272.0, 212.0])
    np.testing.assert_array_equal(layer_of(model, "conv").kernel.numpy().reshape(2), W[:, 0])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].settings.criterion == LastFirst(2.0)
    assert tfmot_swd.strip_pruning(loaded).layers[0].filters == 1


def test_scores_that_are_not_one_a_filter_are_refused():
    @keras.utils.register_keras_serializable("tests")
    class Wrong(ChannelCriterion):
        def scores(self, weight, total, start, axis, rng):
            return np.zeros(5)

    with pytest.raises(ValueError, match=r"Wrong.scores must return one number a filter.*\(2,\) .*Received: .*\(5,\)"):
        trained(Wrong())


@pytest.mark.parametrize("name", CRITERIA)
def test_names_stand_for_criteria_that_can_be_written_down(name):
    criterion = resolve_criterion(name)
    assert resolve_criterion(criterion) is criterion
    config = keras.utils.serialize_keras_object(criterion)
    assert keras.utils.deserialize_keras_object(config) == criterion


def test_unknown_criteria_are_refused():
    with pytest.raises(ValueError, match="criterion must be one of rpgp, pgp.*Received: 'gradient'"):
        resolve_criterion("gradient")
    with pytest.raises(TypeError, match="a name or a ChannelCriterion. Received: type"):
        resolve_criterion(Magnitude)


def test_a_class_that_is_not_registered_is_refused_before_training():
    class Unregistered(ChannelCriterion):
        def importance(self, weight, axis):
            return tf.reduce_mean(slices_of(weight, axis), axis=1)

    with pytest.raises(ValueError, match="must be registered.*register_keras_serializable.*Received: Unregistered"):
        trained(Unregistered())
