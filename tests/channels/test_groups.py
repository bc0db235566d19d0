"""Groups of a whole model as its user sees them: names, sizes, members, barriers, the table."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd.channels.groups import Barrier, channel_groups

L = keras.layers


def residual_net() -> keras.Model:
    image = L.Input((8, 8, 3), name="image")
    x = L.Conv2D(4, 3, padding="same", name="stem")(image)
    y = L.BatchNormalization(name="norm")(L.Conv2D(6, 3, padding="same", name="wide")(x))
    x = L.Add(name="sum")([x, L.Conv2D(4, 1, name="narrow")(L.ReLU()(y))])
    return keras.Model(image, L.Dense(5, name="scores")(L.GlobalAveragePooling2D()(x)))


def test_a_mapping_by_name_in_the_order_of_the_graph():
    groups = channel_groups(residual_net())

    assert list(groups) == ["stem", "wide"]
    assert (len(groups), groups.channels) == (2, 10)
    assert groups["stem"].name == "stem"
    assert "narrow" not in groups
    with pytest.raises(KeyError):
        groups["narrow"]


def test_members():
    model = residual_net()
    stem, wide = channel_groups(model).values()

    assert [(each.layer, each.weight, each.axis) for each in stem.producers] == [
        ("stem", "kernel", 3),
        ("stem", "bias", 0),
        ("narrow", "kernel", 3),
        ("narrow", "bias", 0),
    ]
    assert [(each.layer, each.weight, each.axis) for each in stem.consumers] == [
        ("wide", "kernel", 2),
        ("scores", "kernel", 0),
    ]
    assert stem.followers == ()
    assert [each.weight for each in wide.followers] == ["gamma", "beta", "moving_mean", "moving_variance"]
    assert {each.layer for each in wide.followers} == {"norm"}
    assert len(wide.members) == len(wide.producers) + len(wide.followers) + len(wide.consumers)
    assert wide.producers[0].variable_id == id(model.get_layer("wide").kernel)


def test_barriers():
    groups = channel_groups(residual_net())

    assert groups.barriers == (Barrier("scores", 5, 5, ("model output",)),)


def test_a_barrier_of_some_of_a_layers_channels():
    """Four channels of six are added to the input: they stay, the other two may leave."""
    image = L.Input((8, 8, 4))
    first, second = tf.split(L.Conv2D(6, 1, name="a")(image), [4, 2], axis=-1)
    model = keras.Model(image, L.Conv2D(2, 1, name="out")(L.Concatenate()([first + image, second])))
    groups = channel_groups(model)

    assert groups["a"].size == 2
    assert groups["a"].producers[0].channels.tolist() == [-1, -1, -1, -1, 0, 1]
    assert groups.barriers[0] == Barrier("a", 4, 6, ("model input",))


def test_every_reason_is_told():
    x = L.Input((4,))
    hidden = L.Dense(3, name="h")(x)
    model = keras.Model(x, [L.Softmax(name="s")(hidden), L.UnitNormalization(name="n")(hidden)])

    reasons = channel_groups(model).barriers[0].reasons
    assert reasons == ("s: softmax looks across channels", "n: its statistics are taken across channels")


def test_groups_of_one_layer_are_told_apart_by_weight_and_axis():
    x = L.Input((4, 3))
    model = keras.Model(x, L.Dense(2, name="d")(L.MultiHeadAttention(3, 2, name="m")(x, x)))

    parts = ("query", "key", "value", "output")
    assert list(channel_groups(model)) == [f"m:_{part}_dense.kernel" for part in parts]


def test_a_layer_that_makes_two_kinds_with_one_weight(monkeypatch):
    from tfmot_swd.layers import registry

    class Outer(L.Layer):
        def build(self, input_shape):
            self.kernel = self.add_weight("kernel", (3, 4))

        def call(self, x):
            return tf.reduce_sum(self.kernel, 1) * x[..., :1], tf.reduce_sum(self.kernel, 0) * x[..., :1]

    def outer(call):
        call.ties.pin(call.input.ids, "kept")
        rows, columns = call.new(3, "rows"), call.new(4, "columns")
        call.produce("kernel", 0, rows)
        call.produce("kernel", 1, columns)
        return [call.output(rows, -1, 0), call.output(columns, -1, 1)]

    monkeypatch.setattr(registry, "_FAMILIES", dict(registry._FAMILIES))
    registry.register_layer(Outer, channels=outer)
    x = L.Input((4,))
    model = keras.Model(x, [L.Dense(2)(each) for each in Outer(name="o")(x)])

    groups = channel_groups(model)
    assert {name: group.size for name, group in groups.items()} == {"o:kernel:0": 3, "o:kernel:1": 4}


def test_a_group_of_one_channel():
    x = L.Input((4,))
    groups = channel_groups(keras.Model(x, L.Dense(2)(L.Dense(1, name="h")(x))))

    assert groups["h"].size == 1


def test_a_layer_that_nobody_reads():
    """A state of a recurrent layer that goes nowhere, and channels that a slice leaves behind."""
    x = L.Input((4,))
    model = keras.Model(x, L.Dense(2)(L.Dense(5, name="h")(x)[:, :2]))

    assert channel_groups(model)["h"].size == 5


def test_the_table():
    text = str(channel_groups(residual_net()))

    assert "2 groups, 10 channels that can leave" in text
    for words in ("stem", "stem, narrow", "wide, scores", "5 stay", "model output"):
        assert words in text


def test_a_table_of_a_sum_of_many_layers():
    x = L.Input((4,))
    parts = [L.Dense(3, name=f"part{number}")(x) for number in range(6)]
    text = str(channel_groups(keras.Model(x, L.Dense(2)(L.Add()(parts)))))

    assert "part3 and 2 more" in " ".join(text.replace("│", " ").split())


def test_no_group_at_all():
    x = L.Input((4,))
    groups = channel_groups(keras.Model(x, L.Dense(2, name="y")(x)))

    assert (len(groups), groups.channels) == (0, 0)
    assert "0 groups" in str(groups)


def test_finding_groups_changes_nothing():
    model = residual_net()
    before = [np.array(value) for value in model.get_weights()]
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    channel_groups(model)

    assert [len(layer._inbound_nodes) for layer in model.layers] == nodes
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = L.Dense(2)

    def call(self, x):
        return self.dense(x)


def test_subclassed_models_are_refused():
    model = Subclassed()
    model(np.ones((2, 4), "float32"))

    with pytest.raises(ValueError, match=r"Subclassed models cannot be taken apart .* of class Subclassed"):
        channel_groups(model)


def test_a_subclassed_model_inside_another_is_refused():
    model = keras.Sequential([L.Dense(4, input_shape=(4,)), Subclassed()])

    with pytest.raises(ValueError, match=r"Subclassed models cannot be taken apart"):
        channel_groups(model)


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match=r"A tf_keras Sequential or Functional model is needed. Received: Dense"):
        channel_groups(L.Dense(2))


def test_a_model_that_is_not_built_is_refused():
    with pytest.raises(ValueError, match=r"The model is not built"):
        channel_groups(keras.Sequential([L.Dense(2)]))


def test_the_old_field_of_a_barrier_warns():
    with pytest.warns(DeprecationWarning, match=r"Barrier.of is deprecated .*: write total_channels instead"):
        assert Barrier("a", 4, 6, ("model input",)).of == 6
