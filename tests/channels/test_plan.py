"""Which groups would be ranked, who leads them, and why others stay whole."""

import pytest
import tensorflow as tf
import tf_keras as keras

from tests.pgp.nets import L, network, residual
from tfmot_swd.channels.plan import plan_channels


def image(*size: int) -> keras.layers.Input:
    return keras.Input(size or (6, 6, 2))


def headed(inputs, x) -> keras.Model:
    return keras.Model(inputs, L.Dense(3, name="head")(L.Flatten()(x)))


def ranked(plan) -> dict[str, list[str]]:
    """Returns group → layers that rank it, the leader first."""
    return {row.group: list(dict.fromkeys(member.layer for member in row.scored)) for row in plan.ranked}


def reasons(plan) -> dict[str, str]:
    return {row.group: row.reason for row in plan.rows if row.reason}


def test_filters_of_convolutions_are_ranked_and_the_output_stays():
    plan = plan_channels(network())
    assert ranked(plan) == {"a": ["a"], "b": ["b"]}
    assert [row.channels for row in plan.ranked] == [8, 6]
    assert [member.weight for row in plan.ranked for member in row.scored] == ["kernel", "kernel"]
    assert plan.summary() == "head (model output)"


def test_the_stem_or_the_shortcut_leads_what_an_addition_joins():
    assert ranked(plan_channels(residual())) == {
        "stem": ["stem", "a2"],
        "a1": ["a1"],
        "b1": ["b1"],
        "b2": ["shortcut", "b2"],
    }


def test_what_leads_is_nearest_to_the_input_inside_nested_models_too():
    inputs = image()
    x = L.Conv2D(4, 1, name="stem")(inputs)
    inner_in = keras.Input((6, 6, 4))
    inner = keras.Model(inner_in, L.Conv2D(4, 1, name="second")(L.Conv2D(5, 1, name="first")(inner_in)), name="inner")
    plan = plan_channels(headed(inputs, L.Add()([inner(x), L.Conv2D(4, 1, name="far")(L.ReLU()(L.ReLU()(x)))])))
    assert ranked(plan)["inner/second"] == ["inner/second", "far"]
    assert ranked(plan)["inner/first"] == ["inner/first"]


def test_a_shared_layer_is_as_near_as_its_first_call():
    inputs = image(6, 6, 4)
    shared = L.Conv2D(4, 1, name="shared")
    other = L.Conv2D(4, 1, name="other")(L.ReLU()(inputs))
    x = L.Add()([shared(inputs), other])
    plan = plan_channels(headed(inputs, shared(L.ReLU()(L.ReLU()(L.Conv2D(4, 1, name="last")(x))))))
    assert ranked(plan)["shared"] == ["shared", "other"]


def test_frozen_layers_stay_whole_with_all_that_they_are_joined_to():
    net = residual()
    net.get_layer("a2").trainable = False
    net.get_layer("b1").trainable = False
    assert reasons(plan_channels(net)) == {"stem": "frozen", "b1": "frozen"}


def test_skipped_layers_stay_whole():
    plan = plan_channels(network(), skip=["norm"])
    assert reasons(plan)["a"] == "left out by name"
    assert ranked(plan) == {"b": ["b"]}
    # Reading a group is no reason.
    assert ranked(plan_channels(network(), skip=["b"])) == {"a": ["a"]}


def test_skip_knows_names_and_paths():
    inputs = image()
    body = keras.Sequential([L.Conv2D(4, 1, name="inner", input_shape=(6, 6, 2))], name="body")
    net = headed(inputs, body(inputs))
    for name in ("inner", "body/inner"):
        assert ranked(plan_channels(net, skip=[name])) == {}
    with pytest.raises(
        ValueError, match=r"skip names layers that the model does not have: did you mean inner\? Received: iner$"
    ):
        plan_channels(net, skip=["inner", "iner"])


def test_one_filter_is_not_ranked():
    inputs = image()
    plan = plan_channels(headed(inputs, L.Conv2D(1, 3, name="one")(inputs)))
    assert reasons(plan)["one"] == "only one channel"


