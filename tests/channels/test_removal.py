"""Plans: what is asked, what is kept beyond it and why, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.channels.exactness import assert_removal_is_exact
from tfmot_swd.channels.criteria import CRITERIA
from tfmot_swd.channels.groups import channel_groups
from tfmot_swd.channels.removal import RemovalRow, plan_removal, remove_channels
from tfmot_swd.channels.scores import group_scores
from tfmot_swd.keras2.compat import variables_of

L = keras.layers


def net() -> keras.Model:
    """Two hidden layers whose units have norms that grow with their number."""
    model = keras.Sequential(
        [
            L.Dense(6, input_shape=(4,), use_bias=False, name="a"),
            L.BatchNormalization(name="n"),
            L.Dense(4, use_bias=False, name="b"),
            L.Dense(2, name="out"),
        ]
    )
    for name in ("a", "b"):
        kernel = model.get_layer(name).kernel
        kernel.assign(np.ones(kernel.shape) * np.arange(1, kernel.shape[1] + 1))
    return model


def mask(*kept: int, size: int = 6) -> np.ndarray:
    return np.isin(np.arange(size), kept)


def test_a_plan_says_what_goes():
    plan = plan_removal(net(), {"a": mask(0, 2)})

    assert plan.rows == (RemovalRow("a", 6, 2, ""), RemovalRow("b", 4, 4, ""))
    assert plan.removed_channels == 4
    assert {name: kept.tolist() for name, kept in plan.keep().items()} == {
        "a": [True, False, True, False, False, False],
        "b": [True] * 4,
    }
    text = str(plan)
    assert "4 of 10 channels go" in text
    assert "model output" in text


def test_masks_may_be_lists():
    assert remove_channels(net(), {"a": mask(0, 2).tolist()}).get_layer("a").units == 2


def test_weights_are_slices():
    model = net()
    small = remove_channels(model, {"a": mask(0, 2), "b": mask(3, size=4)})

    np.testing.assert_array_equal(small.get_layer("a").kernel, np.ones((4, 2)) * [1, 3])
    np.testing.assert_array_equal(small.get_layer("b").kernel, model.get_layer("b").kernel.numpy()[[0, 2]][:, [3]])
    np.testing.assert_array_equal(small.get_layer("out").kernel, model.get_layer("out").kernel.numpy()[[3]])
    assert small.get_layer("n").gamma.shape == (2,)


def test_a_plan_is_not_carried_out_until_it_is_applied():
    model = net()
    plan = plan_removal(model, {"a": mask(0, 2)})
    model.get_layer("a").kernel.assign_add(tf.ones((4, 6)))

    np.testing.assert_array_equal(plan.apply().get_layer("a").kernel, np.ones((4, 2)) * [2, 4])
    assert model.get_layer("a").units == 6


@pytest.mark.parametrize(
    ("asked", "options", "kept", "reason"),
    [
        ([0], {"round_to": 2}, [0, 5], "1 asked; rounded up"),
        ([0, 1, 2], {"round_to": 2}, [0, 1, 2, 5], "3 asked; rounded up"),
        ([0, 1], {"round_to": 2}, [0, 1], ""),
        ([0], {"round_to": 4}, [0, 3, 4, 5], "1 asked; rounded up"),
        ([0, 1, 2, 3, 4], {"round_to": 4}, [0, 1, 2, 3, 4, 5], "5 asked; rounded up"),
        ([0], {"round_to": 8}, [0, 1, 2, 3, 4, 5], "1 asked; rounded up"),
        ([1], {"minimum": 3}, [1, 4, 5], "1 asked; at least 3 stay"),
        ([1], {"minimum": 99}, [0, 1, 2, 3, 4, 5], "1 asked; at least 99 stay"),
        ([1, 2, 3], {"minimum": 3}, [1, 2, 3], ""),
        ([1], {"minimum": 3, "round_to": 4}, [1, 3, 4, 5], "1 asked; rounded up"),
        ([1], {"minimum": 5, "round_to": 2}, [1, 2, 3, 4, 5], "1 asked; at least 5 stay"),
    ],
)
def test_channels_of_the_largest_norm_come_back(asked, options, kept, reason):
    plan = plan_removal(net(), {"a": mask(*asked)}, **options)

    assert plan.keep()["a"].tolist() == mask(*kept).tolist()
    assert plan.rows[0] == RemovalRow("a", 6, len(kept), reason)


def test_groups_that_are_not_named_stay_whole_whatever_the_rounding():
    assert plan_removal(net(), {}, round_to=8, minimum=5).removed_channels == 0


@pytest.mark.parametrize("skipped", ["a", "n"])
def test_skipped_layers_keep_what_they_make_or_act_on(skipped):
    plan = plan_removal(net(), {"a": mask(0), "b": mask(0, size=4)}, skip=[skipped])

    assert plan.rows == (RemovalRow("a", 6, 6, "left out by name"), RemovalRow("b", 4, 1, ""))


def test_skipping_does_not_reach_what_a_layer_reads():
    plan = plan_removal(net(), {"a": mask(0), "b": mask(0, size=4)}, skip={"b"})

    assert [row.remaining_channels for row in plan.rows] == [1, 4]


def test_skipped_layers_of_nested_models():
    inner = keras.Sequential([L.Dense(5, input_shape=(4,), name="h"), L.Dense(4)], name="inner")
    model = keras.Sequential([inner, L.Dense(2)])
    keep = {"inner/h": [True, False, False, False, False]}

    assert plan_removal(model, keep, skip=["inner/h"]).removed_channels == 0
    assert plan_removal(model, keep).removed_channels == 4


def test_groups_that_are_known_are_used():
    model = net()
    groups = channel_groups(model)

    assert plan_removal(model, {"a": mask(0)}, groups=groups).groups is groups


def norms(model, group):
    return group_scores(group, {id(each): each for each in variables_of(model)}, CRITERIA["filter_norm"]).tolist()


def test_norms_are_of_all_that_makes_a_channel():
    """Two kernels and a bias: 3, 4 and 12 make 13."""
    x = L.Input((1,))
    one, other = L.Dense(2, use_bias=False, name="one"), L.Dense(2, name="other")
    model = keras.Model(x, L.Dense(1)(one(x) + other(x)))
    one.set_weights([np.array([[3.0, 0.0]])])
    other.set_weights([np.array([[4.0, 0.0]]), np.array([12.0, -2.0])])

    group = channel_groups(model)["one"]
    assert norms(model, group) == [13.0, 2.0]


def test_norms_of_a_group_that_owns_several_slices():
    x = L.Input((1,))
    dense = L.Dense(4, use_bias=False, name="d")
    model = keras.Model(x, L.Dense(1)(L.Conv1D(3, 1)(L.Reshape((2, 2))(dense(x)))))
    dense.set_weights([np.array([[3.0, 1.0, 4.0, 0.0]])])

    assert norms(model, channel_groups(model)["d"]) == [5.0, 1.0]


def test_unknown_groups():
    with pytest.raises(ValueError, match=r"no such group: the groups are a, b. Received: keep\['c'\]"):
        plan_removal(net(), {"c": mask(0)})


def test_the_output_cannot_shrink():
    message = r"its channels must stay \(model output\). Received: keep\['out'\]"
    with pytest.raises(ValueError, match=message):
        plan_removal(net(), {"out": [True, False]})


def test_a_layer_behind_a_barrier():
    model = keras.Sequential([L.Dense(4, input_shape=(3,), name="a"), L.Softmax(name="s"), L.Dense(2)])

    with pytest.raises(ValueError, match=r"must stay \(s: softmax looks across channels\). Received: keep\['a'\]"):
        plan_removal(model, {"a": [True] * 4})


def test_a_layer_whose_channels_have_another_groups_name():
    x = L.Input((4,))
    model = keras.Model(x, L.Dense(2)(L.Dense(3, name="a")(x) + L.Dense(3, name="b")(x)))

    with pytest.raises(ValueError, match=r"its channels belong to the group 'a'. Received: keep\['b'\]"):
        plan_removal(model, {"b": [True] * 3})


def test_no_group_at_all():
    model = keras.Sequential([L.Dense(2, input_shape=(4,), name="y")])

    with pytest.raises(ValueError, match=r"the groups are none. Received: keep\['x'\]"):
        plan_removal(model, {"x": [True]})


@pytest.mark.parametrize(
    ("given", "received"),
    [
        ([True] * 5, r"bool of shape \(5,\)"),
        ([[True] * 6], r"bool of shape \(1, 6\)"),
        ([1, 0, 1, 0, 1, 0], r"int64 of shape \(6,\)"),
        ([0.5] * 6, r"float64 of shape \(6,\)"),
        (True, r"bool of shape \(\)"),
    ],
)
def test_masks_of_another_length_or_type(given, received):
    message = rf"keep\['a'\] must be a bool array of length 6, true where a channel stays. Received: {received}"
    with pytest.raises(ValueError, match=message):
        plan_removal(net(), {"a": given})


def test_a_group_without_channels():
    with pytest.raises(ValueError, match=r"At least one channel of each group .* keep\['a'\] with no channel of 6"):
        plan_removal(net(), {"a": mask()})


def split_net() -> keras.Model:
    x = L.Input((4,))
    first, second = tf.split(L.Dense(6, name="a")(x), [2, 4], axis=-1)
    return keras.Model(x, [L.Dense(2, name="left")(first), L.Dense(2, name="right")(second)])


def test_a_part_without_channels():
    message = r"Nothing would be left of 'kernel' of layer 'left'.* Received: a keep-mask without any of its 2 channels"
    with pytest.raises(ValueError, match=message):
        plan_removal(split_net(), {"a": mask(2, 3)})
    assert_removal_is_exact(split_net(), {"a": mask(0, 5)})


def test_a_part_without_channels_that_no_weight_reads():
    x = L.Input((4,))
    first, second = tf.split(L.Dense(6, name="a")(x), [2, 4], axis=-1)
    model = keras.Model(x, L.Dense(2)(L.Concatenate()([tf.nn.relu(first), second])))

    message = r"would have no channel left \(part of a split or a slice\).* of shape \(None, 2\)"
    with pytest.raises(ValueError, match=message):
        plan_removal(model, {"a": mask(2, 3)})


def test_a_part_of_a_concatenation_without_channels():
    """The sum makes one group of both parts: one of them may not be emptied."""
    x = L.Input((4,))
    joined = L.Concatenate()([L.Dense(1, name="a")(x), L.Dense(3, name="b")(x)])
    model = keras.Model(x, L.Dense(2)(joined + L.Dense(4, name="c")(x)))

    with pytest.raises(ValueError, match=r"Nothing would be left of 'kernel' of layer 'a'"):
        plan_removal(model, {"a": [False, True, True, True]})
    assert_removal_is_exact(model, {"a": [True, False, False, True]})


def test_skip_of_layers_that_do_not_exist():
    with pytest.raises(ValueError, match=r"skip names layers that the model does not have. Received: c, d"):
        plan_removal(net(), {}, skip=["d", "a", "c"])


def test_groups_of_another_model():
    model, other = net(), net()

    with pytest.raises(ValueError, match=r"groups must be those of the model itself. Received: groups of"):
        plan_removal(model, {}, groups=channel_groups(other))


@pytest.mark.parametrize("options", [{"round_to": 0}, {"minimum": 0}, {"round_to": -8}])
def test_numbers_below_one(options):
    with pytest.raises(ValueError, match=r"round_to and minimum must be 1 or more. Received: "):
        plan_removal(net(), {}, **options)


def test_keep_that_is_no_mapping():
    with pytest.raises(TypeError, match=r"keep must be a dictionary of masks by group. Received: list"):
        plan_removal(net(), [True])


def test_subclassed_models_are_refused():
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(2)

        def call(self, x):
            return self.dense(x)

    with pytest.raises(ValueError, match=r"Subclassed models cannot be taken apart"):
        remove_channels(Subclassed(), {})


def test_the_old_argument_and_fields_work_with_a_warning():
    with pytest.warns(DeprecationWarning, match=r"plan_removal\(protect=...\) is deprecated .*: write skip= instead"):
        plan = plan_removal(net(), {"a": mask(0), "b": mask(0, size=4)}, protect=["b"])
    with pytest.warns(DeprecationWarning, match="write remaining_channels instead"):
        assert [row.kept for row in plan.rows] == [1, 4]
    with pytest.warns(DeprecationWarning, match="write removed_channels instead"):
        assert plan.removed == 5
    with pytest.warns(DeprecationWarning, match=r"remove_channels\(protect=...\)"):
        assert remove_channels(net(), {"a": mask(0)}, protect=["a"]).get_layer("a").units == 6


def test_skip_takes_models_inside_the_model_and_refuses_a_name_alone():
    inner = keras.Sequential([L.Dense(5, input_shape=(4,), name="h"), L.Dense(4)], name="inner")
    model = keras.Sequential([inner, L.Dense(2)])
    keep = {"inner/h": [True, False, False, False, False]}

    assert plan_removal(model, keep, skip=["inner"]).removed_channels == 0
    with pytest.raises(TypeError, match=r"skip must be a list of names of layers.*Received: 'inner'"):
        plan_removal(model, keep, skip="inner")