def test_kinds_of_convolutions():
    inputs = image(8, 8, 4)
    x = L.Conv2D(8, 1, name="plain")(inputs)
    x = L.Conv2D(8, 3, groups=2, name="grouped")(x)
    x = L.Conv2DTranspose(6, 2, name="transposed")(x)
    x = L.SeparableConv2D(5, 2, name="separable")(x)
    x = L.DepthwiseConv2D(2, name="depthwise")(x)
    plan = plan_channels(headed(inputs, x))
    scored = {row.group: [(each.layer, each.weight, each.axis) for each in row.scored] for row in plan.ranked}
    assert scored == {
        "plain": [("plain", "kernel", 3)],
        "grouped": [("grouped", "kernel", 3)],
        "transposed": [("transposed", "kernel", 2)],
        "separable": [("separable", "pointwise_kernel", 3)],
    }
    # Two wide groups: filters at the same place leave together.
    assert {row.group: row.channels for row in plan.ranked} == {
        "plain": 4,
        "grouped": 4,
        "transposed": 6,
        "separable": 5,
    }


def test_a_convolution_whose_maps_are_split_is_one_group_with_what_half_of_it_is_added_to():
    inputs = image()
    first, second = tf.split(L.Conv2D(8, 1, name="a")(inputs), 2, axis=-1)
    x = L.Concatenate()([L.Add()([first, L.Conv2D(4, 1, name="b")(inputs)]), L.Conv2D(3, 1, name="c")(second)])
    plan = plan_channels(headed(inputs, x))
    assert {row.group: row.channels for row in plan.ranked} == {"a": 8, "c": 3}
    of_a, of_b = plan.ranked[0].scored
    assert (of_a.layer, of_a.channels.tolist()) == ("a", [0, 1, 2, 3, 4, 5, 6, 7])
    assert (of_b.layer, of_b.channels.tolist()) == ("b", [0, 1, 2, 3])


def test_dense_and_recurrent_layers_on_request():
    inputs = keras.Input((5, 4))
    x = L.GRU(6, return_sequences=True, name="gru")(L.Conv1D(4, 2, name="conv")(inputs))
    x = L.Dense(7, name="hidden")(L.LSTM(3, name="lstm")(x))
    net = keras.Model(inputs, L.Dense(2, name="head")(x))
    by_default = plan_channels(net)
    assert ranked(by_default) == {"conv": ["conv"]}
    assert reasons(by_default)["lstm"] == "no convolution makes it"
    plan = plan_channels(net, layers="all")
    assert list(ranked(plan)) == ["conv", "gru", "lstm", "hidden"]
    weights = {row.group: [member.weight for member in row.scored] for row in plan.ranked}
    # Never a bias, though that of a GRU has two axes.
    assert weights["gru"] == weights["lstm"] == ["cell.kernel", "cell.recurrent_kernel"]
    assert [row.channels for row in plan.ranked] == [4, 6, 3, 7]


def test_heads_of_attention_on_request():
    inputs = keras.Input((4, 3))
    x = L.Dense(6, name="a")(inputs)
    x = L.MultiHeadAttention(3, 2, name="m")(x, x)
    plan = plan_channels(keras.Model(inputs, L.Dense(2)(x)), layers="all")
    weights = [member.weight for row in plan.ranked for member in row.scored]
    assert [each for each in weights if "bias" in each] == []
    # Heads, features of queries and keys, and features of values lie between.
    assert [row.channels for row in plan.ranked] == [6, 3, 2, 2, 6]


def test_unknown_kinds_of_layers_are_refused():
    with pytest.raises(ValueError, match="layers must be one of convolutions, all. Received: 'dense'"):
        plan_channels(network(), layers="dense")


def test_it_prints_as_a_table():
    printed = str(plan_channels(residual(), skip=["a1"]))
    for text in ("16 channels are ranked", "stem, a2", "shortcut, b2", "left out by name"):
        assert text in printed


def test_a_lookup_in_the_model_is_no_obstacle():
    inputs = keras.Input((4,), dtype="int64")
    x = L.Embedding(4, 3)(L.IntegerLookup(vocabulary=[5, 6, 7])(inputs))
    plan = plan_channels(keras.Model(inputs, L.Dense(2)(L.Flatten()(L.Conv1D(4, 2, name="conv")(x)))))
    assert ranked(plan) == {"conv": ["conv"]}


@pytest.mark.parametrize(("skip", "received"), [("a", "'a'"), (None, "None"), (3, "3"), (iter("a"), "<")])
def test_skip_must_be_a_list(skip, received):
    with pytest.raises(TypeError, match=rf"skip must be a list of names .*\['conv'\]. Received: {received}"):
        plan_channels(network(), skip=skip)
